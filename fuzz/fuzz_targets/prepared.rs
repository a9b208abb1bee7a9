//! Any request, prepared and signed with sessions in turn, against the ordinary signature of the same request. The input is
//! `METHOD PATH`, then a parameter on each line: `?NAME=VALUE` in the query, `&NAME=VALUE` in the form; any other line signs
//! with the session of its length. Invariants: the same header, byte for byte; the same refusals; no planted secret in what
//! `Debug` shows; memory in proportion to the input.
#![no_main]

use std::sync::OnceLock;

use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, LiveSession, Method, OAuthSession, ParameterEncoding, PreparedRequest,
    QueryPolicy, Response,
};
use ibkr_oauth_fuzz::{CONSUMER_KEY, FakeKeys, MemoryBound, START, assert_silent, dh, prove};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|input: &str| {
    let sessions = sessions();
    let _bound = MemoryBound::bytes(64 * 1024 + 256 * input.len());
    let (first, lines) = input.split_once('\n').unwrap_or((input, ""));
    let (method, path) = first.split_once(' ').unwrap_or(("GET", first));
    let method = [Method::Post, Method::Put, Method::Delete].into_iter().find(|known| known.as_str() == method);
    let pairs = |mark| {
        let marked = lines.lines().filter_map(move |line| line.strip_prefix(mark));
        marked.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect::<Vec<_>>()
    };
    let (query, form) = (pairs('?'), pairs('&'));
    let request = ApiRequest::new(method.unwrap_or(Method::Get), path).query(&query).form(&form);
    let mut prepared = match PreparedRequest::new(&request) {
        Ok(prepared) => prepared,
        Err(misuse) => {
            let refused = sessions[0].authorization(&request, &mut StdRng::seed_from_u64(1), START);
            return assert_eq!(refused.unwrap_err(), misuse.into());
        }
    };
    let turns = lines.lines().filter(|line| !line.starts_with(['?', '&'])).map(str::len).chain([0, 0, 1]);
    for (seed, turn) in (0..).zip(turns) {
        let (live, mut header) = (&sessions[turn % sessions.len()], String::new());
        let rng = || StdRng::seed_from_u64(seed);
        let receipt = live.prepared_authorization_into(&mut header, &mut prepared, &mut rng(), START).unwrap();
        assert_eq!((header, receipt), live.authorization(&request, &mut rng(), START).unwrap());
    }
    assert_silent(&format!("{prepared:?}").replace(path, ""));
});

/// One for each policy and encoding.
fn sessions() -> &'static [LiveSession] {
    static SESSIONS: OnceLock<Vec<LiveSession>> = OnceLock::new();
    SESSIONS.get_or_init(|| {
        let policies = [QueryPolicy::Fold, QueryPolicy::Exclude];
        let encodings = [ParameterEncoding::Single, ParameterEncoding::Rfc5849];
        policies.into_iter().flat_map(|policy| encodings.map(|encoding| session(policy, encoding))).collect()
    })
}

fn session(policy: QueryPolicy, encoding: ParameterEncoding) -> LiveSession {
    let builder = Consumer::builder(CONSUMER_KEY, FakeKeys, dh());
    let consumer = builder.query_policy(policy).parameter_encoding(encoding).build().unwrap();
    let access_token = AccessToken::new("a1b2c3d4", "AAAAAAAAAAAAAAAAAAAAAA==").unwrap();
    let mut session = OAuthSession::with_access_token(consumer, access_token);
    let outbound = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap();
    let answer = prove(&outbound.request);
    session.handle_response(outbound.exchange, &Response::new(200, answer.as_bytes()), START).unwrap();
    session.live(START).unwrap().clone()
}
