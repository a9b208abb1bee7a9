//! What the fuzz targets share: a bound on memory, and what they share with the tests.

use std::alloc::System;
use std::panic;
use std::sync::Once;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cap::Cap;
use num_bigint::BigUint;

#[path = "../../tests/ordeal/mod.rs"]
pub mod ordeal;
pub use ordeal::*;

/// libFuzzer's own limit on what is allocated works only under a sanitizer.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// While it lives, no more than so many bytes can be allocated beside those that were before: the process ends otherwise.
pub struct MemoryBound;

impl MemoryBound {
    pub fn bytes(bytes: usize) -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(unbound_panics);
        ALLOCATOR.set_limit(ALLOCATOR.allocated().saturating_add(bytes)).unwrap();
        Self
    }
}

/// A backtrace takes megabytes.
fn unbound_panics() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        hook(info);
    }));
}

impl Drop for MemoryBound {
    fn drop(&mut self) {
        ALLOCATOR.set_limit(usize::MAX).unwrap();
    }
}

/// The small group, as `openssl dhparam` would write it.
pub fn dh_pem() -> String {
    let digits = format!("3046024100{SMALL_PRIME}020102");
    let base64 = BASE64_STANDARD.encode(BigUint::parse_bytes(digits.as_bytes(), 16).unwrap().to_bytes_be());
    let (first, second) = base64.split_at(64);
    format!("-----BEGIN DH PARAMETERS-----\n{first}\n{second}\n-----END DH PARAMETERS-----\n")
}
