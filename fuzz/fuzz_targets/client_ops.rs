//! Any sequence of operations on a client. The invariants are those of `tests/ordeal/client.rs`, which the tests share; and
//! no more memory than 1 MiB and 64 bytes for each byte of the input.
#![no_main]

use ibkr_oauth_fuzz::{MemoryBound, holds_a_secret, ordeal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &str| {
    if holds_a_secret(script) {
        return;
    }
    let _bound = MemoryBound::bytes(1024 * 1024 + 64 * script.len());
    ordeal::client::run(script);
});
