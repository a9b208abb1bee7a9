//! The stores do what the machines expect of them, on real servers: each test starts its own, on a Unix socket of its own, and
//! not as root. Where a server is not installed, its tests say that they are skipped.
#![cfg(all(unix, feature = "folder", feature = "postgres", feature = "redis"))]

mod server;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use ibkr_oauth_fleet::stores::{Folder, Postgres, Redis, Store};
use ibkr_oauth_fleet::{Answer, Entry, Event, Member, Operation, Output};
use server::{Server, postgres, redis};
use tokio_postgres::{Config, NoTls};

fn read(keys: &[&str]) -> Operation {
    Operation::Read(keys.iter().map(ToString::to_string).collect())
}

fn write(key: &str, expected: Option<u64>, value: &[u8]) -> Operation {
    Operation::Write { key: key.to_string(), expected, value: value.to_vec() }
}

fn delete(key: &str, expected: u64) -> Operation {
    Operation::Delete { key: key.to_string(), expected }
}

fn entry(version: u64, value: &[u8]) -> Option<Entry> {
    Some(Entry { version, value: value.to_vec() })
}

async fn ask(store: &impl Store, operation: Operation) -> Answer {
    store.perform(&operation).await.unwrap()
}

async fn keeps_the_contract(store: &impl Store) {
    let (a, b) = ("fleet/member/a-0", "login/a@b.example%2f_\"'é".replace('é', "e"));
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(ask(store, read(&[a, &b])).await, Answer::Entries(vec![None, None]));
    assert_eq!(ask(store, write(a, Some(1), b"x")).await, Answer::Conflict);
    assert_eq!(ask(store, delete(a, 1)).await, Answer::Conflict);
    assert_eq!(ask(store, write(a, None, b"x")).await, Answer::Written(1));
    assert_eq!(ask(store, write(a, None, b"y")).await, Answer::Conflict);
    assert_eq!(ask(store, write(a, Some(1), &bytes)).await, Answer::Written(2));
    assert_eq!(ask(store, write(a, Some(1), b"y")).await, Answer::Conflict);
    assert_eq!(ask(store, write(&b, None, b"")).await, Answer::Written(1));
    let expected = vec![entry(1, b""), None, entry(2, &bytes)];
    assert_eq!(ask(store, read(&[&b, "none", a])).await, Answer::Entries(expected));
    assert_eq!(ask(store, delete(a, 1)).await, Answer::Conflict);
    assert_eq!(ask(store, delete(a, 2)).await, Answer::Deleted);
    assert_eq!(ask(store, read(&[a, &b])).await, Answer::Entries(vec![None, entry(1, b"")]));
    assert_eq!(ask(store, write(a, None, b"z")).await, Answer::Written(1));
}

/// Eight writers count to 100 together: each step of each of them is there.
async fn lets_one_writer_through_at_a_time<S: Store>(stores: [S; 8]) {
    let writers = stores.map(|store| async move {
        let mut written = 0;
        loop {
            let Answer::Entries(entries) = ask(&store, read(&["counter"])).await else { panic!("no entries") };
            let version = entries[0].as_ref().map(|entry| entry.version);
            if version.is_some_and(|version| version >= 100) {
                return written;
            }
            if let Answer::Written(next) = ask(&store, write("counter", version, b"1")).await {
                assert_eq!(next, version.unwrap_or_default() + 1);
                written += 1;
            }
        }
    });
    assert_eq!(all(writers).await.into_iter().sum::<u64>(), 100);
}

