//! What the example `resume` does to files: nothing that a user has is ever overwritten, and jobs that share one store log in
//! once.
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
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use credentials::{Credentials, USER};
use driver::rng;
use ibkr_oauth_gateway::{Incident, Server};
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

#[test]
fn files_of_somebody_else_are_safe_from_resume() {
    let workplace = Workplace::new("foreign");
    let (_server, own, credentials) = first_party(&workplace);
    let own_folder = credentials.parent().unwrap();
    fs::write(own_folder.join(NAMES[2]), own.private_signature_pem).unwrap();
    fs::write(own_folder.join(NAMES[6]), own.dhparam_pem).unwrap();
    let credentials = credentials.to_str().unwrap();
    let folder = foreign_folder(&workplace, &NAMES);
    for name in NAMES {
        let store = folder.join(name);
        let arguments = ["--credentials", credentials, "--store", store.to_str().unwrap()];
        leaves_alone(&workplace, &folder, "resume", &arguments);
    }
    let versioned = foreign_folder(&workplace, &["settings.json"]);
    fs::write(versioned.join("settings.json"), r#"{"version":1,"private":"key"}"#).unwrap();
    let store = versioned.join("settings.json");
    leaves_alone(&workplace, &versioned, "resume", &["--credentials", credentials, "--store", store.to_str().unwrap()]);
    for name in [NAMES[0], NAMES[2], NAMES[6]] {
        let store = own_folder.join(name);
        let arguments = ["--credentials", credentials, "--store", store.to_str().unwrap()];
        leaves_alone(&workplace, own_folder, "resume", &arguments);
    }
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
    assert_eq!(issued.token, credentials.access_token);
    let renewed = Credentials { access_token_secret: issued.secret_base64, ..credentials };
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
