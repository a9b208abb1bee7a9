//! The operations by their instructions: valgrind's callgrind counts between entry and exit of `callgrind_counts_this`,
//! and writes one number per call. Each call is announced here, in the same order.

use std::hint::black_box;

use rand::rngs::StdRng;

use crate::subjects::{Observer, Subject};
use crate::support::rng;

/// Pairs of inputs, one of each class, made from the same randomness.
const PAIRS: u64 = 8;

pub struct Counter;

impl Observer for Counter {
    fn observe<I, O>(
        &mut self,
        subject: &Subject,
        mut prepare: impl FnMut(usize, &mut StdRng) -> I,
        operation: impl Fn(&mut I) -> O,
    ) {
        // What only the first call does is none of the input's business.
        operation(&mut prepare(0, &mut rng(0)));
        for pair in 1..=PAIRS {
            for class in [0, 1] {
                let (mut input, mut output) = (prepare(class, &mut rng(pair)), None);
                callgrind_counts_this(&mut || output = Some(operation(black_box(&mut input))));
                println!("{}\t{}", subject.kind.name(), subject.name);
            }
        }
    }
}

#[inline(never)]
fn callgrind_counts_this(operation: &mut dyn FnMut()) {
    operation();
    // Something to come back for: else the call would be a jump.
    black_box(operation);
}
