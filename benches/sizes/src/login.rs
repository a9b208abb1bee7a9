//! A first party's whole login and one signed request.

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, DhParams, OAuthSession, Response, RsaKeys, RsaPrivateKey, UnixTime,
};

pub const NOW: UnixTime = UnixTime::from_secs(1_714_650_000);

/// `files` are the two private keys and the Diffie-Hellman parameters, in PEM.
pub fn session(files: [&str; 3], secret: &str) -> Option<OAuthSession> {
    let [signature, encryption, dh] = files;
    let keys = RsaKeys::new(RsaPrivateKey::from_pem(signature).ok()?, RsaPrivateKey::from_pem(encryption).ok()?);
    let consumer = Consumer::builder("TESTCONS", keys, DhParams::from_pem(dh).ok()?).build().ok()?;
    Some(OAuthSession::with_access_token(consumer, AccessToken::new("a1b2c3d4e5f6a7b8c9d0", secret).ok()?))
}

/// Sends nothing: the answer is wrong, but reading it costs what a right one costs.
pub fn log_in(session: &mut OAuthSession, answer: &[u8], rng: &mut dyn CryptoRng) -> usize {
    let mut length = 0;
    if let Ok(Some(outbound)) = session.poll_request(rng, NOW) {
        length = outbound.request.url().len();
        let _ = session.handle_response(outbound.exchange, &Response::new(200, answer), NOW);
    }
    if let Some(live) = session.live(NOW) {
        length +=
            live.authorization(&ApiRequest::get("/portfolio/accounts"), rng, NOW).map_or(0, |(text, _)| text.len());
    }
    length
}
