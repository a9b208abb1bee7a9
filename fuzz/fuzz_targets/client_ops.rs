//! Any sequence of operations on a client: polls, responses honest and not, losses, clocks that are set, the caller's own
//! requests, doubts, log-outs, restarts. The invariants are those at the top of `tests/ordeal/client.rs`, which the tests
//! share; and no more memory than 1 MiB and 64 bytes for each byte of the input.
#![no_main]

use ibkr_oauth_fuzz::client::World;
use ibkr_oauth_fuzz::{MemoryBound, holds_a_secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &str| {
    if holds_a_secret(script) {
        return;
    }
    let _bound = MemoryBound::bytes(1024 * 1024 + 64 * script.len());
    World::after(script).ends_well();
});
