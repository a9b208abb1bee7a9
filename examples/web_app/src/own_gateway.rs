//! IBKR on this machine, for runs without credentials and for the test: its half of the protocol, and its consent page.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use ibkr_oauth_gateway::{AccountKind, Consent, Gateway, RegisteredConsumer, User};
use maud::html;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::driver::rng;
use crate::{Credentials, page};

/// The 2048-bit MODP group (RFC 3526, section 3): a prime that need not be searched for.
const DHPARAM_PEM: &str = include_str!("group_14.pem");
/// More than any request of this application.
const MAX_BODY: usize = 64 * 1024;

/// A gateway that knows this application, and Alice and Bob.
pub struct OwnGateway {
    /// What the application logs in with, made on the spot.
    pub credentials: Credentials,
    gateway: Arc<Mutex<Gateway>>,
}

impl OwnGateway {
    /// Makes a gateway that will be reached at `listener` and sends users back to `callback_url`.
    ///
    /// # Errors
    /// The listener has no address, or the callback URL is none.
    pub fn new(listener: &TcpListener, callback_url: &str) -> Result<Self, Box<dyn Error>> {
        let origin = format!("http://{}", listener.local_addr()?);
        let [signature, encryption] = [PrivateKey::new(&mut rng(), 2048)?, PrivateKey::new(&mut rng(), 2048)?];
        let public_pem = |key: &PrivateKey| key.to_public_key().to_public_key_pem(LineEnding::LF);
        let private_pem = |key: &PrivateKey| key.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string());
        let consumer = RegisteredConsumer {
            consumer_key: "EXAMPLECO".to_owned(),
            signature_public_key_pem: public_pem(&signature)?,
            encryption_public_key_pem: public_pem(&encryption)?,
            dhparam_pem: DHPARAM_PEM.to_owned(),
            callback_url: Some(callback_url.to_owned()),
        };
        let mut gateway = Gateway::new(&format!("{origin}/v1/api"))?;
        gateway.register_consumer(&consumer)?;
        for (name, account) in [("alice", "DU1111111"), ("bob", "DU2222222")] {
            gateway.add_user(User {
                name: name.to_owned(),
                accounts: vec![account.to_owned()],
                kind: AccountKind::Paper,
            });
        }
        let credentials = Credentials {
            consumer_key: consumer.consumer_key,
            private_signature_pem: private_pem(&signature)?,
            private_encryption_pem: private_pem(&encryption)?,
            dhparam_pem: consumer.dhparam_pem,
            base_url: Some(gateway.base_url()),
            authorize_url: Some(format!("{origin}/authorize")),
        };
        Ok(Self { credentials, gateway: Arc::new(Mutex::new(gateway)) })
    }

    /// Returns what to serve at that listener: the consent page, and below the base URL the API.
    pub fn router(&self) -> Router {
        Router::new().route("/authorize", get(authorize)).fallback(api).with_state(Arc::clone(&self.gateway))
    }
}

/// What the consent page is asked with; `user` and `agree` come once a button was pressed.
#[derive(Deserialize)]
struct Question {
    oauth_token: String,
    user: Option<String>,
    #[serde(default)]
    agree: bool,
}

async fn authorize(State(gateway): State<Arc<Mutex<Gateway>>>, Query(question): Query<Question>) -> impl IntoResponse {
    let mut gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(user) = &question.user else {
        let names = gateway.users().map(|user| user.name.clone());
        return consent_page(&question.oauth_token, names).into_response();
    };
    let decision = if question.agree { Consent::Grant } else { Consent::Deny };
    match gateway.consent(&question.oauth_token, user, decision, &mut rng()) {
        Ok(callback) => Redirect::to(&callback).into_response(),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}

fn consent_page(request_token: &str, users: impl Iterator<Item = String>) -> maud::Markup {
    page(
        "IBKR, on this machine",
        &html! {
            p { "EXAMPLECO asks for access to your account. Who are you, and do you agree?" }
            @for user in users {
                @for (agree, label) in [(true, "agrees"), (false, "refuses")] {
                    form {
                        input type="hidden" name="oauth_token" value=(request_token);
                        input type="hidden" name="user" value=(user);
                        button name="agree" value=(agree) { (user) " " (label) }
                    }
                }
            }
        },
    )
}

async fn api(State(gateway): State<Arc<Mutex<Gateway>>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let mut gateway = gateway.lock().unwrap_or_else(PoisonError::into_inner);
    gateway.handle(&Request::from_parts(head, body), &mut rng(), SystemTime::now()).map(Body::from)
}
