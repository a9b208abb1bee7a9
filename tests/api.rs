//! What holds for the public types, whoever changes them: checked when this file is compiled.
#![cfg(all(feature = "doctor", feature = "http1", feature = "serde"))]

use ibkr_oauth::{brokerage, doctor, http1, *};
use ibkr_oauth_gateway as gateway;

#[test]
fn everything_can_go_to_any_thread() {
    fn check<T: Send + Sync + 'static>() {}
    check::<(OAuthSession, Consumer, ConsumerBuilder, LiveSession, AccessToken, Secret<Vec<u8>>, UnixTime)>();
    check::<(RsaKeys, RsaPrivateKey, DhParams, ApiRequest<'static>, BaseString, http1::Decoder, gateway::Gateway)>();
    check::<(Outbound, Exchange, Request, Response<'static>, Snapshot, Backoff, Callback)>();
    check::<(brokerage::BrokerageSession, brokerage::BrokerageOutbound, brokerage::BrokerageExchange)>();
    check::<(brokerage::WebSocketRequest, ActivationWait)>();
    check::<(Pacing, PacingError, Penalty)>();
    check::<(Client, ClientExchange, Output, Event, Outcome, Signer, Receipt, PreparedRequest)>();
    check::<(Follower, FollowerBuilder, FollowerOutput, Followed, Question, SharedSession)>();
    check::<(doctor::Credentials<'static>, doctor::Clocks, doctor::Report, doctor::Finding, doctor::FindingKind)>();
    check::<(doctor::Credential, doctor::Fingerprint, doctor::ServerTime, doctor::Severity)>();
    check::<(Error, SnapshotError, CallbackError, ConfigError, KeyError, http1::Http1Error, gateway::GatewayError)>();
}

#[test]
fn keys_in_hardware_and_keys_in_memory_have_one_type() {
    struct InHardware;
    impl ConsumerKeys for InHardware {
        fn sign_rsa_sha256(&self, _: &[u8], _: &mut dyn rand_core::CryptoRng) -> Result<Vec<u8>, KeyError> {
            Ok(Vec::new())
        }

        fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn rand_core::CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
            Ok(Secret::new(Vec::new()))
        }
    }
    let _: Box<dyn ConsumerKeys> = Box::new(InHardware);
}

/// Does not compile if the type has the trait: then there are two impls to choose from.
macro_rules! must_not_be {
    ($type:ty: $trait:path) => {{
        trait Ambiguous<Which> {
            const CHOSEN: () = ();
        }
        struct HasTheTrait;
        impl<T> Ambiguous<()> for T {}
        impl<T: $trait> Ambiguous<HasTheTrait> for T {}
        <$type as Ambiguous<_>>::CHOSEN
    }};
}

#[test]
fn data_can_be_compared_kept_in_maps_and_written_down() {
    fn check<T: Clone + Eq + std::hash::Hash + std::fmt::Debug>() {}
    fn stored<T: serde::Serialize + serde::de::DeserializeOwned>() {}
    check::<(UnixTime, Phase, Diagnosis, Retry, Mismatch, Maintenance, Activation, ActivationStage, ActivationWait)>();
    check::<(AccountKind, QueryPolicy, ParameterEncoding, Method, Receipt, RequestTicket, ApiRequest<'static>)>();
    check::<(brokerage::BrokeragePhase, brokerage::BrokerageEvent, brokerage::CompetePolicy)>();
    check::<(NotSent, Followed, FollowerOutput, Question, Backoff)>();
    check::<(Error, Misuse, Malformed, Rejected, ConfigError, UrlError, KeyError, TokenError, CallbackError)>();
    check::<(SnapshotError, PacingError, http1::Http1Error, UnknownMethod)>();
    stored::<(UnixTime, Phase, Diagnosis, Retry, Mismatch, Maintenance, Activation, ActivationStage, ActivationWait)>();
    stored::<(AccountKind, QueryPolicy, ParameterEncoding, Method)>();
    stored::<(brokerage::BrokeragePhase, brokerage::CompetePolicy)>();
}

#[test]
fn requests_and_exchanges_are_used_once() {
    must_not_be!(Request: Clone);
    must_not_be!(Exchange: Clone);
    must_not_be!(Exchange: Copy);
    must_not_be!(Outbound: Clone);
    must_not_be!(brokerage::BrokerageExchange: Clone);
    must_not_be!(ClientExchange: Clone);
}

#[test]
fn a_live_session_and_its_secrets_are_not_made_out_of_nothing() {
    must_not_be!(LiveSession: Default);
    must_not_be!(Exchange: Default);
}

#[test]
fn secrets_are_not_printed_by_accident() {
    must_not_be!(Secret<String>: std::fmt::Display);
    must_not_be!(AccessToken: std::fmt::Display);
    must_not_be!(RsaKeys: std::fmt::Display);
    must_not_be!(Request: std::fmt::Display);
}

/// Only a snapshot is, and that comes in a [`Secret`].
#[test]
fn secrets_are_not_serialised_by_accident() {
    must_not_be!(Secret<String>: serde::Serialize);
    must_not_be!(Secret<Snapshot>: serde::Serialize);
    must_not_be!(OAuthSession: serde::Serialize);
    must_not_be!(LiveSession: serde::Serialize);
    must_not_be!(Client: serde::Serialize);
    must_not_be!(Signer: serde::Serialize);
    must_not_be!(Callback: serde::Serialize);
    must_not_be!(AccessToken: serde::Serialize);
    must_not_be!(RsaPrivateKey: serde::Serialize);
    must_not_be!(RsaKeys: serde::Serialize);
    must_not_be!(DhParams: serde::Serialize);
    must_not_be!(Consumer: serde::Serialize);
    must_not_be!(Request: serde::Serialize);
    must_not_be!(BaseString: serde::Serialize);
    must_not_be!(Response<'static>: serde::Serialize);
    must_not_be!(Error: serde::Serialize);
    must_not_be!(brokerage::WebSocketRequest: serde::Serialize);
    must_not_be!(gateway::IssuedToken: serde::Serialize);
}
