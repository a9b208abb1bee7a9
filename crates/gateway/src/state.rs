//! What a gateway's successor goes on with, after a restart.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::brokerage::BrokerageSessions;
use crate::orders::Orders;
use crate::registry::Tokens;

/// What has come about at a [`Gateway`] through requests, to be stored and handed to another: request tokens, access tokens
/// and their live sessions, brokerage sessions, orders, and the questions about them.
///
/// Not in it are consumers, users and settings, which whoever makes the gateway gives to the next one too; incidents, to come
/// or under way; and the nonces of requests: what was sent before a restart can be sent once more. An open WebSocket ends with
/// the server.
///
/// With [`serde`](https://docs.rs/serde) it becomes JSON or the like. **It holds secrets**: who reads it can sign as the
/// gateway's clients. `Debug` shows none of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: Format,
    tokens: Tokens,
    brokerage_sessions: BrokerageSessions,
    orders: Orders,
}

/// Tells a state from other data, and from the states of later versions.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "ibkr-oauth-gateway 1")]
    First,
}

impl Gateway {
    /// Returns the state, for the gateway of a later run to [`restore`](Self::restore).
    ///
    /// ```
    /// # use ibkr_oauth_gateway::{Gateway, State};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
    /// let stored = serde_json::to_string(&gateway.state())?;
    ///
    /// let mut successor = Gateway::new("http://127.0.0.1:4000/v1/api")?;
    /// successor.restore(serde_json::from_str::<State>(&stored)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn state(&self) -> State {
        State {
            format: Format::First,
            tokens: self.registry.tokens.clone(),
            brokerage_sessions: self.brokerage.of_clients(),
            orders: self.orders.clone(),
        }
    }

    /// Takes the state of an earlier gateway in place of its own. Clients go on as if nothing had happened: live session
    /// tokens expire when they would have, brokerage sessions have been idle for as long as nobody was there to ask, and
    /// orders keep their ids.
    ///
    /// Consumers and users may be registered before or after. What belongs to others stays, and is of no use.
    pub fn restore(&mut self, state: State) {
        self.note_change();
        self.registry.tokens = state.tokens;
        self.brokerage = state.brokerage_sessions;
        self.orders = state.orders;
    }

    /// Returns a number that grows whenever the [state](Self::state) has changed, and sometimes when it has not.
    ///
    /// That a request keeps its brokerage session alive counts once a minute: a state that was stored at the last revision
    /// is at most so far behind.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn note_change(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Arrays of bytes as hexadecimal digits.
pub(crate) mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::percent_encoding::hex;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const LENGTH: usize>(
        deserializer: D,
    ) -> Result<[u8; LENGTH], D::Error> {
        let digits = String::deserialize(deserializer)?;
        let bytes = base16ct::lower::decode_vec(digits).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| D::Error::custom("not as many hexadecimal digits as there should be"))
    }
}
