//! The operations by the clock.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

use crate::samples::{DEFINITE, LEAK, Samples};
use crate::subjects::{Kind, Observer, Subject};
use crate::support::rng;

/// Measurements of one subject.
const ENOUGH: usize = 1_000_000;

pub struct Stopwatch {
    /// For each subject.
    budget: Duration,
    rng: StdRng,
    surprises: u32,
}

impl Stopwatch {
    pub fn new(budget: Duration) -> Self {
        println!("{}\n", clock());
        println!("| operation | classes | measured | median | medians apart | t | smallest visible | verdict |");
        println!("| :-- | :-- | --: | --: | --: | --: | --: | :-- |");
        Self { budget, rng: rng(1), surprises: 0 }
    }

    /// Fails if an operation leaks, and if a control does not.
    pub fn verdict(&self) -> ExitCode {
        if self.surprises == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl Observer for Stopwatch {
    fn observe<I, O>(
        &mut self,
        subject: &Subject,
        mut prepare: impl FnMut(usize, &mut StdRng) -> I,
        operation: impl Fn(&mut I) -> O,
    ) {
        let mut samples = Samples::default();
        let end = Instant::now() + self.budget;
        while Instant::now() < end && samples.len() < ENOUGH {
            let class = usize::from(self.rng.random::<bool>());
            let mut input = prepare(class, &mut self.rng);
            let start = Instant::now();
            let output = operation(black_box(&mut input));
            let time = start.elapsed();
            drop(black_box(output));
            samples.0[class].push(time.as_nanos() as f64);
        }
        let (t, visible) = (samples.t(), samples.smallest_visible(&mut self.rng));
        self.surprises += u32::from((subject.kind == Kind::Control) != (t.abs() > LEAK));
        let [left, right] = [0, 1].map(|class| samples.median(class));
        println!(
            "| {}: {} | {} | {} | {left:.0} ns | {:.0} ns | {t:.1} | {visible:.2} ns, {:.3} % | {} |",
            subject.kind.name(),
            subject.name,
            subject.classes.join(" / "),
            samples.len(),
            left - right,
            visible / left * 100.0,
            verdict(t),
        );
    }
}

fn verdict(t: f64) -> &'static str {
    match t.abs() {
        t if t > DEFINITE => "definite leak",
        t if t > LEAK => "leak",
        _ => "none seen",
    }
}

/// What the clock can tell apart.
fn clock() -> String {
    let steps = (0..100_000).map(|_| {
        let start = Instant::now();
        start.elapsed().as_nanos()
    });
    let mut steps: Vec<u128> = steps.collect();
    steps.sort_unstable();
    let fastest = steps[0];
    let next = steps.iter().find(|step| **step > fastest).map_or(0, |next| next - fastest);
    format!("The clock: {} ns to read, in steps of {next} ns.", steps[steps.len() / 2])
}
