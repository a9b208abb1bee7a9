//! Nothing that a user has is ever overwritten.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::support::{World, contents};

const OF_GATEWAY: [&str; 5] =
    ["credentials.json", "gateway-state.json", "private_signature.pem", "private_encryption.pem", "dhparam.pem"];
const OF_KEYGEN: [&str; 5] =
    ["private_signature.pem", "private_encryption.pem", "public_signature.pem", "public_encryption.pem", "dhparam.pem"];

/// A folder in which somebody else has files of these names.
fn foreign_folder(world: &World, name: &str, files: &[&str]) -> String {
    fs::create_dir(world.file(name)).unwrap();
    for file in files {
        fs::write(world.file(name).join(file), format!("mine: {file}\n")).unwrap();
    }
    world.path(name)
}

/// Runs the program, which must fail, name a file that is in its way, and change none.
fn leaves_alone(world: &World, folder: &str, arguments: &[&str]) {
    let before = contents(folder);
    let ran = world.run(arguments).ends_with(8);
    assert!(before.keys().any(|name| ran.stderr.contains(&format!("{folder}/{name}"))), "{ran:?}");
    let after = contents(folder);
    for (name, content) in &before {
        assert!(after.get(name) == Some(content), "{arguments:?} has changed {name}");
    }
}

