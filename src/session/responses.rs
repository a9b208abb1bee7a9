//! What follows from the responses to the three OAuth requests: the next state, or an error that says why there is none.

use super::{OAuthSession, State};
use crate::agreement::diffie_hellman::Exponent;
use crate::agreement::live_session_token::LiveSessionToken;
use crate::agreement::mismatch_search::Evidence;
use crate::credentials::token::AccessToken;
use crate::error::{Error, Malformed, Misuse, Rejected};
use crate::exchange::{Exchange, Step};
use crate::live_session::{Life, LiveSession};
use crate::signing::server_clock::ClockVerdict;
use crate::time::UnixTime;
use crate::wire::response::{self, Response};

impl OAuthSession {
    pub(super) fn state_after(&self, exchange: &Exchange, response: &Response<'_>) -> Result<State, Error> {
        match &exchange.step {
            Step::RequestToken => Ok(State::RequestToken { token: response::request_token(response)?, verifier: None }),
            Step::AccessToken => Ok(State::AccessToken(response::access_token(response)?)),
            Step::LiveSessionToken { exponent, prepend } => {
                let access_token = self.access_token().ok_or(Misuse::StaleExchange)?.clone();
                let asked_at = exchange.receipt.asked_at();
                let live = self.agree(&access_token, exponent, prepend.expose(), response, asked_at)?;
                Ok(State::LiveSession { access_token, live })
            }
        }
    }

    fn agree(
        &self,
        access_token: &AccessToken,
        exponent: &Exponent,
        prepend: &[u8],
        response: &Response<'_>,
        asked_at: UnixTime,
    ) -> Result<LiveSession, Error> {
        let agreement = response::agreement(response)?;
        let (dh, consumer_key) = (self.consumer.dh(), self.consumer.consumer_key());
        let shared_secret = dh.shared_secret(exponent, &agreement.peer_value, self.consumer.keys())?;
        let shared_secret = shared_secret.ok_or(Malformed::DiffieHellmanOutOfRange)?;
        let token = LiveSessionToken::agree(&shared_secret, prepend, consumer_key, &agreement.proof);
        let token = token.ok_or_else(|| {
            let evidence = Evidence {
                shared_secret: shared_secret.to_java_bytes(),
                prime_length: dh.prime_length(),
                names_two: dh.names_two(),
                challenge: &dh.public_value(exponent),
                response: &agreement.peer_value,
                prepend,
                encrypted_secret: access_token.encrypted_secret(),
                consumer_key,
                proof: &agreement.proof,
            };
            Error::LiveSessionMismatch(evidence.explain())
        })?;
        let server_time = response.date().unwrap_or_else(|| asked_at.shifted(self.clock_skew()));
        let life = Life::from(asked_at, server_time, agreement.expiration);
        Ok(LiveSession::new(
            self.consumer.identity().clone(),
            access_token.oauth_token(),
            token,
            self.query_policy,
            life,
        ))
    }
}

/// A rejection of an OAuth request has nothing to do with a live session token.
pub(super) fn at_login(error: Error, clock: ClockVerdict) -> Error {
    match clock.explain(error) {
        Error::Rejected(rejected) => Error::Rejected(Rejected { diagnosis: rejected.diagnosis.of_login(), ..rejected }),
        other => other,
    }
}
