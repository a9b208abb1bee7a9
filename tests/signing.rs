//! Signed API requests: what is described is what was signed, and what cannot be signed is refused.

mod support;

use std::time::Duration;

use ibkr_oauth::{
    ApiRequest, Consumer, Error, LiveSession, Method, Misuse, OAuthSession, ParameterEncoding, QueryPolicy, Request,
};
use support::{NOW, WorkedLogin, header, parameter, poll, rng};

/// One that signs the query too, by which a test sees what becomes of it.
fn live() -> LiveSession {
    live_with(QueryPolicy::Fold, ParameterEncoding::Single)
}

fn live_with(policy: QueryPolicy, encoding: ParameterEncoding) -> LiveSession {
    let mut login = WorkedLogin::any();
    let builder = Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
    login.consumer = builder.query_policy(policy).parameter_encoding(encoding).build().unwrap();
    login.live_session(NOW).live(NOW).unwrap().clone()
}

fn sign(request: &ApiRequest<'_>) -> Request {
    live().sign(request, &mut rng(1), NOW).unwrap()
}

fn misuse(request: &ApiRequest<'_>) -> Misuse {
    let mut out = String::from("kept");
    let error = live().authorization_into(&mut out, request, &mut rng(1), NOW).unwrap_err();
    assert_eq!(out, "kept");
    assert_eq!(live().sign(request, &mut rng(1), NOW).unwrap_err(), error);
    match error {
        Error::Misuse(misuse) => misuse,
        other => panic!("{other}"),
    }
}

#[test]
fn the_url_holds_the_query_exactly_as_it_was_signed() {
    let awkward = [("a b", "c+d"), ("p|q", "50%/x,y:z"), ("dup", "2"), ("dup", "1"), ("\u{3001}", ""), ("e", "%2B")];
    let request = sign(&ApiRequest::get("/iserver/marketdata/snapshot").query(&awkward));
    let query = "a%20b=c%2Bd&p%7Cq=50%25%2Fx%2Cy%3Az&dup=2&dup=1&%E3%80%81=&e=%252B";
    assert_eq!(request.url(), format!("https://api.ibkr.com/v1/api/iserver/marketdata/snapshot?{query}"));
    assert_eq!(request.path(), format!("/v1/api/iserver/marketdata/snapshot?{query}"));
    let raw = sign(
        &ApiRequest::get("/iserver/marketdata/snapshot").raw_query("a+b=c%2Bd&&p|q=50%25/x,y:z&dup=2&dup=1&、&e=%252B"),
    );
    assert_eq!(raw.url(), request.url());
    assert_eq!(raw.base_string(), request.base_string());
}

