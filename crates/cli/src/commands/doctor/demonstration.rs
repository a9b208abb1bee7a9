//! What the doctor does, shown on credentials that were made for it.

use ibkr_oauth::doctor::{Credentials, Report, examine};
use zeroize::Zeroizing;

use crate::access::Source;
use crate::commands::gateway::credentials_for_demonstration;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress;
use crate::surroundings::rng;

use super::report;

/// Shows a healthy set and one that is broken on purpose.
pub async fn run() -> Result<Exit, Failure> {
    let place = tempfile::Builder::new().prefix("ibkr-demo-").tempdir();
    let place = place.map_err(|error| Failure::file("cannot make a temporary folder", &error))?;
    let made = progress::show("making keys", credentials_for_demonstration(place.path().to_owned())).await?;
    let credentials = Source::of(made).credentials()?;
    let healthy = credentials.for_doctor();
    tell("Throw-away credentials, made on the spot:", &examine(&healthy, &mut rng()))?;
    tell(
        "The same, broken on purpose: keys swapped, a consumer key in lower case, line ends of Windows,\n\
         and the signature key as an environment variable would have it:",
        &examine_broken(&healthy),
    )?;
    Ok(Exit::Done)
}

fn tell(title: &str, report: &Report) -> Result<(), Failure> {
    output::line(format!("=== {title}\n\n{}", report::in_words(report)))
}

fn examine_broken(healthy: &Credentials<'_>) -> Report {
    let lower_case = healthy.consumer_key.map(str::to_lowercase);
    let escaped = healthy.encryption_key.map(|pem| Zeroizing::new(pem.replace('\n', "\\n")));
    let windows = healthy.dh_params.map(|pem| pem.replace('\n', "\r\n"));
    let broken = Credentials {
        consumer_key: lower_case.as_deref(),
        signature_key: escaped.as_ref().map(|pem| pem.as_str()),
        encryption_key: healthy.signature_key,
        dh_params: windows.as_deref(),
        ..*healthy
    };
    examine(&broken, &mut rng())
}
