//! Checks of the consumer key, the realm and the access token ([protocol section 9](crate::protocol#section-9)).

use alloc::format;
use alloc::string::ToString;

use super::{Credential, Credentials, FindingKind, Report};
use crate::credentials::error::TokenError;
use crate::credentials::identity::{REALM, TEST_CONSUMER, TEST_REALM, check_realm_goes_with};
use crate::credentials::token::check_header_text;

/// Characters of IBKR's consumer keys.
const KEY_LENGTH: usize = 9;
/// Hexadecimal digits of IBKR's access tokens.
const TOKEN_LENGTH: usize = 20;

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) {
    let consumer_key = examine_consumer_key(credentials, report);
    examine_realm(credentials, consumer_key, report);
    examine_access_token(credentials, report);
}

fn examine_consumer_key<'a>(credentials: &Credentials<'a>, report: &mut Report) -> Option<&'a str> {
    let Some(text) = credentials.consumer_key else {
        report.add(FindingKind::Missing, Credential::ConsumerKey, "nothing was given");
        return None;
    };
    let key = header_text(text, Credential::ConsumerKey, report)?;
    if key == TEST_CONSUMER {
        report.add(FindingKind::TestConsumer, Credential::ConsumerKey, TEST_CONSUMER);
        return Some(key);
    }
    let length = key.len();
    let others = key.bytes().filter(|byte| !byte.is_ascii_alphabetic()).count();
    let lower_case = key.bytes().filter(u8::is_ascii_lowercase).count();
    if length == 25 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        report.add(FindingKind::ConsumerKeyHex, Credential::ConsumerKey, "25 hexadecimal digits");
        return Some(key);
    }
    if length != KEY_LENGTH {
        report.add(FindingKind::ConsumerKeyLength, Credential::ConsumerKey, format!("{length} characters"));
    }
    if lower_case > 0 {
        report.add(
            FindingKind::ConsumerKeyLowerCase,
            Credential::ConsumerKey,
            format!("{lower_case} of {length} characters"),
        );
    }
    if others > 0 {
        report.add(
            FindingKind::ConsumerKeyAlphabet,
            Credential::ConsumerKey,
            format!("{others} of {length} characters"),
        );
    }
    Some(key)
}

fn examine_realm(credentials: &Credentials<'_>, consumer_key: Option<&str>, report: &mut Report) {
    let Some(realm) = credentials.realm.and_then(|text| header_text(text, Credential::Realm, report)) else {
        return;
    };
    if realm != REALM && realm != TEST_REALM {
        report.add(FindingKind::RealmUnknown, Credential::Realm, format!("{} characters", realm.len()));
    }
    if let Some(Err(error)) = consumer_key.map(|key| check_realm_goes_with(realm, key)) {
        report.add(FindingKind::RealmContradiction, Credential::Realm, error.to_string());
    }
}

fn examine_access_token(credentials: &Credentials<'_>, report: &mut Report) {
    let Some(text) = credentials.access_token else {
        let (kind, evidence) = match credentials.access_token_secret {
            Some(_) => (FindingKind::Missing, "an access token secret without its token"),
            None => (FindingKind::NoAccessToken, "neither token nor secret was given"),
        };
        report.add(kind, Credential::AccessToken, evidence);
        return;
    };
    if token_and_secret_are_swapped(credentials) {
        report.add(FindingKind::TokenAndSecretSwapped, Credential::AccessToken, "the secret has 20 hexadecimal digits");
        return;
    }
    // Space around a token is as harmless as `AccessToken::new` finds it.
    let Some(token) = header_text(text.trim(), Credential::AccessToken, report) else {
        return;
    };
    if !has_the_form_of_a_token(token) {
        let digits = token.bytes().filter(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let evidence = format!("{} characters, of which {digits} are lower-case hexadecimal digits", token.len());
        report.add(FindingKind::AccessTokenForm, Credential::AccessToken, evidence);
    }
}

/// Whether each stands where the other belongs.
pub(super) fn token_and_secret_are_swapped(credentials: &Credentials<'_>) -> bool {
    let secret_is_token = credentials.access_token_secret.is_some_and(|text| has_the_form_of_a_token(text.trim()));
    secret_is_token && credentials.access_token.is_some_and(|text| text.trim().len() > 10 * TOKEN_LENGTH)
}

fn has_the_form_of_a_token(text: &str) -> bool {
    text.len() == TOKEN_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text as it is meant, if it can stand in a header. Reports what surrounds it, and what it cannot hold.
fn header_text<'a>(text: &'a str, credential: Credential, report: &mut Report) -> Option<&'a str> {
    let meant = unquoted(untrimmed(text, credential, report), credential, report);
    let (kind, evidence) = match check_header_text(meant) {
        Ok(()) => return Some(meant),
        Err(TokenError::Empty) => (FindingKind::Empty, "0 characters".to_string()),
        Err(TokenError::TooLong) => {
            (FindingKind::TooLong, format!("{} characters; at most 256 make sense", meant.len()))
        }
        Err(error) => (FindingKind::HeaderCharacter, error.to_string()),
    };
    report.add(kind, credential, evidence);
    None
}

/// The text without space around it, which is reported.
pub(super) fn untrimmed<'a>(text: &'a str, credential: Credential, report: &mut Report) -> &'a str {
    let meant = text.trim();
    if meant.len() < text.len() && !meant.is_empty() {
        let surplus = text.chars().count().saturating_sub(meant.chars().count());
        report.add(FindingKind::SurroundingSpace, credential, format!("{surplus} character(s) too many"));
    }
    meant
}

/// The text without quotation marks around it, which are reported.
pub(super) fn unquoted<'a>(text: &'a str, credential: Credential, report: &mut Report) -> &'a str {
    let between = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
    match ['"', '\'', '`'].into_iter().find_map(between) {
        Some(meant) => {
            report.add(FindingKind::Quoted, credential, "one mark at each end");
            meant
        }
        None => text,
    }
}
