//! Equal processes on several machines, each with the credentials, that share a store: one of them logs in at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ibkr_oauth_fleet::drivers::{FollowerDriver, FollowerEvent};
use ibkr_oauth_fleet::stores::{self, Store as _};
use ibkr_oauth_fleet::{Answer, Entry, Operation, Seal, Secrecy};
use ibkr_oauth_gateway::Incident;
use ibkr_oauth_tokio::ibkr_oauth::{ApiRequest, Follower};
use ibkr_oauth_tokio::{Event, Status, Store, StoreError, WebApi};

use crate::support::server::Server;
use crate::support::{CONSUMER_KEY, Enrolled, soon, start};

const LOGIN: &str = "POST /oauth/live_session_token";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

/// A store in memory, that can be down.
#[derive(Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, Entry>>,
    is_down: AtomicBool,
}

impl stores::Store for Memory {
    async fn perform(&self, operation: &Operation) -> Result<Answer, stores::StoreError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.is_down.load(Ordering::Relaxed) {
            return Err(stores::StoreError::new("out of order"));
        }
        let mut entries = self.entries.lock().unwrap();
        let version = |key: &String| entries.get(key).map(|entry| entry.version);
        Ok(match operation {
            Operation::Read(keys) => Answer::Entries(keys.iter().map(|key| entries.get(key).cloned()).collect()),
            Operation::Write { key, expected, value } if version(key) == *expected => {
                let version = expected.unwrap_or_default() + 1;
                entries.insert(key.clone(), Entry { version, value: value.clone() });
                Answer::Written(version)
            }
            _ => Answer::Conflict,
        })
    }
}

impl Memory {
    /// The key of the one login that is stored.
    fn key(&self) -> String {
        let entries = self.entries.lock().unwrap();
        entries.keys().find(|key| !key.ends_with("/lock")).unwrap().clone()
    }
}

fn sealed(key: u8) -> Secrecy {
    Secrecy::sealed(Seal::new(&[key; 32]), Seal::new(&[key + 1; 32]))
}

async fn replica(enrolled: &Enrolled, memory: &Arc<Memory>, secrecy: Secrecy) -> WebApi {
    let session = enrolled.session();
    let store = Store::for_replicas(Arc::clone(memory), secrecy, &session).unwrap();
    let client = store.client(session).await.unwrap().without_brokerage_session();
    start(WebApi::builder(client).store(store))
}

async fn replicas(server: &Server, memory: &Arc<Memory>, count: usize) -> Vec<WebApi> {
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(replica(&server.enrolled, memory, sealed(1)).await);
    }
    replicas
}

/// Each sends a request, all at the same time.
async fn all_ask(replicas: &[WebApi]) {
    let requests: Vec<_> = replicas.iter().map(|api| tokio::spawn(api.request(&ACCOUNTS))).collect();
    for request in requests {
        soon(request).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_at_once_log_in_once_and_once_more_when_their_token_is_dead() {
    let (server, memory) = (Server::start().await, Arc::default());
    let replicas = replicas(&server, &memory, 4).await;
    all_ask(&replicas).await;
    assert_eq!(server.count(LOGIN), 1);
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    all_ask(&replicas).await;
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_goes_on_with_the_login_of_who_died() {
    let (server, memory) = (Server::start().await, Arc::default());
    for _ in 0..3 {
        let api = replica(&server.enrolled, &memory, sealed(1)).await;
        soon(api.request(&ACCOUNTS)).await.unwrap();
        soon(api.shut_down()).await;
    }
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_nobody_logs_in_and_what_is_live_signs_on() {
    let (server, memory) = (Server::start().await, Arc::<Memory>::default());
    let live = replica(&server.enrolled, &memory, sealed(1)).await;
    soon(live.request(&ACCOUNTS)).await.unwrap();
    memory.is_down.store(true, Ordering::Relaxed);
    soon(live.request(&ACCOUNTS)).await.unwrap();
    let store = Store::for_replicas(Arc::clone(&memory), sealed(1), &server.enrolled.session()).unwrap();
    let refused = store.client(server.enrolled.session()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Replicas { cause } if cause.contains("out of order")), "{refused}");
    let (late, mut events) = WebApi::builder(server.enrolled.client()).store(store).start().unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::NotStored(StoreError::Replicas { .. }))));
    assert!(!late.status().is_logged_in());
    memory.is_down.store(false, Ordering::Relaxed);
    soon(late.wait_until(Status::is_logged_in)).await.unwrap();
    assert_eq!(server.count(LOGIN), 1, "it goes on with what the other has stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_no_secret_and_another_key_opens_nothing() {
    let (server, memory) = (Server::start().await, Arc::<Memory>::default());
    let api = replica(&server.enrolled, &memory, sealed(1)).await;
    soon(api.request(&ACCOUNTS)).await.unwrap();
    let Ok(Answer::Entries(entries)) = memory.perform(&Operation::Read(vec![memory.key()])).await else { panic!() };
    let value = entries.into_iter().flatten().next().unwrap().value;
    let has = |text: &str| value.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(value.len() > 1000 && !has(&server.enrolled.token) && !has("token"), "it is sealed");
    let other = replica(&server.enrolled, &memory, sealed(7)).await;
    assert!(!other.status().is_logged_in());
    soon(other.request(&ACCOUNTS)).await.unwrap();
    assert_eq!(server.count(LOGIN), 2, "what cannot be read is replaced by the next login");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_keys_follows_the_replicas() {
    let (server, memory) = (Server::start().await, Arc::<Memory>::default());
    let api = replica(&server.enrolled, &memory, sealed(1)).await;
    soon(api.request(&ACCOUNTS)).await.unwrap();
    let follower = Follower::builder(CONSUMER_KEY).base_url(&server.enrolled.base_url).build().unwrap();
    let followers = Secrecy::sealed_for_followers(Seal::new(&[2; 32]));
    let mut driver = FollowerDriver::new(follower, Arc::clone(&memory), &memory.key(), followers);
    assert_eq!(soon(driver.next()).await, FollowerEvent::Followed);
}
