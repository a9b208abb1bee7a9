//! Data of the crate in a caller's own records: one documented name for each value, read back as it was written.
#![cfg(all(feature = "serde", feature = "doctor"))]

use std::fmt::Debug;

use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::doctor::{Credential, FindingKind, Severity};
use ibkr_oauth::{
    AccountKind, ActivationStage, ActivationWait, Diagnosis, Maintenance, Method, Mismatch, ParameterEncoding, Phase,
    QueryPolicy, Retry, UnixTime,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Whether `data` is written as `written`, and read back.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: T, written: Value) {
    assert_eq!(serde_json::to_value(&data).unwrap(), written);
    assert_eq!(serde_json::from_value::<T>(written).unwrap(), data);
}

#[test]
fn each_value_has_one_name_in_json() {
    check(Phase::LiveSession, json!("live_session"));
    check(BrokeragePhase::LoggingOut, json!("logging_out"));
    check(CompetePolicy::TakeOver, json!("take_over"));
    check(Diagnosis::InvalidConsumer, json!("invalid_consumer"));
    check(Maintenance::NightlyReset, json!("nightly_reset"));
    check(Mismatch::SignByteLeftOut, json!("sign_byte_left_out"));
    check(ActivationStage::ConsumerKey, json!("consumer_key"));
    check(AccountKind::Paper, json!("paper"));
    check(QueryPolicy::Fold, json!("fold"));
    check(ParameterEncoding::Rfc5849, json!("rfc5849"));
    check(Method::Delete, json!("DELETE"));
}

#[test]
fn moments_are_milliseconds_in_json() {
    let moment = UnixTime::from_millis(1_714_669_716_258);
    check(moment, json!(1_714_669_716_258_u64));
    check(Retry::Later(moment), json!({"later": 1_714_669_716_258_u64}));
    check(ActivationWait::since(moment), json!(1_714_669_716_258_u64));
    assert!(serde_json::from_value::<UnixTime>(json!(-1)).is_err());
}

#[test]
fn the_doctors_names_are_the_same_in_json_and_in_text() {
    for credential in Credential::ALL {
        check(*credential, json!(credential.name()));
        assert_eq!(credential.to_string(), credential.name());
    }
    for kind in FindingKind::ALL {
        check(*kind, json!(kind.name()));
        assert_eq!(kind.to_string(), kind.name());
    }
    for severity in [Severity::Note, Severity::Warning, Severity::Error] {
        check(severity, json!(severity.name()));
    }
}
