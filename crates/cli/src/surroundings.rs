//! The system's clock and random source, which the libraries are handed.

use std::time::SystemTime;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth::UnixTime;

pub fn now() -> UnixTime {
    SystemTime::now().into()
}

/// The operating system's randomness.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
