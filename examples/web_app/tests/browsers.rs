//! What browsers do to the application, against IBKR's half of the protocol on a loopback port.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{Method, Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use ibkr_oauth_web_app::{App, Credentials, OwnGateway, Store};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

const PUBLIC_URL: &str = "http://127.0.0.1";

#[tokio::test]
async fn two_users_connect_at_once_and_each_sees_her_own_account() {
    let world = World::start().await;
    let app = world.app();
    let (alice, bob) = (Browser::open(&app).await, Browser::open(&app).await);
    let (for_alice, for_bob) = tokio::join!(alice.consent(&world, "alice"), bob.consent(&world, "bob"));
    let (alices, bobs) = tokio::join!(alice.come_back_and_list(&for_alice), bob.come_back_and_list(&for_bob));
    assert!(alices.contains("DU1111111") && !alices.contains("DU2222222"), "{alices}");
    assert!(bobs.contains("DU2222222") && !bobs.contains("DU1111111"), "{bobs}");
}

#[tokio::test]
async fn a_callback_in_another_browser_is_refused_and_harms_nobody() {
    let world = World::start().await;
    let app = world.app();
    let (victim, stranger) = (Browser::open(&app).await, Browser::open(&app).await);
    let lure = stranger.consent(&world, "bob").await;
    assert_eq!(victim.get(&lure).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(Browser::without_cookie(&app).get(&lure).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(victim.get("/accounts").await.status(), StatusCode::NOT_FOUND, "the victim acts for a stranger");
    // Also while the victim has begun a login.
    let own = victim.consent(&world, "alice").await;
    assert_eq!(victim.get(&lure).await.status(), StatusCode::FORBIDDEN);
    assert!(victim.come_back_and_list(&own).await.contains("DU1111111"));
    assert!(stranger.come_back_and_list(&lure).await.contains("DU2222222"));
    assert_eq!(stranger.get(&lure).await.status(), StatusCode::FORBIDDEN, "a callback counts once");
}

#[tokio::test]
async fn a_restart_in_mid_consent_goes_on() {
    let world = World::start().await;
    let mut browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    browser.app = world.app();
    assert!(browser.come_back_and_list(&callback).await.contains("DU1111111"));
}

#[tokio::test]
async fn a_restart_after_the_login_costs_no_second_login() {
    let world = World::start().await;
    let mut browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    browser.come_back_and_list(&callback).await;
    browser.app = world.app();
    assert!(text(browser.get("/accounts").await).await.contains("DU1111111"));
    assert_eq!(world.wire.logins.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_access_token_is_stored_before_the_login_that_needs_it() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    browser.come_back_and_list(&callback).await;
    assert_eq!(*world.wire.logins.lock().unwrap(), [true]);
}

#[tokio::test]
async fn a_browser_that_hangs_up_in_mid_callback_loses_no_access_token() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    world.wire.is_blocked.store(true, Ordering::SeqCst);
    tokio::select! {
        _ = browser.get(&callback) => panic!("IBKR has not answered yet"),
        () = world.wire.reached.notified() => {} // and the browser's request is dropped
    }
    world.wire.opened.notify_one();
    let is_stored = async {
        while !has_access_token(&world.wire.database) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), is_stored).await.expect("the access token is lost");
    assert!(text(browser.get("/accounts").await).await.contains("DU1111111"));
}

#[tokio::test]
async fn a_refusal_is_said_and_connects_nothing() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let callback = browser.decide(&world, "alice", false).await;
    let page = browser.get(&callback).await;
    assert_eq!(page.status(), StatusCode::FORBIDDEN);
    assert!(text(page).await.contains("you did not agree"));
    assert_eq!(browser.get("/accounts").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_login_that_ibkr_refuses_is_said_with_its_cause() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    assert_eq!(browser.get(&callback).await.status(), StatusCode::SEE_OTHER);
    world.wire.refuses_logins.store(true, Ordering::SeqCst);
    let page = browser.get("/accounts").await;
    assert_eq!(page.status(), StatusCode::BAD_GATEWAY);
    let said = text(page).await;
    assert!(said.contains("HTTP 401"), "{said}");
}

#[tokio::test]
async fn an_ibkr_that_cannot_be_reached_is_said_and_not_waited_for() {
    let nobody_listens = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let credentials = OwnGateway::new(&nobody_listens, &format!("{PUBLIC_URL}/callback")).unwrap().credentials;
    drop(nobody_listens);
    let app = App::new(credentials.consumer().unwrap(), Store::in_memory().unwrap(), PUBLIC_URL).router();
    let browser = Browser::open(&app).await;
    let page = timeout(Duration::from_secs(60), browser.send(Method::POST, "/connect")).await;
    assert_eq!(page.expect("the browser waits for ever").status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_new_consent_takes_the_place_of_the_old_when_it_has_come() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let first = browser.consent(&world, "alice").await;
    browser.come_back_and_list(&first).await;
    let second = browser.consent(&world, "bob").await;
    assert!(text(browser.get("/accounts").await).await.contains("DU1111111"));
    assert!(browser.come_back_and_list(&second).await.contains("DU2222222"));
}

#[tokio::test]
async fn a_disconnect_forgets_the_tokens_here_and_logs_out_there() {
    let world = World::start().await;
    let browser = Browser::open(&world.app()).await;
    let callback = browser.consent(&world, "alice").await;
    browser.come_back_and_list(&callback).await;
    assert!(has_access_token(&world.wire.database));
    assert_eq!(browser.send(Method::POST, "/disconnect").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.get("/accounts").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(world.wire.paths.lock().unwrap().last().unwrap(), "/v1/api/logout");
    let file = String::from_utf8_lossy(&fs::read(&world.wire.database).unwrap()).into_owned();
    assert!(!file.contains("access_token\""), "the tokens can be dug up");
}

#[tokio::test]
async fn the_cookie_is_kept_from_scripts_and_from_forms_of_other_sites() {
    let world = World::start().await;
    let cookie = |page: &Response<Body>| page.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let plain = cookie(&Browser::without_cookie(&world.app()).get("/").await);
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(plain.contains(attribute), "{plain}");
    }
    let secure = cookie(&Browser::without_cookie(&world.app_at("https://app.example")).get("/").await);
    assert!(secure.starts_with("__Host-") && secure.contains("Secure"), "{secure}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_reads_the_database() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start().await;
    drop(world.app());
    assert_eq!(world.wire.database.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// IBKR, and the disk of the application.
struct World {
    _directory: TempDir,
    credentials: Credentials,
    ibkr: Router,
    wire: Arc<Wire>,
}

/// What goes over the wire to IBKR, and what comes in between.
struct Wire {
    database: PathBuf,
    /// The paths of all requests.
    paths: Mutex<Vec<String>>,
    /// Of each request for a live session token: whether an access token was on the disk when it came.
    logins: Mutex<Vec<bool>>,
    /// Whether requests for a live session token get a 401.
    refuses_logins: AtomicBool,
    /// Whether requests for an access token are held up: `reached` says that one came, `opened` lets it pass.
    is_blocked: AtomicBool,
    reached: Notify,
    opened: Notify,
}

async fn pass(State(wire): State<Arc<Wire>>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path().to_owned();
    wire.paths.lock().unwrap().push(path.clone());
    if path.ends_with("/access_token") && wire.is_blocked.load(Ordering::SeqCst) {
        wire.reached.notify_one();
        wire.opened.notified().await;
    }
    if path.ends_with("/live_session_token") {
        wire.logins.lock().unwrap().push(has_access_token(&wire.database));
        if wire.refuses_logins.load(Ordering::SeqCst) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    next.run(request).await
}

fn has_access_token(database: &Path) -> bool {
    let read = |database: Connection| database.query_row("SELECT snapshot FROM connected", [], |row| row.get(0));
    let snapshot: String = Connection::open(database).and_then(read).unwrap_or_default();
    snapshot.contains("\"access_token\"")
}

impl World {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = OwnGateway::new(&listener, &format!("{PUBLIC_URL}/callback")).unwrap();
        let wire = Arc::new(Wire {
            database: directory.path().join("web_app.sqlite"),
            paths: Mutex::default(),
            logins: Mutex::default(),
            refuses_logins: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            reached: Notify::new(),
            opened: Notify::new(),
        });
        let ibkr = gateway.router();
        let behind_wire = ibkr.clone().layer(from_fn_with_state(Arc::clone(&wire), pass));
        tokio::spawn(axum::serve(listener, behind_wire).into_future());
        Self { _directory: directory, credentials: gateway.credentials, ibkr, wire }
    }

    /// The application, started on what is on the disk.
    fn app(&self) -> Router {
        self.app_at(PUBLIC_URL)
    }

    fn app_at(&self, public_url: &str) -> Router {
        let consumer = self.credentials.consumer().unwrap();
        App::new(consumer, Store::open(&self.wire.database).unwrap(), public_url).router()
    }
}

/// A browser with a cookie of its own.
struct Browser {
    app: Router,
    cookie: String,
}

impl Browser {
    fn without_cookie(app: &Router) -> Self {
        Self { app: app.clone(), cookie: String::new() }
    }

    /// Opens the first page.
    async fn open(app: &Router) -> Self {
        let mut browser = Self::without_cookie(app);
        let page = browser.get("/").await;
        browser.cookie = page.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        browser
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.send(Method::GET, path).await
    }

    async fn send(&self, method: Method, path: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(path).header(COOKIE, &self.cookie).body(Body::empty());
        self.app.clone().oneshot(request.unwrap()).await.unwrap()
    }

    /// Begins a login, agrees as `user`, and returns what IBKR redirects to.
    async fn consent(&self, world: &World, user: &str) -> String {
        self.decide(world, user, true).await
    }

    async fn decide(&self, world: &World, user: &str, agree: bool) -> String {
        let consent_page = location(&self.send(Method::POST, "/connect").await);
        let (_, query) = consent_page.split_once('?').unwrap();
        let ibkr = Self::without_cookie(&world.ibkr);
        let callback = location(&ibkr.get(&format!("/authorize?{query}&user={user}&agree={agree}")).await);
        callback.strip_prefix(PUBLIC_URL).unwrap().to_owned()
    }

    async fn come_back_and_list(&self, callback: &str) -> String {
        assert_eq!(location(&self.get(callback).await), "/accounts");
        text(self.get("/accounts").await).await
    }
}

fn location(response: &Response<Body>) -> String {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()[LOCATION].to_str().unwrap().to_owned()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}