#[test]
fn files_of_somebody_else_are_safe_from_gateway_and_keygen() {
    let world = World::new("foreign");
    let mut number = 0;
    for (command, names) in [("gateway", &OF_GATEWAY[..]), ("keygen", &OF_KEYGEN[..])] {
        let alone = names.iter().map(std::slice::from_ref);
        for names in alone.chain([names]) {
            number += 1;
            let folder = foreign_folder(&world, &number.to_string(), names);
            leaves_alone(&world, &folder, &[command, "--dir", &folder]);
            assert_eq!(contents(&folder).len(), names.len(), "nothing is written beside them");
        }
        let folder = foreign_folder(&world, &format!("link-{command}"), &[]);
        symlink("nowhere", Path::new(&folder).join("dhparam.pem")).unwrap();
        world.run(&[command, "--dir", &folder]).ends_with(8).says("dhparam.pem");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
    let made = world.path("made");
    world.run(&["keygen", "--group", "rfc3526-14", "--dir", &made]).ends_with(0);
    assert_eq!(contents(&made).len(), 5);
    leaves_alone(&world, &made, &["keygen", "--dir", &made]);
    leaves_alone(&world, &made, &["gateway", "--dir", &made]);
}

#[test]
fn files_of_somebody_else_are_safe_from_a_third_partys_login() {
    let world = World::new("foreign-credentials");
    let names =
        [&OF_GATEWAY[..], &OF_KEYGEN, &["credentials.toml", "credentials.json.session", "access_token_secret.txt"]]
            .concat();
    let folder = foreign_folder(&world, "theirs", &names);
    let before = contents(&folder);
    for name in names {
        let file = format!("{folder}/{name}");
        let login = ["login", "--third-party", "--port", "0", "--credentials", &file];
        world.run(&login).ends_with(3).says(&file);
        assert!(contents(&folder) == before, "{name}");
    }
}

#[test]
fn real_credentials_are_safe_from_the_gateway() {
    let world = World::new("real");
    let changes = [
        ("consumer_key", json!("MYCONSKEY")),
        ("private_encryption_pem", json!("somebody else's")),
        ("dhparam_pem", json!("somebody else's")),
        ("base_url", json!("https://api.ibkr.com/v1/api")),
    ];
    for (field, value) in changes {
        let folder = foreign_folder(&world, field, &[]);
        world.damaged(&format!("{field}/credentials.json"), &[(field, value)]);
        leaves_alone(&world, &folder, &["gateway", "--listen", "127.0.0.1:0", "--dir", &folder]);
        assert_eq!(contents(&folder).len(), 1);
    }
}

/// Whoever the party is.
#[test]
fn another_start_of_the_gateway_writes_what_is_missing_and_no_more() {
    let world = World::new("again");
    for (name, callback) in [("first-party", &[][..]), ("third-party", &["--callback", "http://localhost:20000/"])] {
        let folder = world.path(name);
        let arguments = [&["gateway", "--dir", &folder], callback].concat();
        let gateway = world.start(&arguments);
        gateway.wait_for("listening on ");
        gateway.terminate().ends_with(0);
        let before = contents(Path::new(&folder));
        assert_eq!(before.len(), 5);
        for file in before.keys() {
            assert_eq!(fs::metadata(Path::new(&folder).join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
        }
        fs::remove_file(Path::new(&folder).join("dhparam.pem")).unwrap();
        let gateway = world.start(&arguments);
        gateway.wait_for("listening on ");
        assert!(
            contents(Path::new(&folder)) == before,
            "what was missing is there again, and nothing else has changed"
        );
        gateway.terminate().ends_with(0);
        world.write(&format!("{name}/dhparam.pem"), "somebody else's");
        leaves_alone(&world, &folder, &arguments);
    }
}

#[test]
fn a_state_that_no_gateway_can_read_is_named_and_left_alone() {
    let world = World::new("state");
    let arguments = ["gateway", "--dir", "gateway"];
    let gateway = world.start(&arguments);
    gateway.wait_for("listening on ");
    world.run(&["login", "--credentials", "gateway/credentials.json"]).ends_with(0);
    gateway.terminate().ends_with(0);
    let (folder, state) = (world.path("gateway"), world.read("gateway/gateway-state.json"));
    assert_eq!(fs::metadata(world.file("gateway/gateway-state.json")).unwrap().mode() & 0o777, 0o600);
    for damaged in ["", &state[..state.len() / 2], &state.replace("gateway 1", "gateway 2"), r#"{"theme":"dark"}"#] {
        world.write("gateway/gateway-state.json", damaged);
        leaves_alone(&world, &folder, &["gateway", "--dir", &folder]);
        world.run(&arguments).ends_with(8).says("is not the state of a gateway");
    }
    fs::remove_file(world.file("gateway/gateway-state.json")).unwrap();
    symlink("nowhere", world.file("gateway/gateway-state.json")).unwrap();
    world.run(&arguments).ends_with(8).says("gateway-state.json is there already");
    fs::remove_file(world.file("gateway/gateway-state.json")).unwrap();
    world.write("gateway/gateway-state.json", &state);
    world.start(&arguments).wait_for("listening on ");
}

#[test]
fn repairs_go_into_new_files_only_and_for_their_owner() {
    let world = World::new("repairs");
    let fields = world.credentials();
    let escaped = |name: &str| json!(fields[name].as_str().unwrap().replace('\n', "\\n"));
    let names = ["private_signature_pem", "private_encryption_pem", "dhparam_pem"];
    let damaged = world.damaged("damaged.json", &names.map(|name| (name, escaped(name))));
    let repair = |folder: &str| ["doctor", "--credentials", &damaged, "--repair", folder].map(str::to_owned);
    let all = foreign_folder(&world, "all", &OF_GATEWAY);
    leaves_alone(&world, &all, &repair(&all).each_ref().map(String::as_str));
    let last = foreign_folder(&world, "last", &["dhparam.pem"]);
    leaves_alone(&world, &last, &repair(&last).each_ref().map(String::as_str));
    let repaired = Path::new(&last).join("private_signature.pem");
    assert_eq!(fs::read_to_string(&repaired).unwrap(), fields["private_signature_pem"].as_str().unwrap());
    assert_eq!(fs::metadata(&repaired).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_secret_is_for_its_owner_only() {
    let world = World::new("modes");
    world.run(&["keygen", "--group", "rfc3526-14", "--dir", "keys"]).ends_with(0);
    world.run(&["login"]).ends_with(0);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    for name in &OF_KEYGEN[..2] {
        assert_eq!(mode(&world.file("keys").join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&world.session_file()), 0o600);
    assert_eq!(mode(&world.file("store")), 0o700);
}
