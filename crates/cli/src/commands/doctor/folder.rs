//! Keys and parameters in a folder, under the names that `ibkr-oauth keygen` gives them.

use std::path::Path;

use ibkr_oauth::doctor::Credentials;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files::read_if_there;
use crate::keys::{DHPARAM, ENCRYPTION, SIGNATURE};

/// Whatever was found. It is wiped on drop.
#[derive(Default)]
pub struct Folder {
    signature_key: Option<Zeroizing<String>>,
    encryption_key: Option<Zeroizing<String>>,
    dh_params: Option<Zeroizing<String>>,
}

impl Folder {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        if !path.is_dir() {
            return Err(Failure::new(Exit::Credentials, format!("{} is not a folder", path.display())));
        }
        let read = |name: &str| {
            let path = path.join(name);
            let text = read_if_there(&path);
            text.map_err(|error| Failure::new(Exit::Credentials, format!("cannot read {}: {error}", path.display())))
        };
        Ok(Self { signature_key: read(SIGNATURE)?, encryption_key: read(ENCRYPTION)?, dh_params: read(DHPARAM)? })
    }

    /// Adds what `credentials` do not have.
    pub fn complete<'a>(&'a self, credentials: Credentials<'a>) -> Credentials<'a> {
        Credentials {
            signature_key: credentials.signature_key.or(shown(&self.signature_key)),
            encryption_key: credentials.encryption_key.or(shown(&self.encryption_key)),
            dh_params: credentials.dh_params.or(shown(&self.dh_params)),
            ..credentials
        }
    }
}

fn shown(text: &Option<Zeroizing<String>>) -> Option<&str> {
    text.as_ref().map(|text| text.as_str())
}
