//! What a request costs the gateway: `cargo bench --package ibkr-oauth-gateway`. It prints figures and judges nothing.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/gateway/client.rs"]
mod client;

use std::time::{Duration, Instant};

use client::{Call, Live, World};

/// As many nonces as the gateway remembers.
const NONCES: usize = 1 << 18;
const SAMPLES: usize = 1000;

fn main() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    for parameters in [0, 1, 10, 100, 1000] {
        let samples = if parameters < 1000 { SAMPLES } else { SAMPLES / 10 };
        for (signing, is_folded) in [("left out", false), ("folded", true)] {
            let calls: Vec<_> = (0..samples).map(|_| call(&mut world, &live, parameters, is_folded)).collect();
            report(&format!("{parameters:4} parameters in the query, {signing}"), &mut times(&mut world, &calls, 200));
        }
    }
    let calls: Vec<_> = (0..SAMPLES).map(|_| call(&mut world, &live, 0, false)).collect();
    let used = 1 + SAMPLES * 8 + SAMPLES / 10 * 2;
    for _ in used..NONCES - SAMPLES {
        world.api("GET", "/portfolio/accounts", &live);
    }
    report("nearly as many nonces as are remembered", &mut times(&mut world, &calls, 200));
    let calls: Vec<_> = (0..SAMPLES / 10).map(|_| call(&mut world, &live, 0, false)).collect();
    report("one more than are remembered", &mut times(&mut world, &calls, 401));
    world.wait(Duration::from_secs(301));
    let calls: Vec<_> = (0..SAMPLES).map(|_| call(&mut world, &live, 0, false)).collect();
    report("when all are out of date", &mut times(&mut world, &calls, 200));
}

fn call(world: &mut World, live: &Live, parameters: usize, is_folded: bool) -> Call {
    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let pairs: Vec<_> = (0..parameters).map(|index| (NAMES[index % 10], NAMES[index / 10 % 10])).collect();
    let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let separator = if parameters == 0 { "" } else { "?" };
    let endpoint = format!("/portfolio/accounts{separator}{}", query.join("&"));
    let mut call = world.api_call("GET", &endpoint, live);
    if is_folded {
        call.folded = pairs;
    }
    call.signed_with(&live.token)
}

fn times(world: &mut World, calls: &[Call], status: u16) -> Vec<Duration> {
    let time = |call| {
        let begin = Instant::now();
        let response = world.send(call);
        let time = begin.elapsed();
        assert_eq!(response.status(), status, "{}", client::said(&response));
        time
    };
    calls.iter().map(time).collect()
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{what:45}  least {least:>10.1?}  median {median:>10.1?}  most {most:>10.1?}");
}
