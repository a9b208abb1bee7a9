//! Who sends a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use rand::rand_core::Rng;
use sha2::{Digest, Sha256};

use crate::App;
use crate::driver::rng;
use crate::failure::Failure;

/// A user of this application: here, whoever has the browser's cookie. Put your own sign-in in this file.
///
/// It holds the hash of the cookie: who reads the database cannot pretend to be the browser.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct User(String);

impl User {
    /// Returns the user of the browser that sent `jar`. A new browser gets a cookie, which scripts cannot read, and which
    /// other sites can send along with a link, as IBKR's redirect is, but not with a POST.
    pub(crate) fn of_browser(jar: CookieJar, is_secure: bool) -> (CookieJar, Self) {
        if let Some(user) = Self::known(&jar, is_secure) {
            return (jar, user);
        }
        let mut value = [0; 32];
        rng().fill_bytes(&mut value);
        let value = base16ct::lower::encode_string(&value);
        let user = Self::with_cookie(&value);
        let cookie = Cookie::build((cookie_name(is_secure), value)).path("/").http_only(true);
        (jar.add(cookie.same_site(SameSite::Lax).secure(is_secure)), user)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn known(jar: &CookieJar, is_secure: bool) -> Option<Self> {
        jar.get(cookie_name(is_secure)).map(|cookie| Self::with_cookie(cookie.value()))
    }

    fn with_cookie(value: &str) -> Self {
        Self(base16ct::lower::encode_string(&Sha256::digest(value)))
    }
}

/// With the prefix, no neighbouring host can set the cookie (draft-ietf-httpbis-rfc6265bis, "Cookie Name Prefixes");
/// it takes TLS.
fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-session" } else { "session" }
}

impl FromRequestParts<Arc<App>> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let known = Self::known(&CookieJar::from_headers(&parts.headers), app.is_secure);
        known
            .ok_or_else(|| Failure::new(StatusCode::FORBIDDEN, "This browser has no session: begin at the first page."))
    }
}
