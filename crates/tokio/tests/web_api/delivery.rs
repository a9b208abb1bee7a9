//! Responses that travel badly: each request ends with an answer or an error, and an order is placed once.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::{Delivery, Incident, Server};
use ibkr_oauth_tokio::ibkr_oauth::ApiRequest;
use ibkr_oauth_tokio::{Limits, RequestError, Status, TransportError, WebApi};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{Enrolled, soon, start};

const ORDER: ApiRequest<'_> = ApiRequest::post("/iserver/account/DU1234567/orders")
    .json(br#"{"orders":[{"conid":265598,"orderType":"MKT","side":"BUY","tif":"DAY","quantity":1}]}"#);
const FOR_EVER: Duration = Duration::from_secs(1_000_000);
/// How long a client waits for the head of a response, and then for its body.
const PATIENCE: Duration = Duration::from_secs(2);

fn schedule(server: &Server, delivery: Delivery, lasts: Duration) {
    server.gateway().schedule(SystemTime::UNIX_EPOCH, Incident::BadDelivery { delivery, lasts });
}

/// Places an order while responses travel like this. Others ask at the same time.
async fn order(delivery: Delivery) -> Result<u16, RequestError> {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let enrolled = Enrolled::at(&mut server.gateway());
    let limits = Limits { head: PATIENCE, body: PATIENCE, ..Limits::default() };
    let api = start(WebApi::builder(enrolled.client()).limits(limits));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    schedule(&server, delivery, Duration::MAX);
    let order = api.request(&ORDER);
    let mut others = JoinSet::new();
    for path in ["/portfolio/accounts", "/iserver/accounts"] {
        others.spawn(api.request(&ApiRequest::get(path)));
    }
    let outcome = soon(order).await.map(|answer| answer.status().as_u16());
    assert_eq!(soon(others.join_all()).await.len(), 2, "each ends");

    schedule(&server, delivery, Duration::ZERO);
    let listed = soon(api.request(&ApiRequest::get("/iserver/account/orders"))).await.unwrap();
    let listed: Value = serde_json::from_slice(listed.body()).unwrap();
    assert_eq!(listed["orders"].as_array().map(Vec::len), Some(1), "{delivery:?}: {listed}");
    outcome
}

#[tokio::test]
async fn an_order_is_placed_once_however_its_answer_travels() {
    for delivery in [Delivery::Late(Duration::from_millis(100)), Delivery::Trickling(Duration::from_millis(1))] {
        assert_eq!(order(delivery).await.unwrap(), 200, "{delivery:?}");
    }
    for delivery in [Delivery::Late(FOR_EVER), Delivery::Trickling(FOR_EVER)] {
        let error = order(delivery).await.unwrap_err();
        let expected = match delivery {
            Delivery::Late(_) => TransportError::HeadTimeout(PATIENCE),
            _ => TransportError::BodyTimeout(PATIENCE),
        };
        assert!(matches!(&error, RequestError::NoResponse(cause) if *cause == expected), "{delivery:?}: {error:?}");
        assert!(!error.had_no_effect());
    }
    for delivery in [Delivery::Lost, Delivery::Cut, Delivery::Reset] {
        let error = order(delivery).await.unwrap_err();
        let is_broken = matches!(error, RequestError::NoResponse(TransportError::Broken(_)));
        assert!(is_broken && !error.had_no_effect(), "{delivery:?}: {error:?}");
    }
}
