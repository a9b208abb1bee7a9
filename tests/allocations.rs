//! How often a signature asks for memory: not at all, where the caller brings the buffer.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ibkr_oauth::{ApiRequest, Consumer, LiveSession, ParameterEncoding, PreparedRequest, QueryPolicy};
use support::{NOW, WorkedLogin, rng};

/// Counts what this thread asks for.
struct Counter;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counter = Counter;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

fn count() {
    // A thread that is ending has no counter any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// Bytes that hold any header of these live sessions.
const HEADER: usize = 512;

struct Bench {
    live: LiveSession,
    pairs: Vec<(String, String)>,
}

impl Bench {
    fn all() -> Vec<Self> {
        let login = WorkedLogin::any();
        // Every third value is long and full of what needs an escape; all names begin alike, and some come twice.
        let value = |i: usize| if i.is_multiple_of(3) { "|:, \u{3001}/%".repeat(20) } else { format!("{i}") };
        let pairs: Vec<_> = (0..1000).rev().map(|i| (format!("a rather long name {:03}", i / 2), value(i))).collect();
        let policies = [QueryPolicy::Fold, QueryPolicy::Exclude];
        let encodings = [ParameterEncoding::Single, ParameterEncoding::Rfc5849];
        let settings = policies.into_iter().flat_map(|policy| encodings.map(|encoding| (policy, encoding)));
        let bench = |(policy, encoding)| {
            let mut login = login.clone();
            let builder = Consumer::builder(login.consumer.consumer_key(), login.keys.clone(), login.dh.clone());
            login.consumer = builder.query_policy(policy).parameter_encoding(encoding).build().unwrap();
            Self { live: login.live_session(NOW).live(NOW).unwrap().clone(), pairs: pairs.clone() }
        };
        settings.map(bench).collect()
    }

    /// Allocations of `authorization_into` and of `authorization`.
    fn count(&self, in_query: usize, in_form: usize) -> (usize, usize) {
        let pairs: Vec<_> = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (query, rest) = pairs.split_at(in_query);
        let request = ApiRequest::post("/iserver/marketdata/snapshot").query(query).form(&rest[..in_form]);
        let (mut out, mut rng) = (String::with_capacity(HEADER), rng(1));
        let reused = allocations(|| {
            self.live.authorization_into(&mut out, &request, &mut rng, NOW).unwrap();
        });
        assert!(out.len() < HEADER);
        let owned = allocations(|| drop(self.live.authorization(&request, &mut rng, NOW).unwrap()));
        (reused, owned)
    }

    /// Allocations of a prepared signature: the first with a live session, and a later one.
    fn count_prepared(&self, in_query: usize, in_form: usize) -> (usize, usize) {
        let pairs: Vec<_> = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (query, rest) = pairs.split_at(in_query);
        let request = ApiRequest::post("/iserver/marketdata/snapshot").query(query).form(&rest[..in_form]);
        let mut prepared = PreparedRequest::new(&request).unwrap();
        let (mut out, mut rng) = (String::with_capacity(HEADER), rng(1));
        let mut count = || {
            out.clear();
            allocations(|| {
                self.live.prepared_authorization_into(&mut out, &mut prepared, &mut rng, NOW).unwrap();
            })
        };
        (count(), count())
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
}

#[test]
fn with_up_to_16_parameters_nothing_is_allocated_but_the_header() {
    for bench in Bench::all() {
        for query in 0..=16 {
            for form in 0..=16 - query {
                assert_eq!(bench.count(query, form), (0, 1), "{query} in the query, {form} in the form");
            }
        }
    }
}

#[test]
fn more_parameters_cost_one_more_allocation_however_many_they_are() {
    for bench in Bench::all() {
        for (query, form) in [(17, 0), (0, 17), (16, 1), (100, 0), (0, 1000), (500, 500)] {
            let (reused, owned) = bench.count(query, form);
            assert!(reused <= 1 && owned == reused + 1, "{reused} and {owned} with {query} and {form}");
        }
        assert_eq!(bench.count(0, 17), (1, 2), "a form is signed by either policy");
    }
}

#[test]
fn a_prepared_signature_allocates_nothing_after_the_first_of_a_session() {
    for bench in Bench::all() {
        for (query, form) in [(0, 0), (10, 0), (0, 10), (17, 17), (1000, 0), (0, 1000)] {
            let (first, later) = bench.count_prepared(query, form);
            assert!(first > 0, "the first keeps what they share");
            assert_eq!(later, 0, "{query} in the query, {form} in the form");
        }
    }
}

#[test]
fn a_signed_request_is_two_blocks_and_its_bytes_fit_a_callers_buffer() {
    let bench = &Bench::all()[0];
    let values = ["265598,8314", "31,84,86", "1714650000000", "SMART", "1d", "5mins", "true", "Bid_Ask", "|", ""];
    let query: Vec<_> = ["j", "i", "h", "g", "f", "e", "d", "c", "b", "z"].into_iter().zip(values).collect();
    for request in [ApiRequest::get("/iserver/x").query(&query), ApiRequest::get("/x"), ApiRequest::post("/tickle")] {
        let (mut signed, mut rng) = (None, rng(1));
        let count = allocations(|| signed = Some(bench.live.sign(&request, &mut rng, NOW).unwrap()));
        assert_eq!(count, 2, "{request:?}");
        #[cfg(feature = "http1")]
        {
            let (signed, mut bytes) = (signed.unwrap(), Vec::with_capacity(2048));
            assert_eq!(allocations(|| ibkr_oauth::http1::encode_into(&mut bytes, &signed)), 0);
            assert_eq!(bytes, ibkr_oauth::http1::encode(&signed));
        }
    }
    let with_body = ApiRequest::post("/iserver/account/U1/orders").json(br#"{"orders":[]}"#);
    assert_eq!(allocations(|| drop(bench.live.sign(&with_body, &mut rng(1), NOW).unwrap())), 3);
}
