//! What was secret is gone from memory when credentials are given back: an allocator looks into every block before it is
//! freed. It sees the heap only.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::fs;

use ibkr_oauth_gateway::TestKeys;
use ibkr_oauth_tokio::Credentials;
use serde_json::json;
use tempfile::tempdir;

/// Looks for planted bytes in whatever this thread frees.
struct Inspector;

#[derive(Default)]
struct Watch {
    planted: Vec<(&'static str, Vec<u8>)>,
    found: Vec<&'static str>,
    is_looking: bool,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::default();
}

#[global_allocator]
static ALLOCATOR: Inspector = Inspector;

// SAFETY: every call goes to the system's allocator unchanged; a block is only read, before it is freed, and only as far
// as it was allocated and written by safe code (zero-filled on allocation, so that all of it is initialised).
unsafe impl GlobalAlloc for Inspector {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        inspect(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        unsafe { System.dealloc(block, layout) }
    }
}

fn inspect(block: &[u8]) {
    // Whatever is freed while the watch is in use, or gone with its thread, is the watch's own.
    let _ = WATCH.try_with(|watch| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return };
        if !watch.is_looking {
            return;
        }
        let holds = |bytes: &[u8]| block.windows(bytes.len()).any(|window| window == bytes);
        let hits: Vec<&str> = watch.planted.iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| *name).collect();
        watch.found.extend(hits);
    });
}

/// What is found of `planted` in the blocks that `work` gives back.
fn left_behind(planted: Vec<(&'static str, Vec<u8>)>, work: impl FnOnce()) -> Vec<&'static str> {
    WATCH.with_borrow_mut(|watch| *watch = Watch { planted, found: Vec::new(), is_looking: true });
    work();
    WATCH.with_borrow_mut(|watch| {
        watch.is_looking = false;
        let mut found = std::mem::take(&mut watch.found);
        found.dedup();
        found
    })
}

const ACCESS_TOKEN: &str = "a1b2c3d4e5f6a7b8c9d0";
/// "an encrypted secret of this test", as IBKR would hand it out.
const ENCRYPTED_SECRET: &str = "YW4gZW5jcnlwdGVkIHNlY3JldCBvZiB0aGlzIHRlc3Q=";

/// What `serde_json` leaves, a copy of a text with escapes, has its line breaks for `\n`.
#[test]
fn credentials_that_were_read_and_stored_leave_no_secret_behind() {
    let folder = tempdir().unwrap();
    let [whole, without] = ["whole.json", "without.json"].map(|name| folder.path().join(name));
    let TestKeys { private_signature_pem: pem, dhparam_pem, .. } = TestKeys::generate().unwrap();
    let mut fields = json!({
        "consumer_key": "TESTCONS",
        "private_signature_pem": pem,
        "private_encryption_pem": pem,
        "dhparam_pem": dhparam_pem,
    });
    fs::write(&without, fields.to_string()).unwrap();
    fields["access_token"] = ACCESS_TOKEN.into();
    fields["access_token_secret"] = ENCRYPTED_SECRET.into();
    fs::write(&whole, fields.to_string()).unwrap();

    let key = pem.replace('\n', "\\n");
    let planted = vec![
        ("the access token", ACCESS_TOKEN.into()),
        ("the access token secret", ENCRYPTED_SECRET.into()),
        ("the private key as it stands in the file", key[64..128].into()),
    ];
    let found = left_behind(planted, || {
        let session = Credentials::from_file(&whole).unwrap().session().unwrap();
        Credentials::store_access_token(&without, session.access_token().unwrap()).unwrap();
        let stored = Credentials::from_file(&without).unwrap().session().unwrap();
        assert_eq!(stored.access_token().unwrap().token(), ACCESS_TOKEN);
    });
    assert!(found.is_empty(), "left in freed memory: {found:?}");
    assert!(fs::read_to_string(&without).unwrap().contains(&key));
}
