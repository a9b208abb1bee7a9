//! How many connections there are, and which of them has to go: slow and idle clients keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All connections of a proxy.
#[derive(Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    count: usize,
    turn: u64,
    /// Those that have no request under way, the one that has waited longest first.
    idle: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place among the others. It begins without a request.
pub(crate) struct Place {
    connections: Connections,
    /// The key among the idle ones.
    turn: Mutex<Option<u64>>,
    leave: Arc<Notify>,
}

/// A request under way: its connection stays.
pub(crate) struct Busy<'a>(&'a Place);

impl Connections {
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    /// Makes a place for one more connection, if need be at the cost of another; `None` if `limit` have a request under way.
    pub(crate) fn enter(&self, limit: usize) -> Option<Place> {
        let mut state = self.lock();
        if state.count >= limit && !state.make_room() {
            return None;
        }
        state.count = state.count.saturating_add(1);
        let leave = Arc::new(Notify::new());
        let turn = Mutex::new(Some(state.wait(&leave)));
        Some(Place { connections: self.clone(), turn, leave })
    }

    /// Sends the one away that has been without a request for longest.
    pub(crate) fn make_room(&self) {
        self.lock().make_room();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether there was one to send away. It counts as gone at once.
    fn make_room(&mut self) -> bool {
        let Some((_, leaver)) = self.idle.pop_first() else { return false };
        self.count = self.count.saturating_sub(1);
        leaver.notify_one();
        true
    }

    fn wait(&mut self, leave: &Arc<Notify>) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.idle.insert(self.turn, Arc::clone(leave));
        self.turn
    }
}

impl Place {
    /// Returns when the connection has to go.
    pub(crate) async fn is_lost(&self) {
        self.leave.notified().await;
    }

    /// Takes note that a whole request is there; `None` if the connection has to go: nothing may be done for it any more.
    pub(crate) fn begin(&self) -> Option<Busy<'_>> {
        let mut state = self.connections.lock();
        let mut turn = self.turn();
        state.idle.remove(&(*turn)?)?;
        *turn = None;
        Some(Busy(self))
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.connections.lock();
        let turn = state.wait(&self.0.leave);
        *self.0.turn() = Some(turn);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        let turn = self.turn().take();
        // Whoever was sent away is not counted any more.
        if turn.is_none_or(|turn| state.idle.remove(&turn).is_some()) {
            state.count = state.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_lost(place: &Place) -> bool {
        use futures_util::FutureExt;
        place.is_lost().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let connections = Connections::default();
        let places: Vec<_> = (0..3).map(|_| connections.enter(3).unwrap()).collect();
        drop(places[0].begin().unwrap());
        let fourth = connections.enter(3).unwrap();
        assert_eq!(places.iter().map(is_lost).collect::<Vec<_>>(), [false, true, false]);
        assert!(places[1].begin().is_none(), "nothing is done for the one that goes");
        assert_eq!(connections.count(), 3);
        drop(places);
        assert_eq!(connections.count(), 1);
        drop(fourth);
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn a_connection_with_a_request_under_way_stays() {
        let connections = Connections::default();
        let (first, second) = (connections.enter(2).unwrap(), connections.enter(2).unwrap());
        let (busy, also) = (first.begin().unwrap(), second.begin().unwrap());
        assert!(connections.enter(2).is_none());
        drop(also);
        let third = connections.enter(2).unwrap();
        assert!(!is_lost(&first) && is_lost(&second) && !is_lost(&third));
        drop(busy);
        drop((first, second, third));
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn a_connection_that_ends_within_a_request_is_counted_out() {
        let connections = Connections::default();
        let place = connections.enter(1).unwrap();
        std::mem::forget(place.begin().unwrap());
        drop(place);
        assert_eq!(connections.count(), 0);
    }
}
