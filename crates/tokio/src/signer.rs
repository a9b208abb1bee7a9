//! For an HTTP client of your own: what stands in its `Authorization` header.

use std::sync::Arc;

use http::HeaderValue;
use ibkr_oauth::{ApiRequest, Error, Method, Receipt, Request, Response};
use thiserror::Error;

use crate::shared::Shared;
use crate::surroundings::{now, rng};

/// Signs requests that an HTTP client of your own sends, one generated from IBKR's OpenAPI description for instance: always
/// with the current live session token, through every refresh and new login.
///
/// Such requests are neither paced nor repeated, and wait for nothing: [`WebApi::wait_until`](crate::WebApi::wait_until)
/// tells when there is a live session. Hand each response back with [`handle_response`](Self::handle_response), so that the
/// client learns of rejections, of the request limits and of the server's clock. IBKR wants a `User-Agent` header, and a
/// `Content-Length` with every POST.
///
/// ```
/// # async fn run(api: ibkr_oauth_tokio::WebApi) -> Result<(), Box<dyn std::error::Error>> {
/// use ibkr_oauth_tokio::http::{Method, Request};
/// use ibkr_oauth_tokio::ibkr_oauth::Response;
/// # async fn send(_: Request<()>) -> http::Response<Vec<u8>> { unimplemented!() }
///
/// let signer = api.signer();
/// let url = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot?conids=265598&fields=31";
/// let signature = signer.authorization(&Method::GET, url, &[])?;
/// let request = Request::get(url).header("Authorization", signature.value).header("User-Agent", "example").body(())?;
/// let response = send(request).await; // any HTTP client
/// signer.handle_response(signature.receipt, &Response::from(&response))?; // a rejection explains itself
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Signer {
    shared: Arc<Shared>,
    signer: ibkr_oauth::Signer,
    base_url: Arc<str>,
}

/// A signature, to be sent once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Signature {
    /// The value of the `Authorization` header. It is marked as sensitive, and so not shown by `Debug`.
    pub value: HeaderValue,
    /// What to hand in with the response.
    pub receipt: Receipt,
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The Web API has no such method.
    #[error("the Web API has no method {0}")]
    Method(http::Method),
    /// The URL does not begin with the base URL: a token is for one server only.
    #[error("the URL does not begin with {base_url}")]
    ForeignUrl {
        /// The base URL.
        base_url: String,
    },
    /// There is no live session now, or the request cannot be.
    #[error(transparent)]
    Client(#[from] Error),
}

impl Signer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (signer, base_url) =
            shared.look(|state| (state.client.signer(), state.client.consumer().base_url().into()));
        Self { shared, signer, base_url }
    }

    /// Returns the `Authorization` value for a request with this method, whole URL and form body; a body of JSON is not
    /// signed. The query may be encoded in any way that a server decodes.
    ///
    /// # Errors
    /// [`SignError`]; [`Error::NoLiveSession`] in it while there is no live session.
    pub fn authorization(
        &self,
        method: &http::Method,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Signature, SignError> {
        let foreign = || SignError::ForeignUrl { base_url: self.base_url.to_string() };
        let target = url.strip_prefix(&*self.base_url).filter(|rest| rest.starts_with('/')).ok_or_else(foreign)?;
        let target = target.split_once('#').map_or(target, |(target, _)| target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = ApiRequest::new(api_method(method)?, path).raw_query(query);
        let request = if form.is_empty() { request } else { request.form(form) };
        let mut value = String::new();
        let receipt = self.signer.authorization_into(&mut value, &request, &mut rng(), now())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| foreign())?;
        value.set_sensitive(true);
        Ok(Signature { value, receipt })
    }

    /// Signs `request` and describes it whole: the URL with the query as signed, and all headers.
    ///
    /// # Errors
    /// [`Error::NoLiveSession`] while there is none, and [`Error::Misuse`] for a path or a parameter that cannot be.
    pub fn sign(&self, request: &ApiRequest<'_>) -> Result<Request, Error> {
        self.signer.sign(request, &mut rng(), now())
    }

    /// Takes the response to a request that was signed here: a rejection becomes an error that explains itself, and the client
    /// does what follows from it.
    ///
    /// # Errors
    /// [`Error::Rejected`] for every status but 2xx.
    pub fn handle_response(&self, receipt: Receipt, response: &Response<'_>) -> Result<(), Error> {
        let outcome = self.signer.handle_response(receipt, response, now());
        self.shared.wake();
        outcome
    }
}

fn api_method(method: &http::Method) -> Result<Method, SignError> {
    match *method {
        http::Method::GET => Ok(Method::Get),
        http::Method::POST => Ok(Method::Post),
        http::Method::PUT => Ok(Method::Put),
        http::Method::DELETE => Ok(Method::Delete),
        _ => Err(SignError::Method(method.clone())),
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("signer", &self.signer).finish_non_exhaustive()
    }
}
