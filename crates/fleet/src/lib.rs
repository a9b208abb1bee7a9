//! Many processes and machines that trade with one login to Interactive Brokers' Web API each.
#![cfg_attr(feature = "folder", doc = include_str!("../README.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

mod budget;
#[cfg(feature = "tokio")]
pub mod drivers;
mod id;
mod keeper;
mod lock;
mod member;
mod owner;
#[cfg(feature = "seal")]
mod seal;
mod secrecy;
mod store;
#[cfg(feature = "tokio")]
pub mod stores;
mod table;
mod timing;
mod watch;

pub use budget::{Budget, BudgetExchange, BudgetOutput};
pub use ibkr_oauth;
pub use id::MemberId;
pub use keeper::{Keeper, KeeperEvent, KeeperExchange, KeeperOutput, Login};
pub use lock::{Lock, LockExchange, LockOutput};
pub use member::{Event, Exchange, Member, Output, shard_of};
pub use owner::{Owner, OwnerEvent, OwnerOutput};
#[cfg(feature = "seal")]
pub use seal::Seal;
pub use secrecy::Secrecy;
pub use store::{Answer, Entry, Operation};
