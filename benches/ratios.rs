//! What a signature costs as a multiple of the MAC in it: both run in turn, in one process, and the fastest of many samples
//! count. Whatever else the machine does can only make a sample slower, and it makes both slower.
//!
//! ```text
//! cargo bench --bench ratios
//! ```

mod support;

use ibkr_oauth::{ApiRequest, PreparedRequest};
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::{Floor, NOW, PATH, SIZES, base_string, borrowed, live_session, parameters, rng};

/// How often each contender has its turn.
const ROUNDS: usize = 2000;
/// How long a turn takes, about.
const TURN: Duration = Duration::from_micros(20);

/// Something to be timed, and the fastest time of it so far.
struct Contender<'a> {
    name: &'static str,
    work: Box<dyn FnMut() + 'a>,
    repeats: u32,
    fastest: f64,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, mut work: impl FnMut() + 'a) -> Self {
        let start = Instant::now();
        (0..100).for_each(|_| work());
        let once = start.elapsed() / 100;
        let repeats = (TURN.as_nanos() / once.as_nanos().max(1)).max(1) as u32;
        Self { name, work: Box::new(work), repeats, fastest: f64::INFINITY }
    }

    fn take_turn(&mut self) {
        let start = Instant::now();
        (0..self.repeats).for_each(|_| (self.work)());
        self.fastest = self.fastest.min(start.elapsed().as_nanos() as f64 / f64::from(self.repeats));
    }
}

fn main() {
    println!("| signed parameters | what | ns | of the MAC |\n|--:|:--|--:|--:|");
    for count in SIZES {
        compare(count);
    }
}

fn compare(count: usize) {
    let parameters = parameters(count);
    let query = borrowed(&parameters);
    let request = ApiRequest::get(PATH).query(&query);
    let (live, floor) = (live_session(), Floor::new());
    let signed = base_string(&live, &request);
    let (mut header, mut headers_rng, mut requests_rng) = (String::with_capacity(1024), rng(1), rng(1));
    let (mut again, mut prepared_rng) = (String::with_capacity(1024), rng(1));
    let mut prepared = PreparedRequest::new(&request).unwrap();
    let early_names: Vec<_> = parameters.iter().map(|(name, value)| (format!("a{name}"), *value)).collect();
    let mut early = PreparedRequest::new(&ApiRequest::get(PATH).query(&borrowed(&early_names))).unwrap();
    let (mut early_header, mut early_rng) = (String::with_capacity(1024), rng(1));
    let mut contenders = [
        Contender::new("the MAC alone", || {
            black_box(floor.sign(black_box(signed.as_bytes())));
        }),
        Contender::new("`authorization_into`", || {
            header.clear();
            live.authorization_into(black_box(&mut header), black_box(&request), &mut headers_rng, NOW).unwrap();
        }),
        Contender::new("`prepared_authorization_into`", || {
            again.clear();
            live.prepared_authorization_into(black_box(&mut again), &mut prepared, &mut prepared_rng, NOW).unwrap();
        }),
        Contender::new("the same, all names before `oauth_`", || {
            early_header.clear();
            live.prepared_authorization_into(&mut early_header, black_box(&mut early), &mut early_rng, NOW).unwrap();
        }),
        Contender::new("`sign`", || drop(black_box(live.sign(black_box(&request), &mut requests_rng, NOW).unwrap()))),
    ];
    for _ in 0..ROUNDS {
        contenders.iter_mut().for_each(Contender::take_turn);
    }
    let floor = contenders[0].fastest;
    for Contender { name, fastest, .. } in contenders {
        println!("| {count} | {name} | {fastest:.0} | {:.2} |", fastest / floor);
    }
}
