//! What the doctor does, shown on credentials that were made for it.

use ibkr_oauth_gateway::Gateway;

use crate::pieces::Pieces;
use crate::support::credentials::{Credentials, Keys, Party};

/// Shows a healthy set and one that is broken on purpose.
pub fn run(examine: impl Fn(&Pieces) -> Result<(), String>) -> Result<(), String> {
    eprintln!("No credentials were given (see --credentials and --dir), so this is a demonstration.");
    let healthy = healthy().map_err(|error| format!("cannot make credentials: {error}"))?;
    eprintln!("\n=== Throw-away credentials, made on the spot:\n");
    examine(&healthy)?;
    eprintln!("\n=== The same, broken on purpose: keys swapped, a consumer key in lower case, line ends of Windows,");
    eprintln!("=== and the signature key as an environment variable would have it:\n");
    examine(&broken(healthy))
}

fn healthy() -> Result<Pieces, Box<dyn std::error::Error>> {
    let keys = Keys::generate(&mut |step| eprintln!("{step} ..."))?;
    let mut gateway = Gateway::new("https://api.ibkr.com/v1/api")?;
    let made = Credentials::enroll(&mut gateway, &keys, "EXAMPLECO", &Party::First)?;
    let access = made.access.ok_or("the portal issued no access token")?;
    Ok(Pieces {
        consumer_key: Some(made.consumer_key.into()),
        realm: Some(made.realm.into()),
        access_token: Some(access.token),
        access_token_secret: Some(access.secret),
        signature_key: Some(made.private_signature_pem),
        encryption_key: Some(made.private_encryption_pem),
        dh_params: Some(made.dhparam_pem.into()),
        base_url: Some(made.base_url.into()),
        ..Pieces::default()
    })
}

fn broken(healthy: Pieces) -> Pieces {
    Pieces {
        consumer_key: healthy.consumer_key.map(|key| key.to_lowercase().into()),
        signature_key: healthy.encryption_key.map(|pem| pem.replace('\n', "\\n").into()),
        encryption_key: healthy.signature_key,
        dh_params: healthy.dh_params.map(|pem| pem.replace('\n', "\r\n").into()),
        ..healthy
    }
}