async fn all<T, const N: usize>(works: [impl Future<Output = T>; N]) -> Vec<T> {
    let mut works = works.map(Box::pin);
    let mut done: Vec<Option<T>> = (0..N).map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (work, done) in works.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(result) = work.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

const SHARDS: usize = 8;
const TAKEOVER: Duration = Duration::from_secs(2);

/// Runs a member until it owns as many shards as it should, and a while longer; then it just stops.
async fn run_member(store: &impl Store, random: u128, wanted: usize, lasts: Duration) -> BTreeSet<usize> {
    let (begin, mut member) = (Instant::now(), Member::new("fleet", SHARDS, TAKEOVER, random));
    let (mut owned, mut since) = (BTreeSet::new(), None);
    loop {
        assert!(begin.elapsed() < Duration::from_secs(60), "{wanted} shards wanted, owned {owned:?}");
        match member.poll(begin.elapsed()) {
            Output::Store { operation, exchange } => {
                let answer = store.perform(&operation).await.unwrap_or(Answer::Unknown);
                member.handle_answer(exchange, answer, begin.elapsed());
            }
            Output::Event(Event::Gained { shards, .. }) => owned.extend(shards),
            Output::Event(Event::Lost { shards }) => owned.retain(|shard| !shards.contains(shard)),
            Output::Event(event) => panic!("{event:?}"),
            Output::Wait(until) => tokio::time::sleep(until.saturating_sub(begin.elapsed())).await,
        }
        since = if owned.len() == wanted { since.or(Some(Instant::now())) } else { None };
        if since.is_some_and(|since| since.elapsed() >= lasts) {
            return owned;
        }
    }
}

/// Two share; one dies; the other has everything.
async fn carries_a_fleet(stores: [impl Store; 2]) {
    let [first, second] = stores;
    let life = async { run_member(&first, 1, SHARDS / 2, Duration::from_secs(1)).await };
    let survivor = async { run_member(&second, 2, SHARDS, Duration::from_millis(100)).await };
    // The second begins when the first has everything.
    run_member(&first, 3, SHARDS, Duration::ZERO).await;
    let (_, owned) = tokio::join!(life, survivor);
    assert_eq!(owned.len(), SHARDS);
}

#[tokio::test]
async fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Folder::open(folder.path().join(name)).unwrap();
    keeps_the_contract(&open("contract")).await;
    lets_one_writer_through_at_a_time([(); 8].map(|()| open("counter"))).await;
    carries_a_fleet([(); 2].map(|()| open("fleet"))).await;
    let mode = |path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o777;
    assert_eq!(mode(folder.path().join("contract")), 0o700);
    assert_eq!(mode(folder.path().join("contract/entry-fleet%2fmember%2fa-0")), 0o600);
}

fn postgres_store(server: &Server, table: &str) -> Postgres<NoTls> {
    let mut config = Config::new();
    config.host_path(server.folder()).user("fleet").dbname("postgres");
    Postgres::new(config, NoTls, table)
}

#[tokio::test]
async fn postgresql_is_a_store_and_comes_back_after_a_restart() {
    let Some(mut server) = postgres() else { return println!("skipped: needs postgresql") };
    let store = postgres_store(&server, "a \"table\"");
    store.create_table().await.unwrap();
    store.create_table().await.unwrap();
    keeps_the_contract(&store).await;
    let counters = [(); 8].map(|()| postgres_store(&server, "counter"));
    // As replicas do that are started at the same moment.
    for made in all(counters.each_ref().map(Postgres::create_table)).await {
        made.unwrap();
    }
    lets_one_writer_through_at_a_time(counters).await;
    let fleets = [(); 2].map(|()| postgres_store(&server, "fleet"));
    fleets[0].create_table().await.unwrap();
    carries_a_fleet(fleets).await;

    server.stop();
    assert!(store.perform(&read(&["a"])).await.is_err());
    server.start();
    assert_eq!(ask(&store, read(&["login/a@b.example%2f_\"'e"])).await, Answer::Entries(vec![entry(1, b"")]));
}

fn redis_store(server: &Server, prefix: &str) -> Redis {
    let address = format!("redis+unix://{}/socket", server.folder().display());
    Redis::new(::redis::Client::open(address).unwrap(), prefix)
}

#[tokio::test]
async fn redis_is_a_store_and_comes_back_after_a_restart() {
    let Some(mut server) = redis() else { return println!("skipped: needs redis-server") };
    let store = redis_store(&server, "contract/");
    keeps_the_contract(&store).await;
    lets_one_writer_through_at_a_time([(); 8].map(|()| redis_store(&server, "counter/"))).await;
    carries_a_fleet([(); 2].map(|()| redis_store(&server, "fleet/"))).await;

    server.stop();
    assert!(store.perform(&read(&["a"])).await.is_err());
    server.start();
    assert_eq!(ask(&store, read(&["login/a@b.example%2f_\"'e"])).await, Answer::Entries(vec![entry(1, b"")]));
}
