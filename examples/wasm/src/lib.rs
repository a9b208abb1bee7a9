//! A login for JavaScript: a module that imports nothing. JavaScript hands in time, random bytes and answers; the module
//! hands out requests. `login.mjs` is the other half.
//!
//! Texts cross over as UTF-8: into memory from [`allocate`], and out as JSON that ends in a zero byte.

use std::ffi::CString;
use std::{slice, str};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, DhParams, Exchange, OAuthSession, Request, Response, RsaKeys, RsaPrivateKey,
    UnixTime,
};
use serde_json::{Value, json};

/// A session, and what has to be kept between two calls.
pub struct Client {
    session: Result<OAuthSession, Error>,
    rng: ChaCha20Rng,
    in_flight: Option<Exchange>,
    /// The latest reply: it lives until the next call.
    reply: CString,
}

type Error = String;

impl Client {
    /// What is wrong with the credentials is said by the first [`Client::poll`].
    fn new(input: &[u8]) -> Self {
        let (seed, credentials) = input.split_first_chunk().unwrap_or((&[0; 32], &[]));
        let rng = ChaCha20Rng::from_seed(*seed);
        Self { session: session(credentials), rng, in_flight: None, reply: CString::default() }
    }

    fn poll(&mut self, now: UnixTime) -> Result<Value, Error> {
        // Whoever asks again does not wait for the answer any more.
        self.in_flight = None;
        let session = self.session.as_mut().map_err(|error| error.clone())?;
        let outbound = session.poll_request(&mut self.rng, now).map_err(text)?;
        let Some(outbound) = outbound else { return Ok(Value::Null) };
        self.in_flight = Some(outbound.exchange);
        Ok(describe(&outbound.request))
    }

    fn answer(&mut self, status: u16, body: Vec<u8>, now: UnixTime) -> Result<Value, Error> {
        let exchange = self.in_flight.take().ok_or("nothing was asked")?;
        let session = self.session.as_mut().map_err(|error| error.clone())?;
        let phase = session.handle_response(exchange, &Response::new(status, body), now).map_err(text)?;
        Ok(json!(format!("{phase:?}")))
    }

    fn sign(&mut self, path: &[u8], now: UnixTime) -> Result<Value, Error> {
        let live = self.session.as_ref().ok().and_then(|session| session.live(now)).ok_or("not logged in")?;
        let path = str::from_utf8(path).map_err(text)?;
        Ok(describe(&live.sign(&ApiRequest::get(path), &mut self.rng, now).map_err(text)?))
    }

    fn reply(&mut self, outcome: Result<Value, Error>) -> *const u8 {
        let reply = match outcome {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error }),
        };
        // JSON writes a zero as `\u0000`.
        self.reply = CString::new(reply.to_string()).unwrap_or_default();
        self.reply.as_ptr().cast()
    }
}

fn session(credentials: &[u8]) -> Result<OAuthSession, Error> {
    let fields: Value = serde_json::from_slice(credentials).map_err(text)?;
    let field = |name: &str| fields[name].as_str().ok_or_else(|| format!("{name} is missing"));
    let key = |name: &str| RsaPrivateKey::from_pem(field(name)?).map_err(text);
    let keys = RsaKeys::new(key("private_signature_pem")?, key("private_encryption_pem")?);
    let dh = DhParams::from_pem(field("dhparam_pem")?).map_err(text)?;
    let consumer = Consumer::builder(field("consumer_key")?, keys, dh).base_url(field("base_url")?);
    let consumer = consumer.realm(field("realm")?).build().map_err(text)?;
    let access_token = AccessToken::new(field("access_token")?, field("access_token_secret")?).map_err(text)?;
    Ok(OAuthSession::with_access_token(consumer, access_token))
}

fn text(error: impl ToString) -> Error {
    error.to_string()
}

fn describe(request: &Request) -> Value {
    let headers: Vec<_> = request.headers().map(|(name, value)| json!([name, value])).collect();
    json!({ "method": request.method().as_str(), "url": request.url(), "headers": headers })
}

/// Milliseconds, as `Date.now()` has them.
fn time(now: f64) -> UnixTime {
    UnixTime::from_millis(now as u64)
}

/// Memory for an input. The call that takes the input frees it.
#[unsafe(no_mangle)]
pub extern "C" fn allocate(length: usize) -> *mut u8 {
    Box::into_raw(vec![0_u8; length].into_boxed_slice()).cast()
}

/// # Safety
/// `data` is from [`allocate`] with this `length`, and not used again.
unsafe fn input(data: *mut u8, length: usize) -> Vec<u8> {
    unsafe { Box::from_raw(slice::from_raw_parts_mut(data, length)) }.into_vec()
}

/// A client, from 32 random bytes and the credentials in JSON behind them.
///
/// # Safety
/// As [`input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(data: *mut u8, length: usize) -> *mut Client {
    Box::into_raw(Box::new(Client::new(&unsafe { input(data, length) })))
}

/// Replies with the next request of the login, or null if there is none.
///
/// # Safety
/// `client` is from [`open`], here and everywhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(client: *mut Client, now: f64) -> *const u8 {
    let client = unsafe { &mut *client };
    let outcome = client.poll(time(now));
    client.reply(outcome)
}

/// Takes the answer to what [`poll`] asked for, and replies with the phase that it leads to.
///
/// # Safety
/// As [`poll`], and `data` as [`input`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn answer(client: *mut Client, status: u16, data: *mut u8, length: usize, now: f64) -> *const u8 {
    let (client, body) = unsafe { (&mut *client, input(data, length)) };
    let outcome = client.answer(status, body, time(now));
    client.reply(outcome)
}

/// Replies with a signed GET of a path.
///
/// # Safety
/// As [`answer`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sign(client: *mut Client, data: *mut u8, length: usize, now: f64) -> *const u8 {
    let (client, path) = unsafe { (&mut *client, input(data, length)) };
    let outcome = client.sign(&path, time(now));
    client.reply(outcome)
}

/// Wipes the secrets.
///
/// # Safety
/// As [`poll`]; `client` is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(client: *mut Client) {
    drop(unsafe { Box::from_raw(client) });
}
