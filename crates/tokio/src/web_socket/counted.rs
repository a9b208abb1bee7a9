//! A WebSocket as one of its client's, in the status.

use std::sync::Arc;

use crate::shared::Shared;

/// Counts in the status of its client, from its beginning to its end.
pub(super) struct Counted {
    shared: Arc<Shared>,
    is_open: bool,
    was_lost: bool,
    subscriptions: usize,
}

impl Counted {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.count_web_sockets(|all| all.opening = all.opening.saturating_add(1));
        Self { shared, is_open: false, was_lost: false, subscriptions: 0 }
    }

    pub(super) fn opened(&mut self) {
        self.is_open = true;
        self.shared.count_web_sockets(|all| {
            all.opening = all.opening.saturating_sub(1);
            all.open = all.open.saturating_add(1);
            all.renewed = all.renewed.saturating_add(self.was_lost.into());
        });
    }

    /// It is closed, or did not open.
    pub(super) fn closed(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        self.was_lost = true;
        self.shared.count_web_sockets(|all| {
            all.open = all.open.saturating_sub(1);
            all.opening = all.opening.saturating_add(1);
            all.lost = all.lost.saturating_add(1);
        });
    }

    pub(super) fn has_subscriptions(&mut self, count: usize) {
        let before = std::mem::replace(&mut self.subscriptions, count);
        if before != count {
            self.shared.count_web_sockets(|all| {
                all.subscriptions = all.subscriptions.saturating_sub(before).saturating_add(count);
            });
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.count_web_sockets(|all| {
            let standing = if self.is_open { &mut all.open } else { &mut all.opening };
            *standing = standing.saturating_sub(1);
            all.subscriptions = all.subscriptions.saturating_sub(self.subscriptions);
        });
    }
}
