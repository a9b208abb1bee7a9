//! One request with 10 query parameters: ours, and the peers'.

#[path = "../../support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use ibkr_oauth::ApiRequest;
use peers::{Oauth1Request, Oauth1a, Oauth10a, ReqwestOauth1};
use std::hint::black_box;
use support::{Floor, NOW, PATH, base_string, borrowed, live_session, parameters, rng};

fn sign(criterion: &mut Criterion) {
    let parameters = parameters(10);
    let query = borrowed(&parameters);
    let pairs: &[(&str, &str); 10] = query.as_slice().try_into().unwrap();
    let mut group = criterion.benchmark_group("peers");

    let (live, mut rng) = (live_session(), rng(1));
    let request = ApiRequest::get(PATH).query(&query);
    let (floor, signed) = (Floor::new(), base_string(&live, &request));
    group.bench_function("floor", |bencher| bencher.iter(|| floor.sign(black_box(signed.as_bytes()))));
    let mut buffer = String::with_capacity(64 * 1024);
    group.bench_function("authorization_into", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            live.authorization_into(&mut buffer, black_box(&request), &mut rng, NOW).unwrap();
            buffer.len()
        });
    });
    group.bench_function("authorization", |bencher| {
        bencher.iter(|| live.authorization(black_box(&request), &mut rng, NOW).unwrap());
    });
    group.bench_function("sign", |bencher| bencher.iter(|| live.sign(black_box(&request), &mut rng, NOW).unwrap()));

    let peer = Oauth1Request::default();
    group.bench_function("oauth1-request", |bencher| bencher.iter(|| peer.sign(black_box(pairs))));
    let peer = ReqwestOauth1::default();
    group.bench_function("reqwest-oauth1", |bencher| bencher.iter(|| peer.sign(black_box(pairs))));
    group.bench_function("oauth1", |bencher| bencher.iter(|| peers::oauth1(black_box(pairs))));
    let peer = Oauth1a::default();
    group.bench_function("oauth-1a", |bencher| bencher.iter(|| peer.sign(black_box(pairs))));
    let peer = Oauth10a::new(pairs);
    group.bench_function("oauth10a", |bencher| bencher.iter(|| black_box(&peer).sign()));
}

criterion_group!(benches, sign);
criterion_main!(benches);
