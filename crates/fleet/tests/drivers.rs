//! The machines on tokio, on a clock that stands still until all tasks wait.
#![cfg(feature = "tokio")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibkr_oauth_fleet::drivers::{BudgetDriver, FollowerDriver, FollowerEvent, MemberDriver, OwnerDriver, Tenure};
use ibkr_oauth_fleet::ibkr_oauth::{ApiRequest, Event as ClientEvent, Follower, Request, SnapshotError, UnixTime};
use ibkr_oauth_fleet::stores::{Store, StoreError};
use ibkr_oauth_fleet::{Answer, Budget, Entry, Event, Member, Operation, Owner, OwnerEvent, Secrecy};
use ibkr_oauth_gateway::Incident;
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::{BASE_URL, CONSUMER, Ibkr};
use tokio::time::{Instant, sleep, timeout};

const TAKEOVER: Duration = Duration::from_secs(30);
const SHARDS: usize = 8;

/// A store that takes a while, and can be down.
#[derive(Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, Entry>>,
    is_down: AtomicBool,
}

impl Store for Memory {
    async fn perform(&self, operation: &Operation) -> Result<Answer, StoreError> {
        sleep(Duration::from_millis(20)).await;
        if self.is_down.load(Ordering::Relaxed) {
            return Ok(Answer::Unknown);
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
            Operation::Delete { key, expected } if version(key) == Some(*expected) => {
                entries.remove(key);
                Answer::Deleted
            }
            Operation::Write { .. } | Operation::Delete { .. } => Answer::Conflict,
        })
    }
}

fn member(store: &Arc<Memory>, random: u128) -> MemberDriver<Memory> {
    MemberDriver::new(Member::new("fleet", SHARDS, TAKEOVER, random), Arc::clone(store))
}

/// What the member tells within so much time.
async fn events(member: &mut MemberDriver<Memory>, lasts: Duration) -> Vec<Event> {
    let (end, mut events) = (Instant::now() + lasts, Vec::new());
    while let Ok(event) = tokio::time::timeout_at(end, member.next()).await {
        events.push(event);
    }
    events
}

