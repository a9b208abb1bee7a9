//! The machines on tokio: what asks the store and waits, so that your program need not.
//!
//! Each driver's `next` may be dropped before it is done, as `tokio::select!` does: what is under way goes on.

mod budget;
mod follower;
mod lock;
mod login_store;
mod member;
mod owner;

pub use budget::BudgetDriver;
pub use follower::{FollowerDriver, FollowerEvent};
pub use login_store::{LoginLock, LoginStore, StoredLogin};
pub use member::{MemberDriver, Tenure};
pub use owner::OwnerDriver;

use std::future::Future;
use std::sync::Arc;

use crate::store::{Answer, Operation};
use crate::stores::{Store, in_time};

/// Has `store` do this, apart from whoever asks.
fn performed<S: Store + Send + Sync + 'static>(
    store: &Arc<S>,
    operation: Operation,
) -> impl Future<Output = Answer> + Send + use<S> {
    let store = Arc::clone(store);
    async move { in_time(store.perform(&operation)).await.unwrap_or(Answer::Unknown) }
}
