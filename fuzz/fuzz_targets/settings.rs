//! Any texts as the settings and tokens of a consumer: `NAME VALUE` on each line. The doctor looks at them too.
//! Invariants: no panic; what is accepted is sent as one message, with each value in its quotes; a token that is accepted
//! is the same when it is read again; what is refused, the doctor calls an error; a report holds no secret; no more memory
//! than 64 KiB and 32 bytes for each byte of the input.
#![no_main]

use ibkr_oauth::doctor::{Clocks, Credential, Credentials, Report, ServerTime, Severity, examine};
use ibkr_oauth::{AccessToken, ConfigError, Consumer, OAuthSession};
use ibkr_oauth_fuzz::{
    FakeKeys, MemoryBound, START, assert_one_message, assert_silent, assert_silent_error, authorization, dh, operations,
};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|text: &str| {
    let _bound = MemoryBound::bytes(64 * 1024 + 32 * text.len());
    let value = |name: &str| operations(text).find(|(known, _)| *known == name).map(|(_, value)| value);
    let clocks = value("date").map(|date| Clocks { own: START, server: ServerTime::DateHeader(date) });
    let credentials = Credentials {
        consumer_key: value("consumer_key"),
        realm: value("realm"),
        access_token: value("access_token"),
        access_token_secret: value("access_token_secret"),
        base_url: value("base_url"),
        clocks,
        ..Credentials::default()
    };
    let report = examine(&credentials, &mut StdRng::seed_from_u64(1));
    assert_silent(&format!("{report:?} {}", report.to_json()));

    match configured(&credentials, value("callback_url"), value("authorize_url"), value("user_agent")) {
        Some(Ok(consumer)) => assert_sendable(consumer),
        None => {}
        Some(Err(error)) => {
            assert_silent_error(&error);
            assert!(credential(&error).is_none_or(|credential| has_error(&report, credential)), "{error} {report:?}");
        }
    }
    if let (Some(token), Some(secret)) = (value("access_token"), value("access_token_secret")) {
        match AccessToken::new(token, secret) {
            Ok(access_token) => {
                assert_silent(&format!("{access_token:?}"));
                let again = AccessToken::new(access_token.token(), access_token.secret().expose());
                assert_eq!(again.as_ref(), Ok(&access_token), "what is stored can be read");
            }
            Err(error) => {
                let credentials = [Credential::AccessToken, Credential::AccessTokenSecret];
                assert!(credentials.into_iter().any(|credential| has_error(&report, credential)), "{error} {report:?}");
            }
        }
    }
});

fn configured(
    credentials: &Credentials<'_>,
    callback_url: Option<&str>,
    authorize_url: Option<&str>,
    user_agent: Option<&str>,
) -> Option<Result<Consumer, ConfigError>> {
    let mut builder = Consumer::builder(credentials.consumer_key?, FakeKeys, dh());
    builder = credentials.realm.into_iter().fold(builder, |builder, realm| builder.realm(realm));
    builder = credentials.base_url.into_iter().fold(builder, |builder, url| builder.base_url(url));
    builder = callback_url.into_iter().fold(builder, |builder, url| builder.callback_url(url));
    builder = authorize_url.into_iter().fold(builder, |builder, url| builder.authorize_url(url));
    builder = user_agent.into_iter().fold(builder, |builder, agent| builder.user_agent(agent));
    Some(builder.build())
}

fn assert_sendable(consumer: Consumer) {
    let mut session = OAuthSession::new(consumer);
    let request = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap().request;
    assert_one_message(&request);
    // Realm and six parameters, each in its quotes.
    assert_eq!(authorization(&request).matches('"').count(), 14, "{}", authorization(&request));
}

/// What the doctor looks at.
fn credential(error: &ConfigError) -> Option<Credential> {
    match error {
        ConfigError::ConsumerKey(_) => Some(Credential::ConsumerKey),
        ConfigError::Realm(_) | ConfigError::RealmContradictsConsumerKey => Some(Credential::Realm),
        ConfigError::BaseUrl(_) => Some(Credential::BaseUrl),
        _ => None,
    }
}

fn has_error(report: &Report, credential: Credential) -> bool {
    report.findings().iter().any(|finding| finding.credential == credential && finding.severity() == Severity::Error)
}
