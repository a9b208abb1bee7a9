//! The proxy in front of a gateway that stands for IBKR: for a look at it without an account.
//!
//! ```text
//! cargo run -p ibkr-oauth-proxy --example proxy -- [PORT]
//! ```
//!
//! Serves `https://127.0.0.1:5000` (or another port) until it is interrupted, and then logs out.

#[path = "../tests/support/enrolled.rs"]
mod enrolled;

use std::error::Error;
use std::net::SocketAddr;

use enrolled::Enrolled;
use ibkr_oauth_gateway::Server;
use ibkr_oauth_proxy::ibkr_oauth_tokio::{Status, WebApi};
use ibkr_oauth_proxy::{Listen, Options, Proxy, Tls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(5000), |port| port.parse())?;
    let folder = tempfile::tempdir()?;

    println!("making keys for a consumer");
    let ibkr = Server::bind("127.0.0.1:0")?;
    let enrolled = Enrolled::at(&mut ibkr.gateway());
    let (api, _events) = WebApi::builder(enrolled.client()).start()?;
    api.wait_until(Status::is_ready).await?;

    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::bind(Options::new(Listen::Tcp { address, tls: Tls::SelfSigned(folder.path().into()) })).await?;
    let address = proxy.address().ok_or("there is no address")?;
    println!("logged in; try: curl --insecure https://{address}/v1/api/iserver/accounts");
    let interrupted = async {
        // Without a handler it is served until the process is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    proxy.serve(api.clone(), interrupted).await;
    api.log_out().await;
    println!("logged out");
    Ok(())
}
