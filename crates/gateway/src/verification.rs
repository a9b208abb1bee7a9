//! Verifies signature, consumer, token, timestamp and nonce of a request.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::mac::keyed;
use crate::registry::{Consumer, LiveSession, Registry};
use crate::rejection::Rejection;
use crate::replay::Stamp;
use crate::signed_request::SignedRequest;
use crate::time::UnixTime;
use crate::{Gateway, QueryPolicy};

/// Who made a verified API request.
pub(crate) struct Caller {
    pub(crate) access_token: String,
    pub(crate) user: String,
    pub(crate) session: LiveSession,
}

impl Gateway {
    /// Verifies a request signed with the consumer's RSA key; `prepend` stands before its base string (protocol
    /// section 4).
    pub(crate) fn verify_rsa(
        &mut self,
        request: &SignedRequest<'_>,
        prepend: &str,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let consumer = known_consumer(&self.registry, request)?.map_err(Rejection::InvalidConsumer)?;
        let (method, signature) = (request.oauth("oauth_signature_method")?, request.signature()?);
        let stamp = Stamp::read(&request.authorization)?;
        if method != "RSA-SHA256" {
            return Err(Rejection::InvalidConsumer("oauth_signature_method is not RSA-SHA256"));
        }
        self.replay.check_clock(&stamp, now).map_err(Rejection::InvalidConsumer)?;
        let base_string = format!("{prepend}{}", request.base_string());
        if !consumer.signature_key.verifies(base_string.as_bytes(), &signature) {
            return Err(Rejection::InvalidConsumer("the signature is not the consumer's, of this request"));
        }
        let token = request.oauth("oauth_token").unwrap_or_default();
        self.replay.admit(&consumer.key, token, &stamp, now).map_err(Rejection::InvalidConsumer)
    }

    /// Verifies a request signed with a live session token (protocol section 5).
    pub(crate) fn verify_hmac(&mut self, request: &SignedRequest<'_>, now: UnixTime) -> Result<Caller, Rejection> {
        let consumer = known_consumer(&self.registry, request)?.map_err(Rejection::Unauthorized)?;
        let (method, signature) = (request.oauth("oauth_signature_method")?, request.signature()?);
        let (token, stamp) = (request.oauth("oauth_token")?, Stamp::read(&request.authorization)?);
        if method != "HMAC-SHA256" {
            return Err(Rejection::Unauthorized("oauth_signature_method is not HMAC-SHA256"));
        }
        let access = self.registry.access_token(token).filter(|access| access.consumer_key == consumer.key);
        let access = access.ok_or(Rejection::Unauthorized("the access token is unknown, or another consumer's"))?;
        if access.live_sessions(now).next().is_none() {
            let rejection = Rejection::Unauthorized("the access token has no live session token, or an expired one");
            return Err(rejection.or_login(self.settings.dead_token_response));
        }
        self.replay.check_clock(&stamp, now).map_err(Rejection::Unauthorized)?;
        let policy = self.settings.query_policy;
        if policy == QueryPolicy::Reject && !request.query.is_empty() {
            return Err(Rejection::Query);
        }
        let Some(signer) = signer(access.live_sessions(now), request.api_base_strings(policy), &signature) else {
            return Err(match signer(access.sessions(), request.api_base_strings(policy), &signature) {
                Some(_) => Rejection::DeadSignature.or_login(self.settings.dead_token_response),
                None => Rejection::InvalidSignature,
            });
        };
        self.replay.admit(&consumer.key, token, &stamp, now).map_err(Rejection::Unauthorized)?;
        Ok(Caller { access_token: token.into(), user: access.user.clone(), session: signer.clone() })
    }
}

/// The consumer that the header names, or the reason why not: the outer error is for a header that names none.
pub(crate) fn known_consumer<'g>(
    registry: &'g Registry,
    request: &SignedRequest<'_>,
) -> Result<Result<&'g Consumer, &'static str>, Rejection> {
    let (key, realm) = (request.oauth("oauth_consumer_key")?, request.oauth("realm")?);
    Ok(match registry.consumer(key) {
        None => Err("the consumer key is unknown"),
        Some(consumer) if consumer.realm != realm => Err("the realm is not this consumer's"),
        Some(consumer) => Ok(consumer),
    })
}

/// The session whose token made `signature`, of whichever base string.
fn signer<'g>(
    sessions: impl Iterator<Item = &'g LiveSession>,
    mut base_strings: impl Iterator<Item = String>,
    signature: &[u8],
) -> Option<&'g LiveSession> {
    let sessions: Vec<_> =
        sessions.filter_map(|session| Some((session, keyed::<Hmac<Sha256>>(&session.token)?))).collect();
    base_strings.find_map(|string| {
        let made_it = |mac: &Hmac<Sha256>| mac.clone().chain_update(&string).verify_slice(signature).is_ok();
        sessions.iter().find(|(_, mac)| made_it(mac)).map(|(session, _)| *session)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_base_string_is_built_after_the_one_that_was_signed() {
        let session = |token| LiveSession { token: [token; 20], expires: UnixTime::MAX, cookie: String::new() };
        let sessions = [session(1), session(2)];
        let mac = keyed::<Hmac<Sha256>>(&[2; 20]).unwrap().chain_update("second");
        let signature = mac.finalize().into_bytes();
        let mut built = 0;
        let base_strings = ["first", "second", "third"].into_iter().map(str::to_string).inspect(|_| built += 1);
        assert_eq!(signer(sessions.iter(), base_strings, &signature).unwrap().token, [2; 20]);
        assert_eq!(built, 2);
        assert!(signer(sessions.iter(), std::iter::once(String::from("other")), &signature).is_none());
    }
}
