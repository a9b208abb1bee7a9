//! Credentials: from wherever people keep them, with errors that name the place and no secret.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ibkr_oauth_tokio::ibkr_oauth::{AccessToken, ApiRequest, Client};
use ibkr_oauth_tokio::{Credentials, CredentialsError, WebApi};
use serde_json::{Map, Value, json};
use tempfile::{TempDir, tempdir};

use crate::support::server::Server;
use crate::support::{CONSUMER_KEY, Enrolled, keys, soon, start};

const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");
/// The prime of [`keys`].
const PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
    ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
    ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f\
    83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
    e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510\
    15728e5a8aacaa68ffffffffffffffff";

/// An environment of a test's own.
type Variables = HashMap<&'static str, String>;

fn from(variables: &Variables) -> Result<Credentials, CredentialsError> {
    Credentials::from_variables(|name| variables.get(name).map(OsString::from))
}

fn error_of(variables: &Variables) -> String {
    let error = from(variables).and_then(|credentials| credentials.session()).map(|_| ()).unwrap_err();
    for error in [error.to_string(), format!("{error:?}")] {
        for secret in [&keys().private_signature_pem, &keys().private_encryption_pem, &"c0ffee".repeat(4)] {
            let beginning = secret.lines().find(|line| !line.starts_with('-')).unwrap().to_owned();
            assert!(!error.contains(&beginning), "{error}");
        }
    }
    error.to_string()
}

async fn logs_in(credentials: Credentials) {
    let client = Client::new(credentials.session().unwrap()).without_brokerage_session();
    soon(start(WebApi::builder(client)).request(&ACCOUNTS)).await.unwrap();
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn toml(enrolled: &Enrolled) -> String {
    format!(
        "consumer_key = \"{CONSUMER_KEY}\"\nbase_url = \"{}\"\naccess_token = \"{}\"\n\
         access_token_secret_file = \"secret.txt\" # beside this file\ndhparam_pem = \"\"\"\n{}\"\"\"\n\
         private_signature_pem = '''\n{}'''\nprivate_encryption_pem_file = \"keys/encryption.pem\"\n",
        enrolled.base_url,
        enrolled.token,
        keys().dhparam_pem,
        keys().private_signature_pem,
    )
}

fn own_variables(enrolled: &Enrolled) -> Variables {
    HashMap::from([
        ("IBKR_OAUTH_CONSUMER_KEY", CONSUMER_KEY.to_owned()),
        ("IBKR_OAUTH_ACCESS_TOKEN", enrolled.token.clone()),
        ("IBKR_OAUTH_ACCESS_TOKEN_SECRET", enrolled.secret.clone()),
        ("IBKR_OAUTH_PRIVATE_SIGNATURE_PEM", keys().private_signature_pem.replace('\n', "\\n")),
        ("IBKR_OAUTH_PRIVATE_ENCRYPTION_PEM", keys().private_encryption_pem.clone()),
        ("IBKR_OAUTH_DHPARAM_PEM", keys().dhparam_pem.clone()),
        ("IBKR_OAUTH_BASE_URL", enrolled.base_url.clone()),
    ])
}

#[tokio::test]
async fn a_file_in_json_or_toml_logs_in() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let json = write(&folder, "credentials.json", &server.enrolled.json());
    logs_in(Credentials::from_file(json).unwrap()).await;

    fs::create_dir(folder.path().join("keys")).unwrap();
    write(&folder, "keys/encryption.pem", &keys().private_encryption_pem);
    write(&folder, "secret.txt", &format!("{}\n", server.enrolled.secret));
    let toml = write(&folder, "credentials.toml", &toml(&server.enrolled));
    logs_in(Credentials::from_file(toml).unwrap()).await;
}

#[tokio::test]
async fn variables_log_in_and_so_do_those_of_ibind() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let enrolled = &server.enrolled;
    logs_in(from(&own_variables(enrolled)).unwrap()).await;

    let key = write(&folder, "private_signature.pem", &keys().private_signature_pem);
    let ibind = HashMap::from([
        ("IBIND_OAUTH1A_CONSUMER_KEY", CONSUMER_KEY.to_owned()),
        ("IBIND_OAUTH1A_ACCESS_TOKEN", enrolled.token.clone()),
        ("IBIND_OAUTH1A_ACCESS_TOKEN_SECRET", enrolled.secret.clone()),
        ("IBIND_OAUTH1A_SIGNATURE_KEY_FP", key.to_str().unwrap().to_owned()),
        ("IBIND_OAUTH1A_ENCRYPTION_KEY", keys().private_encryption_pem.clone()),
        ("IBIND_OAUTH1A_DH_PRIME", PRIME.to_owned()),
        ("IBIND_OAUTH1A_DH_GENERATOR", "2".to_owned()),
        ("IBIND_OAUTH1A_REALM", "limited_poa".to_owned()),
        ("IBIND_OAUTH1A_REST_URL", format!("{}/", enrolled.base_url)),
    ]);
    logs_in(from(&ibind).unwrap()).await;
}

