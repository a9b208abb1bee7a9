//! What the programs do to files: nothing that a user has is ever overwritten, and what they store outlasts the gateway that
//! issued it.
#![cfg(all(unix, feature = "http", feature = "http1", feature = "serde"))]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/driver.rs"]
mod driver;
mod support;
#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use credentials::{Credentials, USER};
use driver::{agent, drive, rng};
use ibkr_oauth::OAuthSession;
use ibkr_oauth_gateway::{Gateway, Incident, Server};
use rand::Rng;
use serde_json::{Map, Value, json};
use workplace::{Running, Workplace};

/// All names under which programs write.
const NAMES: [&str; 8] = [
    "credentials.json",
    "credentials.json.session",
    "private_signature.pem",
    "private_encryption.pem",
    "public_signature.pem",
    "public_encryption.pem",
    "dhparam.pem",
    "access_token_secret.txt",
];
const CALLBACK: &str = "http://localhost:20000/";

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o7777
}

/// The files of a folder, and what is in them.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| path.is_file());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read(&path).unwrap())).collect()
}

fn fields(file: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A folder in which somebody else has files of these names.
fn foreign_folder(workplace: &Workplace, names: &[&str]) -> PathBuf {
    let folder = PathBuf::from(workplace.file(&format!("foreign-{:016x}", rng().next_u64())));
    fs::create_dir(&folder).unwrap();
    for name in names {
        fs::write(folder.join(name), format!("somebody else's {name}\n")).unwrap();
    }
    folder
}

/// Runs a program that must fail, name a file that is in its way, and leave all files of the folder alone.
fn leaves_alone(workplace: &Workplace, folder: &Path, program: &str, arguments: &[&str]) {
    let before = contents(folder);
    let mut running = workplace.start(program, arguments);
    let failed = !running.end().success();
    let said = running.finish();
    let is_named = |name: &String| said.contains(folder.join(name).to_str().unwrap());
    assert!(failed && before.keys().any(is_named), "{program} {arguments:?}: {said}");
    let after = contents(folder);
    for (name, content) in &before {
        assert!(after.get(name) == Some(content), "{program} {arguments:?} has changed {name}");
    }
}

/// A set of credentials that its user needs, with its gateway.
fn precious(workplace: &Workplace) -> (Running, String) {
    let (gateway, _) = workplace.start_gateway(&[]);
    (gateway, workplace.file("credentials.json"))
}

#[test]
fn keys_of_somebody_else_are_safe_from_the_gateway() {
    let workplace = Workplace::new("foreign-keys");
    let all = [NAMES[0], NAMES[2], NAMES[3], NAMES[6]];
    let alone = all.iter().map(std::slice::from_ref);
    for names in alone.chain([&NAMES[..]]) {
        let folder = foreign_folder(&workplace, names);
        leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);
        assert_eq!(contents(&folder).len(), names.len(), "nothing is written beside them");
    }
    let folder = foreign_folder(&workplace, &[]);
    symlink("nowhere", folder.join("dhparam.pem")).unwrap();
    let said = workplace.run("gateway", &["--dir", folder.to_str().unwrap()]);
    assert!(said.contains("dhparam.pem") && fs::read_dir(&folder).unwrap().count() == 1, "{said}");
}

#[test]
fn real_credentials_are_safe_from_the_gateway() {
    let workplace = Workplace::new("real");
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    let credentials = Credentials::first_party(&mut gateway, "MYCONSKEY");
    let folder = foreign_folder(&workplace, &[]);
    let file = folder.join("credentials.json");
    credentials.write_new(&file);
    leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);

    // Of the gateway's name, but with keys, or an address, that it never made.
    let own = Credentials { consumer_key: "EXAMPLECO".to_string(), ..credentials };
    let another_key = Credentials { private_encryption_pem: "somebody else's".to_string(), ..own.clone() };
    let another_place = Credentials { base_url: "https://api.ibkr.com/v1/api".to_string(), ..own };
    for credentials in [another_key, another_place] {
        fs::remove_file(&file).unwrap();
        credentials.write_new(&file);
        leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);
        assert_eq!(contents(&folder).len(), 1);
    }
}

