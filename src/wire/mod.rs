//! What goes over the wire: request descriptors out, response bytes in.

pub(crate) mod api_request;
pub(crate) mod callback;
#[cfg(feature = "http")]
mod http;
pub(crate) mod method;
pub(crate) mod receipt;
pub(crate) mod request;
pub(crate) mod response;
