//! Does the time of an operation tell something of the secret in it? `benches/timing/run` asks.

mod counter;
mod samples;
mod stopwatch;
mod subjects;
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use counter::Counter;
use stopwatch::Stopwatch;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count"] => subjects::observe(&mut Counter),
        ["time", seconds] => {
            let mut stopwatch = Stopwatch::new(Duration::from_secs(seconds.parse().unwrap()));
            subjects::observe(&mut stopwatch);
            return stopwatch.verdict();
        }
        _ => eprintln!("timing: count, or time SECONDS"),
    }
    ExitCode::SUCCESS
}
