//! What a follower asks the owner of a session.

use serde::{Deserialize, Serialize};

/// Whether a generation of the live session token is still the one to sign with. For
/// [`Client::handle_question`](crate::Client::handle_question); it holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    generation: u64,
    is_rejected: bool,
    has_no_bridge: bool,
}

impl Question {
    /// What a follower that has none asks about: an owner counts from 1.
    pub(super) const NO_GENERATION: u64 = 0;

    pub(super) fn about(generation: u64) -> Self {
        Self { generation, is_rejected: false, has_no_bridge: false }
    }

    pub(super) fn with_rejection(self, is_rejected: bool) -> Self {
        Self { is_rejected, ..self }
    }

    pub(super) fn with_missing_bridge(self, has_no_bridge: bool) -> Self {
        Self { has_no_bridge, ..self }
    }

    /// Returns the generation that the follower has; 0 if it has none.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether the server rejected a request that was signed with this generation. If not, the follower only looks for
    /// the next.
    pub fn is_rejected(&self) -> bool {
        self.is_rejected
    }

    /// Returns whether a request found no brokerage session.
    pub fn has_no_bridge(&self) -> bool {
        self.has_no_bridge
    }
}