#[test]
fn files_of_somebody_else_are_safe_from_resume() {
    let workplace = Workplace::new("foreign");
    let (_gateway, credentials) = precious(&workplace);
    let folder = foreign_folder(&workplace, &NAMES);
    for name in NAMES {
        let store = folder.join(name);
        let arguments = ["--credentials", &credentials, "--store", store.to_str().unwrap()];
        leaves_alone(&workplace, &folder, "resume", &arguments);
    }
    let versioned = foreign_folder(&workplace, &["settings.json"]);
    fs::write(versioned.join("settings.json"), r#"{"version":1,"private":"key"}"#).unwrap();
    let store = versioned.join("settings.json");
    leaves_alone(
        &workplace,
        &versioned,
        "resume",
        &["--credentials", &credentials, "--store", store.to_str().unwrap()],
    );
    let own = Path::new(&credentials).parent().unwrap();
    for name in [NAMES[0], NAMES[2], NAMES[6]] {
        let store = workplace.file(name);
        leaves_alone(&workplace, own, "resume", &["--credentials", &credentials, "--store", &store]);
    }
}

/// What a gateway of an earlier run left is what a later one goes on with, whoever the party is.
#[test]
fn a_gateway_survives_a_restart() {
    let workplace = Workplace::new("restart");
    for (arguments, consents) in [(&[][..], false), (&["--callback", CALLBACK], true)] {
        let folder = foreign_folder(&workplace, &[]);
        let file = folder.join("credentials.json");
        let arguments = [&["--dir", folder.to_str().unwrap()], arguments].concat();
        let start = || {
            let gateway = workplace.start("gateway", &arguments);
            gateway.wait_for("listening on ");
            gateway
        };
        let log_in = || workplace.run("login", &["--credentials", file.to_str().unwrap()]);
        let gateway = start();
        if consents {
            store_access_token(&file);
        }
        drop(gateway);
        let before = contents(&folder);
        assert_eq!(before.len(), 4);
        assert_eq!(mode(&file), 0o600);
        fs::remove_file(folder.join("dhparam.pem")).unwrap();
        let gateway = start();
        assert!(contents(&folder) == before, "what was missing is there again, and nothing else has changed");
        let said = log_in();
        assert!(said.contains("DU1234567"), "{said}");
        drop(gateway);
        fs::write(folder.join("dhparam.pem"), "somebody else's").unwrap();
        leaves_alone(&workplace, &folder, "gateway", &arguments);
    }
}

/// Lets the user consent on the gateway's page, and puts the access token that comes of it into the file.
fn store_access_token(file: &Path) {
    let credentials = Credentials::read(file);
    let authorize_url = credentials.base_url.replace("/v1/api", "/authorize");
    let consumer = credentials.consumer().authorize_url(&authorize_url).build().unwrap();
    let (mut session, agent) = (OAuthSession::new(consumer), agent());
    drive(&mut session, &agent).unwrap();
    let approved = format!("{}&approve=", session.consent_url().unwrap());
    let redirection = agent.get(approved).call().unwrap();
    session.handle_callback(redirection.headers()["location"].to_str().unwrap()).unwrap();
    drive(&mut session, &agent).unwrap();
    let access_token = session.access_token().unwrap();
    let [token, secret] = [access_token.token(), access_token.secret().expose()].map(|text| Some(text.to_owned()));
    fs::remove_file(file).unwrap();
    Credentials { access_token: token, access_token_secret: secret, ..credentials }.write_new(file);
}

/// A first party's gateway, and its credentials in a file.
fn first_party(workplace: &Workplace) -> (Server, Credentials, PathBuf) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials::first_party(&mut server.gateway(), "SHAREDJOB");
    let file = foreign_folder(workplace, &[]).join("credentials.json");
    credentials.write_new(&file);
    (server, credentials, file)
}

