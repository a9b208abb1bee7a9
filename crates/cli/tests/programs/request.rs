//! What is asked, and what is answered.

use crate::support::World;

#[test]
fn query_and_body_go_out_as_they_are_meant() {
    let world = World::new("request");
    world.run(&["request", "GET", "/portfolio/accounts", "--query", "a=b c", "--query", "a=1=2", "--query", "e="]);
    assert_eq!(world.count("GET /v1/api/portfolio/accounts?a=b%20c&a=1%3D2&e= "), 1);
    world.run(&["request", "GET", "/portfolio/accounts", "--query", "nothing"]).ends_with(2);

    let from_text = ["request", "POST", "/iserver/account/orders/one", "--json", r#"{"from":"text"}"#];
    world.run(&from_text).ends_with(1);
    world.write("order.json", r#"{"from":"file"}"#);
    world.run(&["request", "POST", "/iserver/account/orders/two", "--json", "@order.json"]).ends_with(1);
    let from_stdin = ["request", "POST", "/iserver/account/orders/three", "--json", "-"];
    world.run_with_stdin(&from_stdin, r#"{"from":"stdin"}"#).ends_with(1);
    for source in ["text", "file", "stdin"] {
        assert_eq!(world.count(&format!(r#"{{"from":"{source}"}}"#)), 1, "{source}");
    }
    world.run(&["request", "POST", "/x", "--json", "@nowhere.json"]).ends_with(8).says("cannot read nowhere.json");
}

#[test]
fn an_order_is_placed_and_seen() {
    let world = World::new("order");
    let order = r#"{"orders":[{"conid":265598,"orderType":"LMT","price":1.5,"side":"BUY","tif":"DAY","quantity":1}]}"#;
    let placed = world.run_with_stdin(&["request", "POST", "/iserver/account/DU1234567/orders", "--json", "-"], order);
    let placed = placed.ends_with(0).json();
    let reply = format!("/iserver/reply/{}", placed[0]["id"].as_str().unwrap_or("none"));
    if reply != "/iserver/reply/none" {
        world.run(&["request", "POST", &reply, "--json", r#"{"confirmed":true}"#]).ends_with(0).says("order");
    }
    world.run(&["request", "GET", "/iserver/account/orders"]).ends_with(0).says("265598");
}

#[test]
fn credentials_come_from_toml_and_from_ibinds_variables_too() {
    let world = World::new("sources");
    let fields = world.credentials();
    let text = |name: &str| fields[name].as_str().unwrap();
    let toml: String =
        fields.iter().map(|(name, value)| format!("{name} = '''{}'''\n", value.as_str().unwrap())).collect();
    let toml = world.write("credentials.toml", &toml);
    world.run(&["login", "--credentials", &toml]).ends_with(0).says("DU1234567");

    let mut command = world.command(&["login"]);
    command.env_remove("IBKR_CREDENTIALS");
    let key = world.write("key.pem", text("private_signature_pem"));
    let secret = world.write("secret", text("access_token_secret"));
    for (name, value) in [
        ("IBIND_OAUTH1A_CONSUMER_KEY", text("consumer_key")),
        ("IBIND_OAUTH1A_ACCESS_TOKEN", text("access_token")),
        ("IBKR_OAUTH_ACCESS_TOKEN_SECRET_FILE", &secret),
        ("IBIND_OAUTH1A_SIGNATURE_KEY_FP", &key),
        ("IBIND_OAUTH1A_ENCRYPTION_KEY", text("private_encryption_pem")),
        ("IBKR_OAUTH_DHPARAM_PEM", text("dhparam_pem")),
        ("IBIND_OAUTH1A_REST_URL", text("base_url")),
    ] {
        command.env(name, value);
    }
    world.run_on(command).end().ends_with(0).says("Still logged in");
}
