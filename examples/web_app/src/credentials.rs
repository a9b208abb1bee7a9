//! Who this application is to IBKR: the file that `IBKR_CREDENTIALS` names.

use std::error::Error;

use ibkr_oauth::{Consumer, DhParams, RsaKeys, RsaPrivateKey};
use serde::Deserialize;

/// A third party's credentials, as JSON. Which file they are in, and who may read it, is the operator's to say.
#[derive(Clone, Deserialize)]
pub struct Credentials {
    pub(crate) consumer_key: String,
    pub(crate) private_signature_pem: String,
    pub(crate) private_encryption_pem: String,
    pub(crate) dhparam_pem: String,
    /// IBKR's production address, unless given.
    pub(crate) base_url: Option<String>,
    /// IBKR's consent page, unless given.
    pub(crate) authorize_url: Option<String>,
}

impl Credentials {
    /// Returns the consumer. Users come back to the callback URL that is registered with the consumer key.
    ///
    /// # Errors
    /// One of the credentials cannot be used.
    pub fn consumer(&self) -> Result<Consumer, Box<dyn Error>> {
        let key = RsaPrivateKey::from_pem;
        let keys = RsaKeys::new(key(&self.private_signature_pem)?, key(&self.private_encryption_pem)?);
        let mut builder = Consumer::builder(&self.consumer_key, keys, DhParams::from_pem(&self.dhparam_pem)?);
        if let Some(url) = &self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(url) = &self.authorize_url {
            builder = builder.authorize_url(url);
        }
        Ok(builder.build()?)
    }
}