#[test]
fn what_another_client_wrote_is_passed_on_byte_for_byte() {
    let query = "conids=265598,8314&&q=a+b|%7e\"[x]&flag";
    let verbatim = sign(&ApiRequest::get("/x").verbatim_query(query));
    assert_eq!(verbatim.path(), format!("/v1/api/x?{query}"));
    assert_eq!(verbatim.base_string(), sign(&ApiRequest::get("/x").raw_query(query)).base_string());
    assert_eq!(sign(&ApiRequest::get("/x").verbatim_query("")).path(), "/v1/api/x?");
    for query in ["a b", "a=1#", "a\r\nX: y", "\u{3001}", "%zz"] {
        assert_eq!(misuse(&ApiRequest::get("/x").verbatim_query(query)), Misuse::InvalidQuery, "{query}");
    }
    let reserved = ApiRequest::get("/x").verbatim_query("oauth%5Ftoken=x");
    assert_eq!(misuse(&reserved), Misuse::ReservedParameter);

    let text = sign(&ApiRequest::post("/x").body("text/plain; charset=utf-8", b"\x00\xff"));
    assert_eq!(text.body(), b"\x00\xff");
    assert_eq!(header(&text, "Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(misuse(&ApiRequest::post("/x").body("a\r\nX: y", b"")), Misuse::InvalidContentType);
    let untyped = sign(&ApiRequest::get("/x").body("", b"{}"));
    assert_eq!((header(&untyped, "Content-Length"), header(&untyped, "Content-Type")), (Some("2"), None));
    assert_eq!(header(&untyped, "User-Agent"), header(&text, "User-Agent"));
}

#[test]
fn bodies_come_with_their_type_and_length() {
    let get = sign(&ApiRequest::get("/portfolio/accounts"));
    assert_eq!((header(&get, "Content-Length"), header(&get, "Content-Type")), (None, None));
    assert_eq!((get.method(), get.body()), (Method::Get, &b""[..]));

    for bodiless in [ApiRequest::post("/tickle"), ApiRequest::delete("/x"), ApiRequest::put("/x")] {
        let request = sign(&bodiless);
        assert_eq!((header(&request, "Content-Length"), header(&request, "Content-Type")), (Some("0"), None));
    }
    let json = sign(&ApiRequest::post("/iserver/account/U1/orders").json(b"{\"a\":1}"));
    assert_eq!(header(&json, "Content-Type"), Some("application/json"));
    assert_eq!((header(&json, "Content-Length"), json.body()), (Some("7"), &b"{\"a\":1}"[..]));
    let form = sign(&ApiRequest::post("/x").form(&[("device id", "a|b"), ("x", "")]));
    assert_eq!(header(&form, "Content-Type"), Some("application/x-www-form-urlencoded"));
    assert_eq!((header(&form, "Content-Length"), form.body()), (Some("20"), &b"device%20id=a%7Cb&x="[..]));
}

#[test]
fn json_is_not_signed_and_forms_are() {
    let base = |request: &ApiRequest<'_>| sign(request).base_string().to_string();
    assert_eq!(base(&ApiRequest::post("/x").json(b"{}")), base(&ApiRequest::post("/x").json(b"{\"other\":1}")));
    assert!(
        base(&ApiRequest::post("/x").form(&[("device_id", "a|b")])).contains("&device_id%3Da%7Cb%26oauth_consumer_key")
    );
}

#[test]
fn one_call_gives_the_header_and_another_the_whole_request() {
    let request = ApiRequest::get("/portfolio/accounts").query(&[("z", "1"), ("a", "2")]);
    let signed = live().sign(&request, &mut rng(7), NOW).unwrap();
    let (header_alone, receipt) = live().authorization(&request, &mut rng(7), NOW).unwrap();
    assert_eq!(receipt, signed.receipt());
    assert_eq!(header(&signed, "Authorization"), Some(&*header_alone));
    let mut out = String::from("Authorization: ");
    live().authorization_into(&mut out, &request, &mut rng(7), NOW).unwrap();
    assert_eq!(out, format!("Authorization: {header_alone}"));
    let (again, _) = live().authorization(&request, &mut rng(8), NOW).unwrap();
    assert_ne!(again, header_alone, "a retry is a new signature");
}

#[test]
fn what_cannot_be_a_request_is_rejected_before_anything_is_signed() {
    for path in ["", "portfolio", "/a b", "/a?b=1", "/a#b", "/\u{e9}", "/%4", "/a\r\nX: y", "//h/\"", "/{id}"] {
        assert_eq!(misuse(&ApiRequest::get(path)), Misuse::InvalidPath, "{path:?}");
    }
    assert!(live().sign(&ApiRequest::get("/a%20b/;c=d/@:!$&'()*+,"), &mut rng(1), NOW).is_ok());
    for pairs in [[("oauth_token", "x")], [("oauth_", "")]] {
        assert_eq!(misuse(&ApiRequest::get("/x").query(&pairs)), Misuse::ReservedParameter);
        assert_eq!(misuse(&ApiRequest::post("/x").form(&pairs)), Misuse::ReservedParameter);
    }
    assert_eq!(misuse(&ApiRequest::get("/x").raw_query("oauth%5Ftoken=x")), Misuse::ReservedParameter);
    assert!(live().sign(&ApiRequest::get("/x").query(&[("oauth", "x"), ("OAUTH_x", "")]), &mut rng(1), NOW).is_ok());
    for query in ["a=%", "%zz=1", "a=%ff"] {
        assert_eq!(misuse(&ApiRequest::get("/x").raw_query(query)), Misuse::InvalidQuery, "{query}");
    }
}

/// Else another path than the signed one would be sent, and the answer to the signature be 401.
#[test]
fn a_path_that_http_clients_would_rewrite_is_rejected() {
    for rewritten in ["/.", "/..", "/a/../b", "/a/./b", "/a/..", "/%2e", "/%2E%2e/a", "/a/.%2E", "/a/%2e./b", "/a\\b"] {
        assert_eq!(misuse(&ApiRequest::get(rewritten)), Misuse::InvalidPath, "{rewritten}");
    }
    for kept in ["/...", "/.a", "/a.", "/a..b/", "/a//b", "/%2e%2e%2e", "/%252e", "/a%5Cb", "/a%2F..%2Fb"] {
        let sent = sign(&ApiRequest::get(kept));
        assert!(sent.url().ends_with(kept), "{kept}");
    }
}

#[test]
fn the_base_string_can_be_shown_without_the_prepend_and_with_it() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let request = login.poll(&mut session, NOW).unwrap().request;
    let prepend: String = login.keys.prepend.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = request.base_string().to_string();
    let raw = request.base_string().text();
    assert!(shown.starts_with(&format!("[prepend of {} hex digits]POST&https%3A%2F%2F", prepend.len())), "{shown}");
    assert!(raw.expose().starts_with(&format!("{prepend}POST&https%3A%2F%2F")));
    assert_eq!(shown.split_once(']').unwrap().1, &raw.expose()[prepend.len()..]);

    let other = poll(&mut OAuthSession::new(login.consumer)).request;
    assert_eq!(other.base_string().to_string(), *other.base_string().text().expose(), "no prepend, nothing to hide");
    assert!(parameter(&other, "oauth_signature").is_some());
}

#[test]
fn a_request_that_is_rejected_uses_no_timestamp() {
    let (live, in_an_hour) = (live(), NOW.saturating_add(Duration::from_secs(3600)));
    assert!(live.sign(&ApiRequest::get("no path"), &mut rng(1), in_an_hour).is_err());
    assert!(live.authorization(&ApiRequest::get("no path"), &mut rng(1), in_an_hour).is_err());
    let request = live.sign(&ApiRequest::get("/x"), &mut rng(1), NOW).unwrap();
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650000"));
}

#[test]
fn who_leaves_the_query_out_of_the_signature_leaves_it_out_in_every_form() {
    let live = live_with(QueryPolicy::Exclude, ParameterEncoding::Single);
    let sign = |request: &ApiRequest<'_>| live.sign(request, &mut rng(1), NOW).unwrap();
    let bare = sign(&ApiRequest::get("/x"));
    for with_query in [ApiRequest::get("/x").query(&[("a", "1")]), ApiRequest::get("/x").raw_query("a=1")] {
        let request = sign(&with_query);
        assert!(request.url().ends_with("/x?a=1"), "it is sent all the same");
        assert_eq!(request.base_string(), bare.base_string());
    }
}

#[test]
fn parameters_on_both_sides_of_the_protocols_own_are_joined_to_them() {
    let signed = |query: &[(&str, &str)]| sign(&ApiRequest::get("/x").query(query)).base_string().to_string();
    let (without, own) = (signed(&[]), "oauth_consumer_key");
    let (start, end) = without.split_at(without.find(own).unwrap());
    assert_eq!(signed(&[("z", "1")]), format!("{start}{end}%26z%3D1"));
    assert_eq!(signed(&[("a", "1")]), format!("{start}a%3D1%26{end}"));
    assert_eq!(signed(&[("z", "1"), ("a", "1")]), format!("{start}a%3D1%26{end}%26z%3D1"));
}

#[test]
fn long_names_that_begin_alike_are_sorted_by_their_ends_and_then_by_value() {
    let query = [("a name that is long 2", "1"), ("a name that is long 1", "3"), ("a name that is long 1", "2")];
    let base_string = sign(&ApiRequest::get("/x").query(&query)).base_string().to_string();
    let places = ["long%201%3D2", "long%201%3D3", "long%202%3D1"].map(|pair| base_string.find(pair));
    assert!(places.is_sorted() && places[0].is_some(), "{base_string}");
}

#[test]
fn the_other_encoding_is_used_if_it_is_asked_for() {
    for (encoding, signed) in [(ParameterEncoding::Single, "a%3D%7C"), (ParameterEncoding::Rfc5849, "a%3D%257C")] {
        let request = ApiRequest::get("/x").query(&[("a", "|")]);
        let request = live_with(QueryPolicy::Fold, encoding).sign(&request, &mut rng(1), NOW).unwrap();
        assert!(request.base_string().to_string().contains(&format!("&{signed}%26")), "{}", request.base_string());
    }
}

#[test]
fn a_get_with_a_body_says_how_long_it_is() {
    let request = sign(&ApiRequest::get("/x").json(b"{}"));
    assert_eq!((header(&request, "Content-Length"), request.body()), (Some("2"), &b"{}"[..]));
    assert_eq!(header(&request, "Content-Type"), Some("application/json"));
}

#[test]
fn a_path_may_be_long_and_not_endless() {
    let path = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert!(live().sign(&ApiRequest::get(&path(2048)), &mut rng(1), NOW).is_ok());
    assert_eq!(misuse(&ApiRequest::get(&path(2049))), Misuse::InvalidPath);
}