#[test]
fn the_configured_access_token_goes_before_the_stored_one() {
    let workplace = Workplace::new("configured");
    let (server, credentials, file) = first_party(&workplace);
    let job = || workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(job().contains("logging in"));
    // The portal issues another secret, which voids the first; the token stays the same.
    let issued = server.gateway().issue_access_token("SHAREDJOB", USER, &mut rng()).unwrap();
    assert_eq!(Some(&issued.token), credentials.access_token.as_ref());
    let renewed = Credentials { access_token_secret: Some(issued.secret_base64), ..credentials };
    fs::remove_file(&file).unwrap();
    renewed.write_new(&file);
    for words in ["it has another access token than the credentials", "going on with the stored session"] {
        let said = job();
        assert!(said.contains(words) && said.contains("accounts DU1234567"), "{said}");
    }
    // Stored for another access token altogether.
    let store = file.with_extension("json.session");
    let mut stored = fields(&store);
    stored["access_token"]["token"] = json!("0".repeat(20));
    fs::write(&store, Value::Object(stored).to_string()).unwrap();
    let said = job();
    assert!(said.contains("another access token") && said.contains("accounts DU1234567"), "{said}");
}

#[test]
fn a_job_says_that_it_waits_for_another_and_waits_no_longer_than_it_may() {
    let workplace = Workplace::new("waiting");
    let (_server, _, file) = first_party(&workplace);
    let lock = file.with_extension("json.session.lock");
    let mut other = fd_lock::RwLock::new(File::create(&lock).unwrap());
    let other = other.write().unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
    let arguments = ["--credentials", file.to_str().unwrap()];
    let mut impatient = workplace.start("resume", &[&arguments[..], &["--patience", "1"]].concat());
    let patient = workplace.start("resume", &arguments);
    assert!(!impatient.end().success());
    let said = impatient.said();
    assert!(said.contains("waiting for another job"), "{said}");
    assert!(said.contains(&format!("another job still holds {} after 1 seconds", lock.display())), "{said}");
    patient.wait_for("waiting for another job");
    drop(other);
    let said = patient.finish();
    assert!(said.contains("accounts DU1234567"), "{said}");
    assert_eq!(mode(&lock), 0o600, "also if it was everybody's before");
}

#[test]
fn a_job_that_logs_in_keeps_others_out() {
    let workplace = Workplace::new("locked");
    let (server, _, file) = first_party(&workplace);
    let silent = server.gateway();
    let job = workplace.start("resume", &["--credentials", file.to_str().unwrap()]);
    job.wait_for("logging in");
    let lock = File::open(file.with_extension("json.session.lock")).unwrap();
    assert!(fd_lock::RwLock::new(&lock).try_write().is_err());
    drop(silent);
    assert!(job.finish().contains("accounts DU1234567"));
    assert!(fd_lock::RwLock::new(&lock).try_write().is_ok());
}

#[test]
fn jobs_that_meet_one_dead_token_log_in_once() {
    let workplace = Workplace::new("dead");
    let (server, _, file) = first_party(&workplace);
    let arguments = ["--credentials", file.to_str().unwrap()];
    assert!(workplace.run("resume", &arguments).contains("accounts DU1234567"));
    let mut silent = server.gateway();
    silent.schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    let jobs: Vec<Running> = (0..4).map(|_| workplace.start("resume", &arguments)).collect();
    for job in &jobs {
        job.wait_for("going on with the stored session");
    }
    drop(silent);
    let said: Vec<String> = jobs.into_iter().map(Running::finish).collect();
    assert!(said.iter().all(|said| said.contains("accounts DU1234567")), "{said:?}");
    let count = |words: &str| said.iter().filter(|said| said.contains(words)).count();
    assert_eq!((count("logging in"), count("another job has replaced")), (1, 3), "{said:?}");
}

#[test]
fn what_resume_writes_is_its_owners_only() {
    let workplace = Workplace::new("owners");
    let (_server, _, file) = first_party(&workplace);
    let store = file.with_extension("json.session");
    let said = workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(said.contains("accounts DU1234567"), "{said}");
    for path in [&store, &file.with_extension("json.session.lock")] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    // What a crash of the machine has emptied is as good as none.
    fs::write(&store, "").unwrap();
    let said = workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(said.contains("accounts DU1234567") && !fields(&store).is_empty(), "{said}");
}
