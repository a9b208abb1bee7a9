//! The access token that comes of a user's consent is stored before anything else is done with it: no power failure, kill or
//! full disk loses it, or anything else in the file of credentials.
//!
//! `KILLS=200 cargo test -p ibkr-oauth-cli no_kill -- --nocapture` kills more often, and says what it found.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use getrandom::SysRng;
use getrandom::rand_core::{Rng, UnwrapErr};
use ibkr_oauth_gateway::{Consent, Incident};

use crate::consent::{
    THIRD_PARTY_LOGIN, TOKEN_REQUEST, agree, consent_page, decide, page_in, third_party, without_access_token,
};
use crate::support::{LOGIN, World, contents};

const NOBODY: u32 = 65534;

fn is_root(file: &Path) -> bool {
    fs::metadata(file).unwrap().uid() == 0
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o7777
}

fn access_token(world: &World) -> Option<String> {
    Some(world.credentials().get("access_token")?.as_str()?.to_owned())
}

/// As if it had been written long before a program runs that cleans up.
fn age(file: &Path) {
    File::open(file).unwrap().set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
}

/// Whether a program is installed, and works.
fn can(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The login by way of another program with these arguments, which starts `ibkr_oauth` with somebody at the keyboard.
fn login_by(world: &World, program: &str, arguments: &[&str], ibkr_oauth: &Path) -> Command {
    let login = world.command(&THIRD_PARTY_LOGIN);
    let mut command = Command::new(program);
    command.args(arguments).arg(ibkr_oauth).args(login.get_args()).env_clear().env("PATH", "/usr/bin:/bin");
    command.envs(login.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(login.get_current_dir().unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const IBKR_OAUTH: &str = env!("CARGO_BIN_EXE_ibkr-oauth");

#[test]
fn an_access_token_is_stored_before_anything_else_is_sent() {
    let world = third_party("stored-at-once");
    let (stored, file) = (Arc::new(Mutex::new(None)), world.file("credentials.json"));
    let seen = Arc::clone(&stored);
    world.watch(move |sent| {
        if sent.contains(LOGIN) {
            *seen.lock().unwrap() = Some(fs::read(&file).unwrap());
        }
    });
    let stored_in = format!("The access token is stored in {}", world.path("credentials.json"));
    agree(&world, world.start_with_keyboard(&THIRD_PARTY_LOGIN)).ends_with(0).says(&stored_in).says("DU1234567");
    let stored = stored.lock().unwrap().take();
    assert!(access_token(&world).is_some() && stored == Some(fs::read(world.file("credentials.json")).unwrap()));
    // No consent is needed again, and one login was enough.
    for arguments in [&["login"][..], &THIRD_PARTY_LOGIN] {
        world.run(arguments).ends_with(0).says("Still logged in").says("DU1234567");
    }
    assert_eq!((world.count(TOKEN_REQUEST), world.count(LOGIN)), (1, 1));
}

#[test]
fn an_access_token_is_kept_though_the_login_after_it_fails() {
    let world = third_party("stored-unused");
    world.happens(Incident::OddResponse {
        endpoint: "/oauth/live_session_token".into(),
        status: 401,
        body: "{}".into(),
        lasts: Duration::MAX,
    });
    agree(&world, world.start_with_keyboard(&THIRD_PARTY_LOGIN)).ends_with(4).says("is stored in");
    assert!(world.credentials()["access_token_secret"].is_string());
}

#[test]
fn storing_keeps_links_owner_mode_and_unknown_fields() {
    let world = third_party("stored-kept");
    let original = world.credentials();
    let note = r#"{ "b": 12345678901234567890.00, "a": [ 1e400, "\u00e4" ] }"#;
    let unknown = format!(r#"{{ "note" : {note}, "access_token": null,"#);
    let file = world.file("credentials.json");
    world.write("credentials.json", &world.read("credentials.json").replacen('{', &unknown, 1));
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    if is_root(&file) {
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    } else {
        println!("skipped: only root can try another owner");
    }
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    let before = (owner(&file), mode(&file));
    // Left over by a program that was killed; being written by one that runs; of somebody else.
    let [old, young, foreign] = ["aB3456789012.ibkr-oauth.tmp", "bB3456789012.ibkr-oauth.tmp", "backup.ibkr-oauth.tmp"]
        .map(|end| world.write(&format!(".credentials.json.{end}"), "half"));
    for path in [&old, &foreign] {
        age(path.as_ref());
    }
    fs::create_dir(world.file("links")).unwrap();
    let link = world.file("links/link.json");
    symlink(&file, &link).unwrap();

    let login = [&THIRD_PARTY_LOGIN[..], &["--credentials", link.to_str().unwrap()]].concat();
    agree(&world, world.start_with_keyboard(&login)).ends_with(0).says("DU1234567");
    assert_eq!(fs::read_link(&link).unwrap(), file);
    assert_eq!((owner(&file), mode(&file)), before);
    let is_there = |path: &String| Path::new(path).exists();
    assert!(!is_there(&old) && is_there(&young) && is_there(&foreign));
    assert_eq!(contents(world.file("")).len(), 3);
    let text = world.read("credentials.json");
    assert!(text.contains(note), "{text}");
    // No parser holds that number.
    world.write("credentials.json", &text.replace(note, "1"));
    assert!(access_token(&world).is_some());
    let mut kept = without_access_token(&world);
    kept.remove("note");
    assert!(kept == original);
}

#[test]
fn a_file_in_toml_keeps_its_comments_and_is_not_for_everybody() {
    let world = third_party("stored-toml");
    let fields = world.credentials();
    let text = |name: &str| fields[name].as_str().unwrap();
    for name in ["private_signature_pem", "private_encryption_pem", "dhparam_pem"] {
        world.write(name, text(name));
    }
    let toml = format!(
        "# Of my own.\nconsumer_key = \"{}\"\nprivate_signature_pem_file = 'private_signature_pem'\n\
         private_encryption_pem_file = 'private_encryption_pem' # here\ndhparam_pem_file = 'dhparam_pem'\n\
         base_url = \"{}\"\n[mine]\nnote = 'kept'\n",
        text("consumer_key"),
        text("base_url"),
    );
    let file = world.write("credentials.toml", &toml);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let login = [&THIRD_PARTY_LOGIN[..], &["--credentials", &file]].concat();
    agree(&world, world.start_with_keyboard(&login)).ends_with(0).says("DU1234567");
    let stored = world.read("credentials.toml");
    assert!(stored.starts_with("access_token = \"") && stored.ends_with(&toml), "{stored}");
    assert_eq!(mode(file.as_ref()), 0o640, "there is a secret in it now");
    world.run(&["login", "--credentials", &file]).ends_with(0).says("Still logged in");
}

/// So that a power failure, which no test can make, finds the old file or the new one.
#[test]
fn file_and_folder_are_synced_around_the_replacement() {
    let world = third_party("stored-synced");
    fs::create_dir(world.file("traces")).unwrap();
    let trace = world.path("traces/of-thread");
    // A file for each thread, so that no line is torn apart.
    let tracing = ["-ff", "-y", "-e", "trace=fsync,/^rename", "-o", &trace];
    if !can("strace", &[&tracing[..], &["true"]].concat()) {
        return println!("skipped: needs strace");
    }
    let traced = login_by(&world, "strace", &tracing, IBKR_OAUTH.as_ref());
    agree(&world, world.run_on(traced)).ends_with(0).says("DU1234567");

    let is_replacement = |call: &str| call.contains("rename") && call.contains("/credentials.json\") = 0");
    let folder = format!("<{}>) = 0", world.file("credentials.json").parent().unwrap().display());
    let mut replacements = 0;
    for trace in contents(world.file("traces")).into_values().map(|trace| String::from_utf8(trace).unwrap()) {
        let calls = trace.lines().filter(|call| call.contains("fsync(") || call.contains("rename"));
        let calls: Vec<&str> = calls.collect();
        for place in (0..calls.len()).filter(|&place| is_replacement(calls[place])) {
            replacements += 1;
            assert!(calls[place - 1].contains(".ibkr-oauth.tmp>) = 0"), "{trace}");
            assert!(calls[place + 1].contains(&folder), "{trace}");
        }
    }
    assert_eq!(replacements, 2, "by itself, and with the access token");
}

/// Nobody is asked for a consent that comes to nothing.
fn refuses_before_it_asks(world: &World, login: Command, file: &Path, before: &BTreeMap<String, Vec<u8>>) {
    let refused = world.run_on(login).end().ends_with(8).says("no consent is asked for");
    let refused = refused.says(&format!("cannot change {}", file.display()));
    assert!(!refused.stdout.contains("oauth_token"), "{refused:?}");
    assert!(contents(file.parent().unwrap()) == *before, "a file has changed, or is left over");
    assert_eq!(world.count("/oauth/"), 0);
}

/// With a limit on the size of files in place of a disk that is full.
#[test]
fn on_a_full_disk_nobody_is_asked_for_consent() {
    let world = third_party("stored-full");
    // The file fits, and the access token would not.
    world.write("credentials.json", &format!("{:8192}", world.read("credentials.json")));
    let file = world.file("credentials.json");
    assert_eq!(fs::metadata(&file).unwrap().len(), 8192);
    let before = contents(world.file(""));
    for blocks in ["16", "4"] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let limited = login_by(&world, "/bin/sh", &["-c", &script], IBKR_OAUTH.as_ref());
        refuses_before_it_asks(&world, limited, &file, &before);
    }
}

#[test]
fn in_a_folder_that_cannot_be_written_nobody_is_asked_for_consent() {
    let world = third_party("stored-read-only");
    // Nobody may look into the folders above the world's own. What is random in this one's name is too short for a secret.
    let folder = tempfile::Builder::new().suffix("-").tempdir().unwrap();
    let (file, program) = (folder.path().join("credentials.json"), folder.path().join("ibkr-oauth"));
    fs::copy(world.file("credentials.json"), &file).unwrap();
    // By another process: no program can be started that somebody has open for writing, and a fork of this one would.
    assert!(can("cp", &[IBKR_OAUTH, program.to_str().unwrap()]));
    let is_root = is_root(&file);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let mut login = if is_root {
        if !can("setpriv", &["--version"]) {
            return println!("skipped: root may write anywhere, and there is no setpriv to be somebody else");
        }
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        login_by(&world, "setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"], &program)
    } else {
        world.command(&THIRD_PARTY_LOGIN)
    };
    login.env("IBKR_CREDENTIALS", &file).current_dir(&folder);
    let before = contents(&folder);
    refuses_before_it_asks(&world, login, &file, &before);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_access_token_that_does_not_arrive_is_said_not_to_be_stored() {
    let world = third_party("stored-never");
    let before = contents(world.file(""));
    let mut login = world.start_with_keyboard(&THIRD_PARTY_LOGIN);
    let callback = decide(&world, &consent_page(&login), Consent::Grant);
    login.types(&callback.replace("oauth_verifier=", "oauth_verifier=0"));
    let as_it_was = format!("No access token has arrived: {} is as it was", world.path("credentials.json"));
    login.end().ends_with(4).says(&as_it_was);
    assert!(contents(world.file("")) == before);
}

#[test]
fn an_access_token_that_cannot_be_stored_is_said_to_be_lost() {
    let world = third_party("stored-lost");
    let file = world.file("own/credentials.json");
    fs::create_dir(world.file("own")).unwrap();
    fs::copy(world.file("credentials.json"), &file).unwrap();
    let login = [&THIRD_PARTY_LOGIN[..], &["--credentials", file.to_str().unwrap()]].concat();
    let mut login = world.start_with_keyboard(&login);
    let callback = decide(&world, &consent_page(&login), Consent::Grant);
    fs::rename(world.file("own"), world.file("elsewhere")).unwrap();
    login.types(&callback);
    login.end().ends_with(8).says(&format!("is NOT stored in {}", file.display()));
    assert_eq!(world.count(LOGIN), 0);
}

/// How long a run took that may have been killed, and since when the user had consented.
struct Took {
    whole: Duration,
    after_consent: Option<Duration>,
}

/// Asks and consents, with a kill so long after the start or after the consent.
fn run_and_kill(world: &World, after_start: Option<Duration>, after_consent: Option<Duration>) -> Took {
    let started = Instant::now();
    let mut login = world.start_with_keyboard(&THIRD_PARTY_LOGIN);
    let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut deadline = after_start.map(|time| started + time);
    let mut consented = None;
    while !is_over(deadline) && !login.has_ended() {
        if let (None, Some(page)) = (consented, page_in(&login.said())) {
            login.types(&decide(world, &page, Consent::Grant));
            consented = Some(Instant::now());
            deadline = deadline.or(after_consent.map(|time| Instant::now() + time));
        }
        thread::sleep(Duration::from_micros(500));
    }
    // Which kills it.
    drop(login);
    Took { whole: started.elapsed(), after_consent: consented.map(|consented| consented.elapsed()) }
}

/// Kills the login at random moments: half of them anywhere, half of them between the consent and the end.
#[test]
fn no_kill_loses_a_stored_token_or_damages_a_file() {
    let kills = std::env::var("KILLS").map_or(6, |kills| kills.parse().unwrap());
    let world = third_party("stored-killed");
    let (file, original) = (world.file("credentials.json"), world.credentials());
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let fresh = world.read("credentials.json");
    let sent = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&sent);
    world.watch(move |request| seen.lock().unwrap().push_str(request));
    let run = |after_start, after_consent| {
        world.write("credentials.json", &fresh);
        let _ = fs::remove_dir_all(world.file("store"));
        sent.lock().unwrap().clear();
        run_and_kill(&world, after_start, after_consent)
    };
    let took = run(None, None);
    assert!(access_token(&world).is_some());

    let [mut stored, mut in_between] = [0; 2];
    for number in 0..kills {
        let moment = |most: Duration| most.mul_f64(f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX) * 1.1);
        match number % 2 {
            0 => run(Some(moment(took.whole)), None),
            _ => run(None, Some(moment(took.after_consent.unwrap()))),
        };
        assert!(without_access_token(&world) == original, "a file is damaged");
        assert_eq!(mode(&file), 0o600);
        let sent = sent.lock().unwrap().clone();
        let is_sent = |endpoint: &str| sent.contains(&format!("/oauth/{endpoint} "));
        let is_stored = access_token(&world).is_some();
        assert!(is_stored || !is_sent("live_session_token"), "a token was used before it was stored");
        if is_stored {
            stored += 1;
            world.run(&["login"]).ends_with(0).says("DU1234567");
        } else if is_sent("access_token") {
            in_between += 1;
        }
    }
    let names = contents(world.file("")).into_keys();
    let left_over = names.filter(|name| name != "credentials.json").map(|name| age(&world.file(&name))).count();
    run(None, None);
    assert_eq!(contents(world.file("")).len(), 1, "what killed programs leave is cleaned up by the next");
    println!("{kills} kills: {stored} tokens stored, {in_between} on their way, {left_over} temporary files left over");
}
