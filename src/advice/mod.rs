//! Advice: what a rejection means, when to try again, and what IBKR's limits and maintenance windows are.

pub(crate) mod activation;
pub(crate) mod backoff;
pub(crate) mod diagnosis;
pub(crate) mod maintenance;
pub(crate) mod mismatch;
pub(crate) mod pacing;
pub(crate) mod penalty;