fn shards(event: &Event) -> BTreeSet<usize> {
    match event {
        Event::Gained { shards, .. } | Event::Lost { shards } => shards.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_interrupted_all_the_time_keeps_its_lease() {
    let store = Arc::default();
    let mut member = member(&store, 1);
    let gained = events(&mut member, TAKEOVER).await;
    assert_eq!(gained.iter().map(shards).collect::<Vec<_>>(), [(0..SHARDS).collect()]);
    for _ in 0..20_000 {
        let interrupted = timeout(Duration::from_millis(7), member.next()).await;
        assert!(interrupted.is_err(), "{interrupted:?}");
        assert!(member.tenure(3).holds() && !member.tenure(SHARDS).holds());
    }
}

#[tokio::test(start_paused = true)]
async fn shards_go_to_who_is_left_and_nobody_holds_what_another_has() {
    let store = Arc::default();
    let (mut first, mut second) = (member(&store, 1), member(&store, 2));
    events(&mut first, TAKEOVER).await;
    let tenure = first.tenure(SHARDS - 1);
    assert!(tenure.holds());
    tokio::join!(events(&mut first, TAKEOVER), events(&mut second, TAKEOVER));
    let held = |member: &MemberDriver<Memory>| (0..SHARDS).filter(|shard| member.tenure(*shard).holds()).count();
    assert_eq!((held(&first), held(&second), tenure.holds()), (SHARDS / 2, SHARDS / 2, false));

    first.leave();
    assert_eq!(events(&mut first, TAKEOVER).await.last(), Some(&Event::Left));
    assert_eq!(held(&first), 0, "at once");
    events(&mut second, TAKEOVER).await;
    assert_eq!(held(&second), SHARDS);
}

#[tokio::test(start_paused = true)]
async fn a_tenure_ends_with_the_lease_even_if_nobody_drives_the_member() {
    let store = Arc::default();
    let mut member = member(&store, 1);
    events(&mut member, TAKEOVER).await;
    let tenure = member.tenure(0);
    assert!(tenure.holds());
    sleep(TAKEOVER).await;
    assert!(!tenure.holds());
    assert!(matches!(member.next().await, Event::Lost { .. }));
}

#[tokio::test(start_paused = true)]
async fn fleets_of_other_terms_follow_when_the_members_have_left() {
    let store = Arc::default();
    let mut old = member(&store, 1);
    let mut new = MemberDriver::new(Member::new("fleet", 4 * SHARDS, TAKEOVER, 2), Arc::clone(&store));
    let Some(Event::Gained { fence: before, .. }) = events(&mut old, TAKEOVER).await.pop() else { panic!() };
    assert_eq!(events(&mut new, TAKEOVER).await, [Event::Unusable]);
    old.leave();
    events(&mut old, TAKEOVER).await;
    let events = events(&mut new, TAKEOVER).await;
    let [Event::Gained { shards, fence }] = &*events else { panic!("{events:?}") };
    assert!(shards.len() == 4 * SHARDS && *fence > before, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn tasks_on_two_machines_share_ten_requests_a_second() {
    let store: Arc<Memory> = Arc::default();
    let machine =
        || Arc::new(BudgetDriver::new(Budget::new("pacing/alice", 10, Duration::from_secs(1), 3), Arc::clone(&store)));
    let (begin, sent) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    for machine in [machine(), machine()] {
        for _ in 0..3 {
            let (machine, sent) = (Arc::clone(&machine), Arc::clone(&sent));
            tasks.spawn(async move {
                while begin.elapsed() < Duration::from_secs(60) {
                    // Now and then somebody has no patience.
                    if timeout(Duration::from_millis(900), machine.pay()).await == Ok(true) {
                        sent.lock().unwrap().push(begin.elapsed());
                    }
                }
            });
        }
    }
    tasks.join_all().await;
    let sent = sent.lock().unwrap();
    let within_a_second =
        |from: &Duration| sent.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(*at)).count();
    assert!(sent.iter().map(within_a_second).max() <= Some(10));
    assert!(sent.len() > 300, "{}", sent.len());
}

#[tokio::test(start_paused = true)]
async fn who_would_pay_is_told_that_the_store_is_down() {
    let store: Arc<Memory> = Arc::default();
    let budget = BudgetDriver::new(Budget::new("pacing/alice", 10, Duration::from_secs(1), 3), Arc::clone(&store));
    assert!(budget.pay().await);
    store.is_down.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    let mut paid = 0;
    while budget.pay().await {
        paid += 1;
    }
    assert!(paid < 3 && begin.elapsed() < Duration::from_secs(5), "{paid} {:?}", begin.elapsed());
    store.is_down.store(false, Ordering::Relaxed);
    while !budget.pay().await {}
}

/// From a request to its answer.
const NETWORK: Duration = Duration::from_millis(500);

/// What an owner tells until its tenure ends, or for so long.
async fn own(ibkr: &Arc<Mutex<Ibkr>>, store: &Arc<Memory>, tenure: Tenure, lasts: Duration) -> Vec<OwnerEvent> {
    // No two draw the same nonces.
    let rng = StdRng::from_rng(&mut rand::rng());
    let owner = Owner::new(ibkr.lock().unwrap().client(), "login/alice", 1, Secrecy::plain());
    let send = |request: Request| {
        let ibkr = Arc::clone(ibkr);
        async move {
            let answer = ibkr.lock().unwrap().answer(&request, now());
            sleep(NETWORK).await;
            Some(answer)
        }
    };
    let mut driver = OwnerDriver::new(owner, tenure, Arc::clone(store), send, rng);
    let (end, mut events) = (Instant::now() + lasts, Vec::new());
    while let Ok(Some(event)) = tokio::time::timeout_at(end, driver.next()).await {
        events.push(event);
    }
    events
}

fn is_login(event: &OwnerEvent) -> bool {
    matches!(event, OwnerEvent::Client(ClientEvent::LoggedIn { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_login_under_way_when_the_shard_is_lost_is_used_by_the_next_owner() {
    let (store, ibkr) = (Arc::default(), Arc::new(Mutex::new(Ibkr::new())));
    let mut first = member(&store, 1);
    events(&mut first, TAKEOVER).await;
    let tenure = first.tenure(0);
    let leaves = async {
        sleep(NETWORK / 2).await;
        assert_eq!(ibkr.lock().unwrap().logins, 1, "the login is under way");
        first.leave();
        events(&mut first, TAKEOVER).await
    };
    let owns = own(&ibkr, &store, tenure.clone(), TAKEOVER * 9);
    let began = Instant::now();
    let (told, _) = tokio::join!(owns, leaves);
    assert!(told.iter().any(is_login) && tenure.has_ended() && began.elapsed() < TAKEOVER * 2, "{told:?}");
    assert_eq!(ibkr.lock().unwrap().sent, 1, "nothing was sent after that");

    let mut second = member(&store, 2);
    events(&mut second, TAKEOVER).await;
    let told = own(&ibkr, &store, second.tenure(0), NETWORK * 8).await;
    assert!(told.iter().any(is_login), "{told:?}");
    assert_eq!(ibkr.lock().unwrap().logins, 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_a_tenure_sends_nothing() {
    let (store, ibkr) = (Arc::default(), Arc::new(Mutex::new(Ibkr::new())));
    let mut member = member(&store, 1);
    events(&mut member, TAKEOVER).await;
    let tenure = member.tenure(0);
    // Nobody drives the member: its lease ends unseen.
    sleep(TAKEOVER).await;
    own(&ibkr, &store, tenure, TAKEOVER).await;
    own(&ibkr, &store, member.tenure(SHARDS), TAKEOVER).await;
    assert_eq!(ibkr.lock().unwrap().sent, 0);
}

fn now() -> UnixTime {
    UnixTime::from(std::time::SystemTime::now())
}

fn follower(consumer_key: &str, store: &Arc<Memory>) -> FollowerDriver<Memory> {
    let follower = Follower::builder(consumer_key).base_url(BASE_URL).build().unwrap();
    FollowerDriver::new(follower, Arc::clone(store), "login/alice", Secrecy::plain())
}

#[tokio::test(start_paused = true)]
async fn a_process_without_keys_follows_what_the_owner_stores() {
    let (store, ibkr) = (Arc::<Memory>::default(), Arc::new(Mutex::new(Ibkr::new())));
    let mut follower = follower(CONSUMER, &store);
    assert!(timeout(TAKEOVER, follower.next()).await.is_err(), "nothing is stored");
    let mut member = member(&store, 1);
    events(&mut member, TAKEOVER).await;
    own(&ibkr, &store, member.tenure(0), NETWORK * 8).await;
    assert_eq!(follower.next().await, FollowerEvent::Followed);
    let call = || {
        let request = follower.signer().sign(&ApiRequest::get("/portfolio/accounts"), &mut rand::rng(), now()).unwrap();
        let response = ibkr.lock().unwrap().answer(&request, now());
        follower.signer().handle_response(request.receipt(), &response, now()).is_ok()
    };
    assert!(call());
    ibkr.lock().unwrap().gateway.schedule(std::time::SystemTime::UNIX_EPOCH, Incident::LiveSessionsEnd);
    assert!(!call(), "the token is dead");
    assert!(matches!(follower.next().await, FollowerEvent::Asked(question) if question.is_rejected()));
    store.entries.lock().unwrap().clear();
    store.is_down.store(true, Ordering::Relaxed);
    assert!(timeout(TAKEOVER, follower.next()).await.is_err(), "no answer is no news");
    assert!(follower.signer().live().is_some());
    store.is_down.store(false, Ordering::Relaxed);
    // The pauses between questions are of the time of day, which does not stand still.
    assert_eq!(follower.next().await, FollowerEvent::NoSession);
    assert!(follower.signer().live().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_another_consumer_is_told_that_the_session_is_foreign() {
    let (store, ibkr) = (Arc::<Memory>::default(), Arc::new(Mutex::new(Ibkr::new())));
    let mut member = member(&store, 1);
    events(&mut member, TAKEOVER).await;
    own(&ibkr, &store, member.tenure(0), NETWORK * 8).await;
    assert_eq!(follower("OTHERCONS", &store).next().await, FollowerEvent::Refused(SnapshotError::Foreign));
}
