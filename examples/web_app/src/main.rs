//! Starts the web application: `cargo run`, and open the address that it prints. See README.md.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use ibkr_oauth_web_app::{App, Credentials, OwnGateway, Store};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:0")).await?;
    let public_url = variable("PUBLIC_URL", &format!("http://{}", listener.local_addr()?));
    let (credentials, store) = match env::var_os("IBKR_CREDENTIALS") {
        Some(file) => {
            let credentials: Credentials = serde_json::from_str(&fs::read_to_string(file)?)?;
            (credentials, Store::open(Path::new(&variable("DATABASE", "web_app.sqlite")))?)
        }
        None => {
            println!("No IBKR_CREDENTIALS: users connect to a gateway of our own, and nothing outlives this process.");
            let at_ibkr = TcpListener::bind("127.0.0.1:0").await?;
            let gateway = OwnGateway::new(&at_ibkr, &format!("{public_url}/callback"))?;
            tokio::spawn(axum::serve(at_ibkr, gateway.router()).into_future());
            (gateway.credentials, Store::in_memory()?)
        }
    };
    let app = App::new(credentials.consumer()?, store, &public_url);
    println!("Open {public_url}/ (Ctrl-C stops).");
    // Requests under way are finished first: an access token on its way must not be lost.
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    Ok(axum::serve(listener, app.router()).with_graceful_shutdown(stopped).await?)
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
