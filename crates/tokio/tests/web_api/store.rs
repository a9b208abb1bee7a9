//! One session for all processes: whatever they do, one of them logs in.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_tokio::ibkr_oauth::ApiRequest;
use ibkr_oauth_tokio::{Activity, Credentials, Event, Status, Store, StoreError, WebApi};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::support::server::Server;
use crate::support::{Enrolled, PATIENCE, soon, start};

const LOGIN: &str = "POST /oauth/live_session_token";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

/// What another process of the same user would have.
async fn process(enrolled: &Enrolled, folder: &Path) -> WebApi {
    let session = enrolled.session();
    let store = Store::in_folder(folder, &session).unwrap();
    let client = store.client(session).await.unwrap().without_brokerage_session();
    start(WebApi::builder(client).store(store))
}

fn happen(server: &Server, incident: Incident) {
    server.gateway().schedule(SystemTime::now(), incident);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_at_once_and_five_more_log_in_once() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    for _ in 0..2 {
        let mut requests = JoinSet::new();
        for _ in 0..5 {
            let api = process(&server.enrolled, folder.path()).await;
            requests.spawn(async move { api.request(&ACCOUNTS).await.is_ok() });
        }
        assert_eq!(soon(requests.join_all()).await, [true; 5]);
    }
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_real_processes_log_in_once() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let credentials = folder.path().join("credentials.json");
    fs::write(&credentials, server.enrolled.json()).unwrap();
    let processes: Vec<_> = (0..5)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "store::a_process_that_lists_accounts", "--ignored"])
                .env("IBKR_CREDENTIALS", &credentials)
                .env("XDG_STATE_HOME", folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended = tokio::task::spawn_blocking(|| {
        processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect::<Vec<_>>()
    });
    for output in soon(ended).await.unwrap() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    assert_eq!((server.count(LOGIN), server.count("GET /portfolio/accounts")), (1, 5));
}

#[tokio::test]
#[ignore = "another test runs it, several at once"]
async fn a_process_that_lists_accounts() {
    let session = Credentials::from_environment().unwrap().session().unwrap();
    let store = Store::in_folder(&Store::default_folder().unwrap(), &session).unwrap();
    let client = store.client(session).await.unwrap().without_brokerage_session();
    let api = start(WebApi::builder(client).store(store));
    tokio::time::timeout(PATIENCE, api.request(&ACCOUNTS)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_run_go_on_with_the_token_that_one_of_them_has_fetched() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(process(&server.enrolled, folder.path()).await);
    }
    for api in &processes {
        soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    }
    happen(&server, Incident::LiveSessionsEnd);
    for api in &processes {
        soon(api.request(&ACCOUNTS)).await.unwrap();
    }
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn a_process_that_ends_right_after_its_answer_has_stored_the_token() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    // What is stored is stored slowly in a crowded folder.
    for number in 0..30_000 {
        fs::File::create(folder.path().join(number.to_string())).unwrap();
    }
    for _ in 0..3 {
        let api = process(&server.enrolled, folder.path()).await;
        soon(api.request(&ACCOUNTS)).await.unwrap();
        assert_eq!(sessions(folder.path()).len(), 1);
    }
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn after_a_log_out_nobody_goes_on_with_the_dead_token() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let api = process(&server.enrolled, folder.path()).await;
    soon(api.request(&ACCOUNTS)).await.unwrap();
    soon(api.log_out()).await;
    assert_eq!(api.status().activity, Activity::LoggedOut);
    let next = process(&server.enrolled, folder.path()).await;
    assert!(!next.status().is_logged_in());
    soon(next.request(&ACCOUNTS)).await.unwrap();
    assert_eq!(server.count("GET /portfolio/accounts"), 2, "no request was refused on the way");
}

#[tokio::test]
async fn the_limit_on_logins_outlives_processes_whose_logins_fail() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let odd = Incident::OddResponse {
        endpoint: "/oauth/live_session_token".into(),
        status: 401,
        body: "{}".into(),
        lasts: std::time::Duration::MAX,
    };
    happen(&server, odd);
    for _ in 0..14 {
        let session = server.enrolled.session();
        let store = Store::in_folder(folder.path(), &session).unwrap();
        let client = store.client(session).await.unwrap();
        let (_api, mut events) = WebApi::builder(client).store(store).start().unwrap();
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), events.next()).await;
    }
    assert_eq!(server.count(LOGIN), 12);
}

#[tokio::test]
async fn each_access_token_and_each_server_has_a_file_of_its_own() {
    let folder = tempdir().unwrap();
    let (one, other) = (Server::start().await, Server::start().await);
    for (server, files) in [(&one, 1), (&other, 2), (&one, 2)] {
        soon(process(&server.enrolled, folder.path()).await.request(&ACCOUNTS)).await.unwrap();
        assert_eq!(sessions(folder.path()).len(), files);
    }
    let names = sessions(folder.path());
    assert!(names.iter().all(|name| !name.contains(&one.enrolled.token)), "a token is no name");
}

/// The names of the stored sessions.
fn sessions(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".session")).collect()
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_what_is_stored() {
    use std::os::unix::fs::PermissionsExt;
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let folder = folder.path().join("made").join("for it");
    let api = process(&server.enrolled, &folder).await;
    soon(api.request(&ACCOUNTS)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

#[tokio::test]
async fn what_is_no_stored_session_is_neither_used_nor_replaced() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let path = folder.path().join("letter.txt");
    fs::write(&path, "Dear John").unwrap();
    let store = Store::new(&path);
    let error = store.client(server.enrolled.session()).await.unwrap_err();
    assert_eq!(error, StoreError::Read { path: path.clone(), cause: "it is no stored session".into() });
    let (api, mut events) = WebApi::builder(server.enrolled.client()).store(store).start().unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::NotStored(StoreError::Read { .. }))));
    soon(api.request(&ACCOUNTS)).await.unwrap();
    soon(api.log_out()).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "Dear John");
}

#[tokio::test]
async fn without_a_lock_nobody_logs_in_and_an_event_says_so() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let store = Store::new(folder.path().join("gone").join("session"));
    let (api, mut events) = WebApi::builder(server.enrolled.client()).store(store).start().unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::NotStored(StoreError::Lock { .. }))));
    // Where no lock can be taken, another process may be logging in: so there is no login.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!api.status().is_logged_in());
    assert_eq!(server.count(LOGIN), 0);
}
