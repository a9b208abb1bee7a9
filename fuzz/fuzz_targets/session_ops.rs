//! Any sequence of operations on two interleaved sessions. The invariants are those at the top of `tests/ordeal/sessions.rs`,
//! which the tests share; and no more memory than 1 MiB and 64 bytes for each byte of the input.
#![no_main]

use ibkr_oauth_fuzz::server::Server;
use ibkr_oauth_fuzz::sessions::World;
use ibkr_oauth_fuzz::{MemoryBound, holds_a_secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &str| {
    if holds_a_secret(script) {
        return;
    }
    let _bound = MemoryBound::bytes(1024 * 1024 + 64 * script.len());
    let [world, again] = [(); 2].map(|()| World::after(Server::default(), 1, script));
    assert_eq!(world.sent, again.sent, "the same input gave other bytes");
    world.ends_well();
});
