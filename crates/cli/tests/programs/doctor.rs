//! What the doctor says, and in which form.

use serde_json::{Value, json};

use crate::support::World;

/// Files of credentials, damaged as users damage theirs, each with the exit code of the doctor.
pub fn damaged_files(world: &World) -> Vec<(String, i32)> {
    let whole = world.credentials();
    let text = |name: &str| whole[name].as_str().unwrap().to_owned();
    let half = |name: &str| json!(text(name)[..text(name).len() / 2]);
    let (signature, encryption) = ("private_signature_pem", "private_encryption_pem");
    let private_key = text(signature);
    vec![
        (world.damaged("swapped.json", &[(signature, json!(text(encryption))), (encryption, json!(private_key))]), 3),
        (
            world.damaged(
                "exchanged.json",
                &[("access_token", json!(text("access_token_secret"))), ("realm", json!(text("access_token")))],
            ),
            3,
        ),
        (world.damaged("key.json", &[("consumer_key", json!(private_key))]), 3),
        (world.damaged("url.json", &[("base_url", json!(text("access_token_secret")))]), 3),
        (world.damaged("half-secret.json", &[("access_token_secret", half("access_token_secret"))]), 3),
        (world.damaged("half-key.json", &[(encryption, half(encryption))]), 3),
        (world.damaged("escaped.json", &[(signature, json!(private_key.replace('\n', "\\n")))]), 3),
        (world.write("half.json", &world.read("credentials.json")[..2000]), 3),
        (world.write("key.pem", &private_key), 3),
    ]
}

#[test]
fn damage_to_credentials_is_found_and_nothing_of_them_said() {
    let world = World::new("damaged");
    for (file, code) in damaged_files(&world) {
        world.run(&["doctor", "--credentials", &file]).ends_with(code);
        let said = world.run(&["doctor", "--credentials", &file, "--json"]).ends_with(code).json();
        assert!(said["worst"] == "error" || said["error"]["kind"] == "credentials", "{said}");
        let said = world.run(&["login", "--credentials", &file]);
        assert!(matches!(said.code, 3 | 4) && said.stderr.starts_with("error: "), "{said:?}");
    }
    world.run(&["doctor"]).ends_with(0).says("encryption key decrypts the access token secret");
    let lower_case = world.damaged("lower.json", &[("consumer_key", json!("exampleco"))]);
    world.run(&["doctor", "--credentials", &lower_case]).ends_with(1).says("rite it in upper case");
    let report = world.run(&["doctor", "--json"]).ends_with(0).json();
    assert_eq!(report["fingerprints"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_login_with_half_a_secret_ends_with_what_the_doctor_says() {
    let world = World::new("opinion");
    let secret = world.credentials()["access_token_secret"].as_str().unwrap().to_owned();
    let half = world.damaged("half.json", &[("access_token_secret", json!(secret[..secret.len() / 2]))]);
    let said = world.run(&["login", "--credentials", &half]).ends_with(3);
    assert!(said.stderr.contains("SecretTruncated"), "{said:?}");
    // As IBKR says it of a consumer key that is not active yet.
    let unknown = world.damaged("unknown.json", &[("consumer_key", json!("SOMEOTHER"))]);
    world.run(&["login", "--credentials", &unknown]).ends_with(4).says("In short: ").says("invalid consumer");
}

#[test]
fn keys_are_made_once_and_please_the_doctor() {
    let world = World::new("keys");
    let keygen = ["keygen", "--group", "rfc3526-14", "--dir", "keys"];
    world.run(&keygen).ends_with(0).says("To upload:");
    world.run(&keygen).ends_with(8).says("no keys were made").says("private_signature.pem");
    world.run(&["doctor", "--dir", "keys"]).ends_with(1).says("the public signature key");
    let made = world.run(&["keygen", "--group", "rfc3526-14", "--dir", "more", "--json"]).ends_with(0).json();
    let paths = |name: &str| made[name].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned());
    for path in paths("private").chain(paths("to_upload")) {
        assert!(world.file(&path).exists(), "{path}");
    }
    assert_eq!(paths("to_upload").len(), 3);
    let is_hash = |made: &Value| made["sha256"].as_str().is_some_and(|hash| hash.len() == 64);
    assert!(made["fingerprints"].as_array().unwrap().iter().all(is_hash));
}

#[test]
fn the_demonstration_shows_a_healthy_set_and_a_broken_one() {
    let world = World::new("doctor-demo");
    let said = world.run(&["doctor", "--demo"]).ends_with(0);
    let (healthy, broken) = said.stdout.split_once("broken on purpose").unwrap();
    assert!(healthy.contains("Nothing is wrong") && broken.contains("No login can work"), "{said:?}");
}

#[test]
fn colours_and_signs_of_life_are_for_terminals() {
    let world = World::new("colours");
    for arguments in [&["doctor"][..], &["login", "--credentials", "nowhere"], &["--help"], &["login"]] {
        let said = world.run(arguments);
        assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{said:?}");
    }
    let mut command = world.command(&["login", "--credentials", "nowhere"]);
    command.env("CLICOLOR_FORCE", "1");
    let said = world.run_on(command).end();
    assert!(said.stderr.starts_with("\u{1b}[1m\u{1b}[31merror\u{1b}[0m: "), "{said:?}");
}
