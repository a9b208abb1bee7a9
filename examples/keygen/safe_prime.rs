//! The search for a Diffie-Hellman prime, on all processors.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crypto_bigint::BoxedUint;
use crypto_primes::hazmat::{SetBits, SieveFactory, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime};

use crate::support::driver::rng;

/// What the self-service portal asks for.
const BITS: u32 = 2048;
const TICK: Duration = Duration::from_secs(1);

/// A prime `p` of 2048 bits, big-endian, of which `(p - 1) / 2` is a prime too. Prints dots while it searches.
pub fn search() -> Vec<u8> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    println!("searching for a Diffie-Hellman prime of {BITS} bits on {workers} processor(s)");
    println!("(it takes 6,600 candidates on average, and at times four times as many)");
    let started = Instant::now();
    let (tried, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let prime = thread::scope(|scope| {
        let (found, finds) = channel();
        for _ in 0..workers {
            let found = found.clone();
            scope.spawn(|| work(&tried, &done, found));
        }
        for second in 1.. {
            match finds.recv_timeout(TICK) {
                Ok(prime) => return prime,
                Err(RecvTimeoutError::Timeout) => show_progress(second, &tried),
                Err(RecvTimeoutError::Disconnected) => unreachable!("this thread has a sender of its own"),
            }
        }
        unreachable!("there are more safe primes than seconds")
    });
    println!(" found after {} candidates, in {:.1} seconds", tried.into_inner(), started.elapsed().as_secs_f32());
    prime
}

/// A dot each second, and a count each ten.
fn show_progress(second: u64, tried: &AtomicU64) {
    print!(".");
    if second.is_multiple_of(10) {
        println!(" {} candidates tried, {second} seconds", tried.load(Ordering::Relaxed));
    }
    let _ = io::stdout().flush();
}

fn work(tried: &AtomicU64, done: &AtomicBool, found: Sender<Vec<u8>>) {
    let mut rng = rng();
    let mut sieves = SmallFactorsSieveFactory::<BoxedUint>::new(Flavor::Safe, BITS, SetBits::Msb)
        .expect("there are safe primes of this size");
    let sieve =
        sieves.make_sieve(&mut rng, None).expect("the size is allowed").expect("the first sieve is never empty");
    for candidate in sieve.filter(generates_without_a_leak) {
        if done.load(Ordering::Relaxed) {
            return;
        }
        tried.fetch_add(1, Ordering::Relaxed);
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
    prime.as_words()[0] % 8 == 7
}
