//! What ties a response to its request: a ticket in the exchange, and the machine that watches it.

use alloc::sync::{Arc, Weak};
use core::time::Duration;

use crate::time::UnixTime;

/// Held by one exchange and by nothing else. An exchange that is dropped takes its ticket along, so the machine that
/// watches the ticket knows without being told; a counter could not.
pub(crate) struct Ticket(Arc<()>);

/// The ticket whose response is awaited, and until when. By default none is.
#[derive(Default)]
pub(crate) struct Awaited {
    ticket: Weak<()>,
    deadline: UnixTime,
}

impl Awaited {
    /// Makes a ticket and awaits it from `now` on for `patience`.
    pub(crate) fn issue(&mut self, patience: Duration, now: UnixTime) -> Ticket {
        let ticket = Arc::new(());
        *self = Self { ticket: Arc::downgrade(&ticket), deadline: now.saturating_add(patience) };
        Ticket(ticket)
    }

    /// Returns whether a response is awaited at `now`: the exchange exists, and its deadline has not passed.
    pub(crate) fn is_pending(&self, now: UnixTime) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Returns the deadline, while the exchange exists.
    pub(crate) fn deadline(&self) -> Option<UnixTime> {
        (self.ticket.strong_count() > 0).then_some(self.deadline)
    }

    /// Returns when work that is due at `at` can be offered: while the exchange exists, not before its deadline.
    pub(crate) fn put_off(&self, at: UnixTime) -> UnixTime {
        self.deadline().map_or(at, |deadline| at.max(deadline))
    }

    /// Returns whether `ticket` is the one awaited.
    pub(crate) fn is(&self, ticket: &Ticket) -> bool {
        Weak::ptr_eq(&self.ticket, &Arc::downgrade(&ticket.0))
    }

    /// Moves the deadline along with a clock that went back: it is never further off than `patience`.
    pub(crate) fn follow_clock(&mut self, patience: Duration, now: UnixTime) {
        self.deadline = self.deadline.min(now.saturating_add(patience));
    }

    /// Awaits nothing any more: the ticket that was awaited is stale.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
