//! What a client asks its surroundings for: the time, and randomness.

use std::time::SystemTime;

use getrandom::SysRng;
use ibkr_oauth::UnixTime;
use ibkr_oauth::rand_core::UnwrapErr;

pub(crate) fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

/// The operating system's randomness. It fails on no system that has finished booting.
pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
