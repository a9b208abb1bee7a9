//! The three OAuth requests of a login: request token, access token, live session token
//! ([protocol section 2](crate::protocol#section-2)).

use base64::Engine;
use rand_core::CryptoRng;

use super::OAuthSession;
use crate::agreement::diffie_hellman::Exponent;
use crate::credentials::token::{AccessToken, Token};
use crate::encoding::BASE64;
use crate::error::Error;
use crate::exchange::Step;
use crate::signing::authorization::{Header, Parameter, common_parameters};
use crate::signing::base_string::BaseString;
use crate::signing::nonce_and_timestamp::Stamp;
use crate::signing::percent_encoding::encode;
use crate::wire::method::Method;
use crate::wire::receipt::Receipt;
use crate::wire::request::{Head, Request};

impl OAuthSession {
    pub(super) fn ask_request_token(
        &self,
        stamp: &Stamp,
        receipt: Receipt,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Step, Request), Error> {
        let own = [("oauth_callback", self.consumer.callback())];
        self.rsa_signed(Step::RequestToken, &own, stamp, receipt, rng)
    }

    /// Without `oauth_callback`: IBKR's published example has none, and its signature verifies
    /// ([protocol section 2.1](crate::protocol#section-2-1)).
    pub(super) fn ask_access_token(
        &self,
        token: &Token,
        verifier: &Token,
        stamp: &Stamp,
        receipt: Receipt,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Step, Request), Error> {
        let own = [("oauth_token", token.as_str()), ("oauth_verifier", verifier.as_str())];
        self.rsa_signed(Step::AccessToken, &own, stamp, receipt, rng)
    }

    pub(super) fn ask_live_session_token(
        &self,
        access_token: &AccessToken,
        stamp: &Stamp,
        receipt: Receipt,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Step, Request), Error> {
        let prepend = self.consumer.keys().decrypt_pkcs1v15(access_token.encrypted_secret(), rng)?;
        let exponent = Exponent::random(rng)?;
        let challenge = self.consumer.dh().challenge(&exponent, self.consumer.keys())?;
        let own = [("diffie_hellman_challenge", challenge.as_str()), ("oauth_token", access_token.token())];
        self.rsa_signed(Step::LiveSessionToken { exponent, prepend }, &own, stamp, receipt, rng)
    }

    /// The request for `step`, with its `own` parameters beside the common ones.
    fn rsa_signed(
        &self,
        step: Step,
        own: &[Parameter<'_>],
        stamp: &Stamp,
        receipt: Receipt,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Step, Request), Error> {
        let consumer = &self.consumer;
        let endpoint = step.endpoint();
        let (nonce, timestamp) = (stamp.nonce(), stamp.timestamp());
        let common = common_parameters(consumer.identity(), "RSA-SHA256", nonce.as_str(), timestamp.as_str());
        let mut parameters = [&common, own].concat();
        // Their names are of letters and `_`, which stand for themselves in an encoding.
        parameters.sort_unstable();

        let url = [consumer.base_url(), endpoint].concat();
        let base_string = BaseString::new(Method::Post, &url, &parameters, consumer.identity().parameter_encoding());
        let base_string = base_string.with_prepend(step.prepend());
        let signature = consumer.keys().sign_rsa_sha256(base_string.text().expose().as_bytes(), rng)?;

        let header = Header::new(consumer.realm(), parameters.iter().map(|(name, value)| (*name, Some(*value))));
        let signature = encode(&BASE64.encode(signature));
        let length = endpoint.len().saturating_add(header.length()).saturating_add(signature.len());
        let mut head = Head::new(consumer.identity(), length, |text| text.push_str(endpoint));
        header.write(head.authorization(), &signature);
        let request = Request::new(consumer.identity(), Method::Post, head, base_string, None, receipt);
        Ok((step, request))
    }
}
