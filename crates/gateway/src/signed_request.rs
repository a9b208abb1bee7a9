//! A request, read as far as its signature needs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request};

use crate::authorization::Authorization;
use crate::base_string::{Order, Pair, base_string};
use crate::base_url::{BaseUrl, Target};
use crate::percent_encoding::{Space, form_decode, form_pairs};
use crate::rejection::Rejection;
use crate::{PlusInQuery, QueryPolicy};

/// All that goes into a base string, decoded.
pub(crate) struct SignedRequest<'r> {
    pub(crate) method: &'r str,
    pub(crate) body: &'r [u8],
    pub(crate) authorization: Authorization,
    pub(crate) query: Vec<Pair>,
    /// The body, if it is a form; JSON is never signed (protocol section 3.5).
    pub(crate) form: Vec<Pair>,
    /// Without query.
    url: String,
    url_with_query: String,
}

impl<'r> SignedRequest<'r> {
    pub(crate) fn read<B: AsRef<[u8]>>(
        request: &'r Request<B>,
        base_url: &BaseUrl,
        target: Target<'_>,
        plus: PlusInQuery,
    ) -> Result<Self, Rejection> {
        let (headers, body) = (request.headers(), request.body().as_ref());
        let header = headers.get(AUTHORIZATION).ok_or(Rejection::Unauthorized("there is no Authorization header"))?;
        let form = if is_form(headers) { body } else { &[] };
        Ok(Self {
            method: request.method().as_str(),
            body,
            authorization: Authorization::parse(header.as_bytes())?,
            query: query_pairs(target.query, plus).ok_or(BROKEN_ESCAPE)?,
            form: form_pairs(form).ok_or(BROKEN_ESCAPE)?,
            url: base_url.url(target.path),
            url_with_query: base_url.url(target.whole),
        })
    }

    /// The value of an OAuth parameter; a rejection that names it if there is none.
    pub(crate) fn oauth(&self, name: &'static str) -> Result<&str, Rejection> {
        self.authorization.get(name)
    }

    /// The signature's bytes; none if it is not base64, and no signature is that short.
    pub(crate) fn signature(&self) -> Result<Vec<u8>, Rejection> {
        let encoded = self.authorization.get("oauth_signature")?;
        Ok(BASE64_STANDARD.decode(encoded).unwrap_or_default())
    }

    /// The documented base string: query and form folded into the parameters (protocol section 3.4).
    pub(crate) fn base_string(&self) -> String {
        self.folded(Order::Plain, Space::PercentTwenty)
    }

    /// The base strings that an API request may be signed with, the likeliest first (protocol section 3.4). Each is built
    /// when it is asked for.
    pub(crate) fn api_base_strings(&self, policy: QueryPolicy) -> impl Iterator<Item = String> {
        self.readings(policy).into_iter().flatten().map(|reading| self.read_as(*reading))
    }

    /// What there is to try. Without a query, the policy does not matter.
    fn readings(&self, policy: QueryPolicy) -> [&'static [Reading]; 3] {
        if self.query.is_empty() {
            return [if self.form.is_empty() { &EXCLUDED } else { &FOLDED }, &[], &[]];
        }
        match policy {
            QueryPolicy::Any => [&EXCLUDED, &FOLDED, &IN_THE_URL],
            QueryPolicy::Fold => [&FOLDED, &[], &[]],
            QueryPolicy::Exclude => [&EXCLUDED, &[], &[]],
            QueryPolicy::Reject => [&[]; 3],
        }
    }

    fn read_as(&self, reading: Reading) -> String {
        match reading {
            Reading::Folded(order, space) => self.folded(order, space),
            Reading::Excluded => self.query_left_out(self.url.as_bytes(), Space::PercentTwenty),
            Reading::InTheUrl => self.query_left_out(self.url_with_query.as_bytes(), Space::PercentTwenty),
            Reading::InTheUrlDecoded(space) => {
                self.query_left_out(&form_decode(self.url_with_query.as_bytes()).unwrap_or_default(), space)
            }
        }
    }

    fn folded(&self, order: Order, space: Space) -> String {
        let parameters = [self.authorization.signed(), self.query.clone(), self.form.clone()].concat();
        base_string(self.method, self.url.as_bytes(), parameters, order, space)
    }

    fn query_left_out(&self, url: &[u8], space: Space) -> String {
        let parameters = [self.authorization.signed(), self.form.clone()].concat();
        base_string(self.method, url, parameters, Order::Plain, space)
    }
}

/// What a client did with the query when it signed.
#[derive(Clone, Copy)]
enum Reading {
    /// It is among the parameters, as a form body always is.
    Folded(Order, Space),
    /// It is left out.
    Excluded,
    /// It stands behind the URL, as it is sent.
    InTheUrl,
    /// It stands behind the URL, without its escapes.
    InTheUrlDecoded(Space),
}

const EXCLUDED: [Reading; 1] = [Reading::Excluded];

const FOLDED: [Reading; 4] = [
    Reading::Folded(Order::Plain, Space::PercentTwenty),
    Reading::Folded(Order::Plain, Space::Plus),
    Reading::Folded(Order::Escaped, Space::PercentTwenty),
    Reading::Folded(Order::Escaped, Space::Plus),
];