#[tokio::test]
async fn secrets_in_files_log_in_and_variables_go_before_the_file() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let mut variables = own_variables(&server.enrolled);
    let secret = write(&folder, "secret", &format!("\n{}\r\n", variables["IBKR_OAUTH_ACCESS_TOKEN_SECRET"]));
    variables.insert("IBKR_OAUTH_ACCESS_TOKEN_SECRET", String::new());
    variables.insert("IBKR_OAUTH_ACCESS_TOKEN_SECRET_FILE", secret.to_str().unwrap().to_owned());
    logs_in(from(&variables).unwrap()).await;

    let elsewhere = Enrolled { base_url: "https://api.ibkr.com/v1/api".to_owned(), ..server.enrolled.clone() };
    let file = write(&folder, "credentials.json", &elsewhere.json());
    let variables = HashMap::from([
        ("IBKR_CREDENTIALS", file.to_str().unwrap().to_owned()),
        ("IBKR_OAUTH_BASE_URL", server.enrolled.base_url.clone()),
    ]);
    let credentials = from(&variables).unwrap();
    assert_eq!(credentials.base_url(), Some(server.enrolled.base_url.as_str()));
    logs_in(credentials).await;
    let there = Credentials::from_file(&file).unwrap().with_base_url(&server.enrolled.base_url);
    logs_in(there).await;
}

#[test]
fn what_is_missing_is_named_with_the_places_where_it_may_stand() {
    assert!(error_of(&HashMap::new()).contains("IBKR_CREDENTIALS"));
    let enrolled = nobody();
    for (variable, key) in [
        ("IBKR_OAUTH_CONSUMER_KEY", "consumer_key"),
        ("IBKR_OAUTH_PRIVATE_SIGNATURE_PEM", "private_signature_pem"),
        ("IBKR_OAUTH_PRIVATE_ENCRYPTION_PEM", "private_encryption_pem"),
        ("IBKR_OAUTH_DHPARAM_PEM", "dhparam_pem"),
        ("IBKR_OAUTH_ACCESS_TOKEN", "access_token"),
        ("IBKR_OAUTH_ACCESS_TOKEN_SECRET", "access_token_secret"),
    ] {
        let mut variables = own_variables(&enrolled);
        variables.remove(variable);
        let expected =
            format!("{key} is missing: put it into the file of credentials, or set {variable} or {variable}_FILE");
        assert_eq!(error_of(&variables), expected);
    }
}

#[test]
fn a_third_party_has_no_access_token_and_asks_for_one() {
    let mut variables = own_variables(&nobody());
    variables.remove("IBKR_OAUTH_ACCESS_TOKEN");
    variables.remove("IBKR_OAUTH_ACCESS_TOKEN_SECRET");
    assert!(from(&variables).unwrap().session().unwrap().access_token().is_none());
}

#[tokio::test]
async fn an_access_token_is_put_into_the_file_and_the_rest_of_it_stays() {
    let (server, folder) = (Server::start().await, tempdir().unwrap());
    let enrolled = &server.enrolled;
    let access_token = AccessToken::new(&enrolled.token, &enrolled.secret).unwrap();
    let is_other = |line: &&str| !line.starts_with("access_token");
    let other_lines: Vec<_> = toml(enrolled).lines().filter(is_other).map(str::to_owned).collect();
    let without = other_lines.join("\n") + "\n[notes]\ntext = 'kept'\n";
    fs::create_dir(folder.path().join("keys")).unwrap();
    write(&folder, "keys/encryption.pem", &keys().private_encryption_pem);
    let toml = write(&folder, "credentials.toml", &without);
    Credentials::store_access_token(&toml, &access_token).unwrap();
    assert!(fs::read_to_string(&toml).unwrap().ends_with(&without));
    logs_in(Credentials::from_file(&toml).unwrap()).await;
    let again = Credentials::store_access_token(&toml, &access_token).unwrap_err();
    assert!(again.to_string().contains("it has access_token already"), "{again}");

    let mut json: Map<String, Value> = serde_json::from_str(&enrolled.json()).unwrap();
    json.remove("access_token");
    json.insert("access_token_secret".into(), Value::Null);
    json.insert("note".into(), json!([1, { "text": "kept" }]));
    let path = write(&folder, "credentials.json", &serde_json::to_string(&json).unwrap());
    Credentials::store_access_token(&path, &access_token).unwrap();
    let stored: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(stored["note"], json["note"]);
    logs_in(Credentials::from_file(&path).unwrap()).await;
}

