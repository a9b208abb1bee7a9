//! The gateway that all connections share, and who is told of its changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Gateway;

/// A gateway, and who is told of its changes. A copy is the same one.
#[derive(Clone)]
pub(crate) struct Host {
    gateway: Arc<Mutex<Gateway>>,
    /// Locked only by who has locked the gateway.
    observer: Arc<Mutex<Option<Observer>>>,
}

struct Observer {
    /// The newest revision that was told.
    told: u64,
    tell: Box<dyn FnMut(&Gateway) + Send>,
}

impl Host {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self { gateway: Arc::new(Mutex::new(gateway)), observer: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Gateway> {
        lock(&self.gateway)
    }

    /// Lets a client do something at the gateway. What that changes has been told when this returns.
    pub(crate) fn serve<T>(&self, act: impl FnOnce(&mut Gateway) -> T) -> T {
        let mut gateway = self.lock();
        let outcome = act(&mut gateway);
        if let Some(observer) = lock(&self.observer).as_mut().filter(|observer| observer.told != gateway.revision()) {
            observer.look(&gateway);
        }
        outcome
    }

    /// Tells the gateway as it is, and each change from now on.
    pub(crate) fn observe(&self, tell: Box<dyn FnMut(&Gateway) + Send>) {
        let gateway = self.lock();
        lock(&self.observer).insert(Observer { told: 0, tell }).look(&gateway);
    }
}

impl Observer {
    fn look(&mut self, gateway: &Gateway) {
        self.told = gateway.revision();
        (self.tell)(gateway);
    }
}

/// Whoever panicked with it: a gateway never does, and is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