const IN_THE_URL: [Reading; 3] =
    [Reading::InTheUrl, Reading::InTheUrlDecoded(Space::PercentTwenty), Reading::InTheUrlDecoded(Space::Plus)];

fn query_pairs(query: &str, plus: PlusInQuery) -> Option<Vec<Pair>> {
    match plus {
        PlusInQuery::Space => form_pairs(query.as_bytes()),
        PlusInQuery::Plus => form_pairs(query.replace('+', "%2B").as_bytes()),
    }
}

/// Is the body a form, whatever parameters follow the media type?
fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

const BROKEN_ESCAPE: Rejection = Rejection::Malformed("a percent escape in the query or the body is broken");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::keyed;
    use crate::vectors;
    use hmac::{Hmac, Mac};
    use serde_json::Value;
    use sha2::Sha256;

    fn read<'r>(base_url: &str, request: &'r Request<&str>) -> SignedRequest<'r> {
        let base_url = BaseUrl::parse(base_url).unwrap();
        SignedRequest::read(request, &base_url, base_url.resolve(request.uri()).unwrap(), PlusInQuery::Space).unwrap()
    }

    fn header(parameters: &Value) -> String {
        let pairs = parameters.as_object().unwrap().iter();
        let pairs = pairs.map(|(name, value)| format!("{name}=\"{}\"", value.as_str().unwrap()));
        format!("OAuth realm=\"test_realm\", {}", pairs.collect::<Vec<_>>().join(", "))
    }

    /// Its `|` is signed as `%7C`, encoded once, where RFC 5849 would have `%257C`.
    #[test]
    fn a_form_body_is_signed_as_in_the_published_login() {
        let vector = vectors::ibkr("guide2020-live-session-token");
        let mut parameters = vector["inputs"]["params"].clone();
        parameters.as_object_mut().unwrap().remove("device_id");
        let header = header(&parameters);
        let request = Request::post("/v1/api/oauth/live_session_token")
            .header("Authorization", header)
            .header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(vector["inputs"]["form_body"].as_str().unwrap())
            .unwrap();
        let prepend = vector["inputs"]["prepend_hex"].as_str().unwrap();
        let rebuilt = format!("{prepend}{}", read("https://api.ibkr.com/v1/api", &request).base_string());
        assert_eq!(rebuilt, vector["outputs"]["base_string"].as_str().unwrap());
    }

    #[test]
    fn a_folded_query_is_signed_as_in_the_published_request() {
        let vector = vectors::ibkr("pdf-7.5-protected-get-query-folded");
        let header = header(&vector["inputs"]["oauth_params"]);
        let request = Request::get("/tradingapi/v1/marketdata/snapshot?conid=8314");
        let request = request.header("authorization", header).body("").unwrap();
        let request = read("http://localhost:12345/tradingapi/v1", &request);
        assert_eq!(request.base_string(), vector["outputs"]["base_string"].as_str().unwrap());
        let token = BASE64_STANDARD.decode(vector["inputs"]["live_session_token"].as_str().unwrap()).unwrap();
        let code = keyed::<Hmac<Sha256>>(&token).unwrap().chain_update(request.base_string()).finalize();
        let signature = BASE64_STANDARD.encode(code.into_bytes());
        assert_eq!(signature, vector["outputs"]["oauth_signature"].as_str().unwrap());
    }

    #[test]
    fn all_known_treatments_of_a_query_are_among_the_candidates() {
        let request = Request::get("/v1/api/x?q=a+b&c=1%2C2").header("Authorization", "OAuth oauth_nonce=n");
        let request = request.body("").unwrap();
        let candidates: Vec<_> = read("http://h/v1/api", &request).api_base_strings(QueryPolicy::Any).collect();
        for expected in [
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx&c%3D1%2C2%26oauth_nonce%3Dn%26q%3Da%20b",
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx&c%3D1%2C2%26oauth_nonce%3Dn%26q%3Da+b",
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx&oauth_nonce%3Dn",
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx%3Fq%3Da%2Bb%26c%3D1%252C2&oauth_nonce%3Dn",
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx%3Fq%3Da%20b%26c%3D1%2C2&oauth_nonce%3Dn",
            "GET&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx%3Fq%3Da+b%26c%3D1%2C2&oauth_nonce%3Dn",
        ] {
            assert!(candidates.iter().any(|candidate| candidate == expected), "{expected}");
        }
    }

    #[test]
    fn a_form_is_signed_even_where_the_query_is_not() {
        let request = Request::post("/v1/api/x?q=1").header("Authorization", "OAuth a=b");
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body("f=2").unwrap();
        let candidates: Vec<_> = read("http://h/v1/api", &request).api_base_strings(QueryPolicy::Any).collect();
        let expected = "POST&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx&a%3Db%26f%3D2";
        assert!(candidates.iter().any(|candidate| candidate == expected));
    }

    #[test]
    fn json_is_no_part_of_the_signature() {
        let request = Request::post("/v1/api/x").header("Authorization", "OAuth a=b");
        let request = request.header("Content-Type", "application/json").body("{}").unwrap();
        assert_eq!(read("http://h/v1/api", &request).base_string(), "POST&http%3A%2F%2Fh%2Fv1%2Fapi%2Fx&a%3Db");
    }
}