#[test]
fn whether_an_access_token_could_be_stored_is_found_out_before() {
    let folder = tempdir().unwrap();
    let file = write(&folder, "credentials.toml", "consumer_key = 'TESTCONS'\n");
    Credentials::try_storing(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "consumer_key = 'TESTCONS'\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    for (content, expected) in [
        ("access_token = 'a1b2c3d4e5f6a7b8c9d0'\n", "it has access_token already"),
        ("{\n\"consumer_key\": 'TESTCONS' }", "is not JSON: see line 2"),
    ] {
        let file = write(&folder, "other", content);
        let error = Credentials::try_storing(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let gone = Credentials::try_storing(folder.path().join("gone")).unwrap_err();
    assert!(gone.to_string().starts_with("cannot read "), "{gone}");
}

#[cfg(unix)]
#[test]
fn a_stored_access_token_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let access_token = AccessToken::new("a1b2c3d4e5f6a7b8c9d0", "bm8gc2VjcmV0IG9mIG91cnM=").unwrap();
    for (before, after) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o666, 0o660)] {
        let file = write(&folder, "credentials.toml", "consumer_key = 'TESTCONS'\n");
        fs::set_permissions(&file, fs::Permissions::from_mode(before)).unwrap();
        Credentials::store_access_token(&file, &access_token).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, after);
    }
}

#[test]
fn credentials_know_their_file() {
    let folder = tempdir().unwrap();
    let file = write(&folder, "credentials.toml", "consumer_key = 'TESTCONS'\n");
    assert_eq!(Credentials::from_file(&file).unwrap().file(), Some(&*file));
    let mut variables = HashMap::from([("IBKR_CREDENTIALS", file.to_str().unwrap().to_owned())]);
    variables.insert("IBKR_OAUTH_REALM", "limited_poa".to_owned());
    assert_eq!(from(&variables).unwrap().with_base_url("https://localhost").file(), Some(&*file));
    variables.remove("IBKR_CREDENTIALS");
    assert_eq!(from(&variables).unwrap().file(), None);
}

#[test]
fn what_cannot_be_used_is_named_and_the_doctor_explains() {
    let mut variables = own_variables(&nobody());
    let public = keys().private_signature_pem.replace("PRIVATE", "PUBLIC");
    variables.insert("IBKR_OAUTH_PRIVATE_SIGNATURE_PEM", public);
    let error = error_of(&variables);
    assert!(error.starts_with("the variable IBKR_OAUTH_PRIVATE_SIGNATURE_PEM cannot be used: "), "{error}");
    assert!(error.lines().count() > 3, "the doctor's report: {error}");

    let mut variables = own_variables(&nobody());
    variables.insert("IBKR_OAUTH_ACCESS_TOKEN_SECRET", format!("{}!", "c0ffee".repeat(4)));
    let error = error_of(&variables);
    assert!(error.contains("IBKR_OAUTH_ACCESS_TOKEN or the variable IBKR_OAUTH_ACCESS_TOKEN_SECRET"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_what_names_it() {
    let folder = tempdir().unwrap();
    let gone = folder.path().join("gone").to_str().unwrap().to_owned();
    let mut variables = own_variables(&nobody());
    variables.insert("IBKR_OAUTH_ACCESS_TOKEN", String::new());
    variables.insert("IBKR_OAUTH_ACCESS_TOKEN_FILE", gone.clone());
    let error = error_of(&variables);
    assert!(error.starts_with(&format!("cannot read {gone}, which IBKR_OAUTH_ACCESS_TOKEN_FILE names: ")), "{error}");

    let message = |path: &Path| Credentials::from_file(path).unwrap_err().to_string();
    assert!(message(Path::new(&gone)).starts_with(&format!("cannot read {gone}: ")));
    let secret = "c0ffee".repeat(4);
    for (content, expected) in [
        (format!("{{\n\"access_token\": \"{secret}\",\n}}"), "is not JSON: see line 3"),
        (format!("realm = \"x\"\naccess_token = {secret}\n"), "is not TOML: see line 2"),
        (format!("{{\"access_token\": [\"{secret}\"]}}"), "access_token in"),
        ("{\"private_signature_pem_file\": \"gone.pem\"}".to_owned(), "gone.pem, which private_signature_pem_file in"),
    ] {
        let path = write(&folder, "credentials", &content);
        let error = message(&path);
        assert!(error.contains(expected) && error.contains(path.to_str().unwrap()), "{error}");
        assert!(!error.contains(&secret), "{error}");
    }
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let folder = tempdir().unwrap();
    let json = nobody().json();
    let session = |json: &str| Credentials::from_file(write(&folder, "credentials.json", json))?.session();
    assert!(session(&json).is_ok());
    for end in 0..json.len() {
        assert!(session(&json[..end]).is_err(), "{}", &json[..end]);
    }
}

#[test]
fn credentials_show_where_they_come_from_and_no_secret() {
    let shown = format!("{:?}", from(&own_variables(&nobody())).unwrap());
    assert!(shown.contains("IBKR_OAUTH_ACCESS_TOKEN_SECRET"), "{shown}");
    assert!(!shown.contains(&nobody().token) && !shown.contains("BEGIN"), "{shown}");
}

/// Somebody who is on file nowhere.
fn nobody() -> Enrolled {
    let secret = "aGVsbG8gd29ybGQ=".to_owned();
    Enrolled { base_url: "http://127.0.0.1:9/v1/api".to_owned(), token: "a1b2c3d4e5f6a7b8c9d0".to_owned(), secret }
}
