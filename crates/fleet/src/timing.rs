//! How long leases last, and how often members act. Everything follows from one duration.

use std::time::Duration;

/// The time within which another member takes over from one that died, and what follows from it.
///
/// | what | part of it |
/// |---|---|
/// | a lease, counted by those who wait for its end | 5/8 |
/// | the same lease, counted by its holder: clocks may run fast or slow by 3 % | 15/16 of that |
/// | between two renewals | 5/32 |
/// | between two looks at the others | 1/8 |
/// | before an operation without an answer is given up | 1/8 |
/// | between two attempts while the store fails | 1/32 |
///
/// The worst case: a member dies just after a renewal; it is seen one look later; its lease ends; the shards are taken one
/// look after that. That leaves an eighth for the store's own delays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) lease: Duration,
    pub(crate) held: Duration,
    pub(crate) renewal: Duration,
    pub(crate) look: Duration,
    pub(crate) patience: Duration,
    pub(crate) retry: Duration,
}

impl Timing {
    pub(crate) fn within(takeover: Duration) -> Self {
        let part = |of: Duration, numerator: u32, denominator: u32| {
            of.saturating_mul(numerator).checked_div(denominator).unwrap_or_default()
        };
        let lease = part(takeover, 5, 8);
        Self {
            lease,
            held: part(lease, 15, 16),
            renewal: part(lease, 1, 4),
            look: part(takeover, 1, 8),
            patience: part(takeover, 1, 8),
            retry: part(takeover, 1, 32),
        }
    }
}
