//! HTTP methods.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// The HTTP methods of the Web API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "UPPERCASE"))]
#[allow(clippy::exhaustive_enums, reason = "a driver translates each method into its HTTP client's")]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Returns the name in upper case, as on the request line and in the base string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a method as [`as_str`](Method::as_str) writes it: methods differ in letter case
/// ([RFC 9110 section 9.1](https://www.rfc-editor.org/rfc/rfc9110#section-9.1)).
///
/// ```
/// # use ibkr_oauth::Method;
/// assert_eq!("DELETE".parse(), Ok(Method::Delete));
/// assert!("delete".parse::<Method>().is_err());
/// ```
impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        let methods = [Self::Get, Self::Post, Self::Put, Self::Delete];
        methods.into_iter().find(|method| method.as_str() == name).ok_or(UnknownMethod)
    }
}

/// A text that names none of the four methods of the Web API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("unknown HTTP method: it must be GET, POST, PUT or DELETE, in upper case")]
#[non_exhaustive]
pub struct UnknownMethod;
