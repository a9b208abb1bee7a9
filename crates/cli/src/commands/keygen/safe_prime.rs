//! The search for a Diffie-Hellman prime, on all processors.
//!
//! On threads of its own: `crypto_primes::multicore` wants a random source that it can fork, which the operating system's is
//! not, and brings rayon for what a scope of threads does.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crypto_bigint::BoxedUint;
use crypto_primes::hazmat::{SetBits, SieveFactory, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime};
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::{Exit, Failure};
use crate::output::note;
use crate::progress;
use crate::surroundings::rng;

/// What the self-service portal asks for.
const BITS: u32 = 2048;
const SEARCH: &str = "searching for a Diffie-Hellman prime";

/// A prime `p` of 2048 bits, big-endian, of which `(p - 1) / 2` is a prime too.
pub fn search() -> Result<Vec<u8>, Failure> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    note(format!("{SEARCH} on {workers} processor(s): 6,600 candidates on average, at times four times as many"));
    let bar = progress::spinner(SEARCH);
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg}: {pos} candidates, {elapsed}")
            .unwrap_or(ProgressStyle::default_spinner()),
    );
    let done = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        let (found, finds) = channel();
        for _ in 0..workers {
            let found = found.clone();
            scope.spawn(|| work(&bar, &done, found));
        }
        drop(found);
        finds.recv()
    });
    bar.finish_and_clear();
    found.map_err(|_| Failure::new(Exit::File, "no keys were made: the search for a prime has failed"))
}

/// Tries candidates until one of all workers has found a prime.
fn work(tried: &ProgressBar, done: &AtomicBool, found: Sender<Vec<u8>>) {
    let mut rng = rng();
    let sieves = SmallFactorsSieveFactory::<BoxedUint>::new(Flavor::Safe, BITS, SetBits::Msb);
    let sieve = sieves.ok().and_then(|mut sieves| sieves.make_sieve(&mut rng, None).ok()?);
    for candidate in sieve.into_iter().flatten().filter(generates_without_a_leak) {
        if done.load(Ordering::Relaxed) {
            return;
        }
        tried.inc(1);
        if is_prime(Flavor::Safe, &candidate) {
            done.store(true, Ordering::Relaxed);
            // Nobody listens any more if two were found at once.
            let _ = found.send(candidate.to_be_bytes().into_vec());
        }
    }
}

/// Where `p` is 7 modulo 8, the powers of 2 are squares: the last bit of an exponent cannot be read off its power.
/// OpenSSL chooses its primes like this, too.
fn generates_without_a_leak(prime: &BoxedUint) -> bool {
    prime.as_words().first().is_some_and(|word| word % 8 == 7)
}
