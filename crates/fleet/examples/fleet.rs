//! Three members and twelve users, in one process, with IBKR's half beside them. One member dies; its users go to the others,
//! and nobody logs in again.
//!
//! ```text
//! cargo run --package ibkr-oauth-fleet --example fleet --all-features
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ibkr_oauth_fleet::drivers::{MemberDriver, OwnerDriver, Tenure};
use ibkr_oauth_fleet::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, Event as ClientEvent, OAuthSession, Request, Response, RsaKeys,
    RsaPrivateKey,
};
use ibkr_oauth_fleet::stores::Folder;
use ibkr_oauth_fleet::{Event, Member, Owner, OwnerEvent, Seal, Secrecy, shard_of};
use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, User, http};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

const USERS: usize = 12;
const SHARDS: usize = 64;
const TAKEOVER: Duration = Duration::from_secs(2);
const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";
const DHPARAM_PEM: &str = include_str!("../tests/keys/dhparam.pem");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ibkr = Arc::new(Ibkr::new()?);
    let start = |name| tokio::spawn(run(name, folder.path().to_owned(), Arc::clone(&ibkr)));
    let members = [("A", start("A")), ("B", start("B")), ("C", start("C"))];
    ibkr.wait_for("all users are live", |ibkr| ibkr.owners().len() == USERS).await?;
    // Shares are even a few looks later.
    tokio::time::sleep(TAKEOVER).await;
    ibkr.tell();

    let [(_, a), (_, b), (_, c)] = members;
    println!("Member B dies.");
    b.abort();
    ibkr.wait_for("others have its users", |ibkr| ibkr.owners().values().all(|owner| *owner != "B")).await?;
    ibkr.tell();
    println!("{USERS} users, {} logins", ibkr.state().logins);
    a.abort();
    c.abort();
    Ok(())
}

/// IBKR's half, and what there is to see.
struct Ibkr(Mutex<State>);

struct State {
    gateway: Gateway,
    tokens: Vec<AccessToken>,
    logins: usize,
    /// Who said last that a user is live.
    owners: BTreeMap<String, &'static str>,
}

impl Ibkr {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (mut gateway, mut rng) = (Gateway::new(BASE_URL)?, StdRng::seed_from_u64(1));
        gateway.register_consumer(&RegisteredConsumer {
            consumer_key: "TRADINGCO".to_string(),
            signature_public_key_pem: include_str!("../tests/keys/public_signature.pem").to_string(),
            encryption_public_key_pem: include_str!("../tests/keys/public_encryption.pem").to_string(),
            dhparam_pem: DHPARAM_PEM.to_string(),
            callback_url: None,
        })?;
        let mut tokens = Vec::new();
        for user in 0..USERS {
            gateway.add_user(User {
                name: name_of(user),
                accounts: vec![format!("DU{user}")],
                kind: AccountKind::Paper,
            });
            let issued = gateway.issue_access_token("TRADINGCO", &name_of(user), &mut rng)?;
            tokens.push(AccessToken::new(&issued.token, &issued.secret_base64)?);
        }
        Ok(Self(Mutex::new(State { gateway, tokens, logins: 0, owners: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owners(&self) -> BTreeMap<String, &'static str> {
        self.state().owners.clone()
    }

    fn send(&self, request: &Request) -> Result<Response<'static>, http::Error> {
        let head = http::Request::builder().method(request.method().as_str()).uri(request.url());
        let head = request.headers().fold(head, |head, (name, value)| head.header(name, value));
        let mut state = self.state();
        state.logins += usize::from(request.path().ends_with("/oauth/live_session_token"));
        let answer = state.gateway.handle(&head.body(request.body().to_vec())?, &mut rand::rng(), SystemTime::now());
        let response = Response::new(answer.status().as_u16(), answer.body().clone());
        let headers = answer.headers().iter();
        Ok(headers.fold(response, |response, (name, value)| response.with_header(name.as_str(), value.as_bytes())))
    }

    async fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begin = Instant::now();
        while !is_so(self) {
            if begin.elapsed() > Duration::from_secs(60) {
                return Err(format!("not within a minute: {what}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("After {:.1} seconds {what}:", begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn tell(&self) {
        for (user, owner) in self.owners() {
            println!("  {user}: {owner}");
        }
    }
}

fn name_of(user: usize) -> String {
    format!("user-{user:02}")
}

fn key_of(user: &str) -> String {
    format!("login/{user}")
}

/// One member: in real life a process, or a machine.
async fn run(name: &'static str, folder: impl AsRef<Path>, ibkr: Arc<Ibkr>) {
    let store = Arc::new(Folder::open(folder).expect("a folder"));
    let secrecy = Secrecy::sealed(Seal::new(&[1; 32]), Seal::new(&[2; 32]));
    let member = Member::new("fleet", SHARDS, TAKEOVER, rand::rng().random());
    let mut member = MemberDriver::new(member, Arc::clone(&store));
    // They end by themselves when their shard is lost, and with this task.
    let mut owners = JoinSet::new();
    loop {
        match member.next().await {
            Event::Gained { shards, fence } => {
                for user in users_of(&shards) {
                    let owner = owner_of(user, fence, &ibkr, &secrecy);
                    let tenure = member.tenure(shard_of(&name_of(user), SHARDS));
                    owners.spawn(own(owner, tenure, Arc::clone(&store), user, name, Arc::clone(&ibkr)));
                }
            }
            Event::Lost { .. } => while owners.try_join_next().is_some() {},
            event => println!("member {name}: {event:?}"),
        }
    }
}

/// Keeps one user logged in.
async fn own(owner: Owner, tenure: Tenure, store: Arc<Folder>, user: usize, name: &'static str, ibkr: Arc<Ibkr>) {
    // In real life an HTTP client.
    let send = |request| std::future::ready(ibkr.send(&request).ok());
    let mut driver = OwnerDriver::new(owner, tenure, store, send, rng());
    while let Some(event) = driver.next().await {
        if matches!(event, OwnerEvent::Client(ClientEvent::LoggedIn { .. })) {
            ibkr.state().owners.insert(name_of(user), name);
        }
    }
}

/// A generator of its own, for whom one that stays in its thread will not do.
fn rng() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

fn users_of(shards: &BTreeSet<usize>) -> impl Iterator<Item = usize> {
    (0..USERS).filter(|user| shards.contains(&shard_of(&name_of(*user), SHARDS)))
}

fn owner_of(user: usize, fence: u64, ibkr: &Ibkr, secrecy: &Secrecy) -> Owner {
    let read = |pem| RsaPrivateKey::from_pem(pem).expect("a key");
    let keys = RsaKeys::new(
        read(include_str!("../tests/keys/private_signature.pem")),
        read(include_str!("../tests/keys/private_encryption.pem")),
    );
    let dh = DhParams::from_pem(DHPARAM_PEM).expect("parameters");
    let consumer = Consumer::builder("TRADINGCO", keys, dh).base_url(BASE_URL).build().expect("a consumer");
    let session = OAuthSession::with_access_token(consumer, ibkr.state().tokens[user].clone());
    Owner::new(Client::new(session), &key_of(&name_of(user)), fence, secrecy.clone())
}
