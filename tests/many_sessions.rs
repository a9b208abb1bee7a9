//! A thousand users of one consumer live through ten minutes in one loop, on one thread, with one timer queue.
#![cfg(feature = "http")]

#[allow(dead_code, reason = "its `main` belongs to the example")]
#[path = "../examples/many_sessions.rs"]
mod example;

#[test]
fn a_thousand_sessions_share_one_thread_and_one_timer_queue() {
    let bytes = example::run(1000, 10).unwrap();
    assert!(bytes < 2500, "{bytes} bytes for a session");
}
