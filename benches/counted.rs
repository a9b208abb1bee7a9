//! A fixed number of signatures, for `benches/instructions` to count the instructions of. Arguments: `floor`, `ours` or
//! `prepared`,
//! the number of parameters, the number of signatures.

mod support;

use ibkr_oauth::{ApiRequest, PreparedRequest};
use std::hint::black_box;
use support::{Floor, NOW, PATH, base_string, borrowed, live_session, parameters, rng};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [what, count, iterations] = arguments.as_slice() else {
        return println!("counted: nothing asked for");
    };
    let parameters = parameters(count.parse().unwrap());
    let query = borrowed(&parameters);
    let request = ApiRequest::get(PATH).query(&query);
    let (live, floor, mut rng) = (live_session(), Floor::new(), rng(1));
    let signed = base_string(&live, &request);
    let mut prepared = PreparedRequest::new(&request).unwrap();
    let mut buffer = String::with_capacity(64 * 1024);
    for _ in 0..iterations.parse().unwrap() {
        match what.as_str() {
            "floor" => drop(black_box(floor.sign(black_box(signed.as_bytes())))),
            "ours" => {
                buffer.clear();
                live.authorization_into(black_box(&mut buffer), black_box(&request), &mut rng, NOW).unwrap();
            }
            "prepared" => {
                buffer.clear();
                live.prepared_authorization_into(black_box(&mut buffer), &mut prepared, &mut rng, NOW).unwrap();
            }
            other => panic!("floor, ours or prepared, not {other}"),
        }
    }
}
