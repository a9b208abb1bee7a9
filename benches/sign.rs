//! What a signature costs, beside the MAC in it.
//!
//! ```text
//! cargo bench --bench sign
//! ```

mod support;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ibkr_oauth::ApiRequest;
use std::hint::black_box;
use support::{Floor, NOW, PATH, SIZES, base_string, borrowed, live_session, parameters, rng};

fn sign(criterion: &mut Criterion) {
    let (live, floor, mut rng) = (live_session(), Floor::new(), rng(1));
    let mut group = criterion.benchmark_group("sign");
    for count in SIZES {
        let parameters = parameters(count);
        let query = borrowed(&parameters);
        let request = ApiRequest::get(PATH).query(&query);
        let signed = base_string(&live, &request);

        let mut buffer = String::with_capacity(64 * 1024);
        group.bench_function(BenchmarkId::new("floor", count), |bencher| {
            bencher.iter(|| floor.sign(black_box(signed.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("authorization_into", count), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                live.authorization_into(&mut buffer, black_box(&request), &mut rng, NOW).unwrap();
                buffer.len()
            });
        });
        group.bench_function(BenchmarkId::new("authorization", count), |bencher| {
            bencher.iter(|| live.authorization(black_box(&request), &mut rng, NOW).unwrap());
        });
        group.bench_function(BenchmarkId::new("sign", count), |bencher| {
            bencher.iter(|| live.sign(black_box(&request), &mut rng, NOW).unwrap());
        });
    }
}

criterion_group!(benches, sign);
criterion_main!(benches);
