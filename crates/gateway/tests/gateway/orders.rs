//! Orders: placed, questioned, confirmed, listed, cancelled.

use ibkr_oauth_gateway::http::Response;
use serde_json::{Value, json};

use crate::client::{Live, World, json, said};

/// Its last price is 93.14, bid 93.13, ask 93.15.
const CONID: u32 = 8314;
const ORDERS: &str = "/iserver/account/DU1234567/orders";

fn trader() -> (World, Live) {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.open_brokerage_session(&live);
    (world, live)
}

fn post(world: &mut World, live: &Live, endpoint: &str, body: &Value) -> Response<Vec<u8>> {
    let call = world.api_call("POST", endpoint, live).with_body("application/json", body.to_string().leak());
    world.send(&call.signed_with(&live.token))
}

fn limit(side: &str, price: f64) -> Value {
    json!({ "conid": CONID, "orderType": "LMT", "side": side, "tif": "DAY", "quantity": 5, "price": price })
}

fn place(world: &mut World, live: &Live, orders: &Value) -> Value {
    json(&post(world, live, ORDERS, &json!({ "orders": orders })))
}

/// Status and filled quantity of each order.
fn listed(world: &mut World, live: &Live) -> Vec<(String, f64)> {
    let answer = json(&world.api("GET", "/iserver/account/orders", live));
    let orders = answer["orders"].as_array().unwrap().iter();
    let each =
        |order: &Value| (order["status"].as_str().unwrap().to_owned(), order["filledQuantity"].as_f64().unwrap());
    orders.map(each).collect()
}

#[test]
fn an_order_works_until_it_is_cancelled() {
    let (mut world, live) = trader();
    let mut order = limit("BUY", 93.0);
    order["cOID"] = json!("mine");
    order["acctId"] = json!("DU1234567");
    let answer = place(&mut world, &live, &json!([order]));
    assert_eq!((&answer[0]["order_status"], &answer[0]["local_order_id"]), (&json!("Submitted"), &json!("mine")));
    let order = json(&world.api("GET", "/iserver/account/orders", &live))["orders"][0].clone();
    assert_eq!(answer[0]["order_id"], order["orderId"].to_string());
    for (name, value) in [
        ("account", json!("DU1234567")),
        ("conid", json!(CONID)),
        ("side", json!("BUY")),
        ("orderType", json!("LMT")),
        ("price", json!(93.0)),
        ("remainingQuantity", json!(5.0)),
        ("order_ref", json!("mine")),
        ("status", json!("Submitted")),
    ] {
        assert_eq!(order[name], value, "{name}");
    }
    let path = |account: &str, id: &Value| format!("/iserver/account/{account}/order/{id}");
    let others = world.api("DELETE", &path("DU7654321", &order["orderId"]), &live);
    assert_eq!(others.status(), 400, "{}", said(&others));
    let cancelled = json(&world.api("DELETE", &path("DU1234567", &order["orderId"]), &live));
    assert_eq!((&cancelled["order_id"], &cancelled["conid"]), (&order["orderId"], &json!(CONID)));
    assert_eq!(listed(&mut world, &live), [("Cancelled".to_owned(), 0.0)]);
    assert_eq!(world.api("DELETE", &path("DU1234567", &order["orderId"]), &live).status(), 400);
    assert_eq!(world.api("DELETE", &path("DU1234567", &json!(99)), &live).status(), 400);
}

#[test]
fn an_order_that_reaches_the_other_side_fills() {
    let (mut world, live) = trader();
    let market = json!({ "conid": CONID, "orderType": "MKT", "side": "SELL", "tif": "DAY", "quantity": 5 });
    for (order, status) in [
        (market, "Filled"),
        (limit("BUY", 93.15), "Filled"),
        (limit("BUY", 93.14), "Submitted"),
        (limit("SELL", 93.13), "Filled"),
        (limit("SELL", 93.14), "Submitted"),
    ] {
        assert_eq!(place(&mut world, &live, &json!([order]))[0]["order_status"], status, "{order}");
    }
    assert_eq!(listed(&mut world, &live).iter().map(|(_, filled)| filled).sum::<f64>(), 15.0);
}

#[test]
fn orders_far_from_the_market_are_placed_once_the_question_is_confirmed() {
    let (mut world, live) = trader();
    let orders = json!([limit("BUY", 93.0), limit("BUY", 90.0)]);
    let question = place(&mut world, &live, &orders);
    assert_eq!(question.as_array().unwrap().len(), 1);
    assert_eq!(question[0]["message"].as_array().unwrap().len(), 1, "of two orders one is far off");
    assert_eq!(listed(&mut world, &live), [], "nothing is placed yet");
    let reply = format!("/iserver/reply/{}", question[0]["id"].as_str().unwrap());

    let other = world.enroll_first_party_of("OTHERCONS", "somebody else");
    let other = world.live(&other);
    world.open_brokerage_session(&other);
    let others = post(&mut world, &other, &reply, &json!({ "confirmed": true }));
    assert_eq!(others.status(), 400, "somebody else's question");
    let placed = json(&post(&mut world, &live, &reply, &json!({ "confirmed": true })));
    assert_eq!((&placed[0]["order_status"], &placed[1]["order_status"]), (&json!("Submitted"), &json!("Submitted")));
    assert_eq!(listed(&mut world, &live).len(), 2);
    assert_eq!(
        post(&mut world, &live, &reply, &json!({ "confirmed": true })).status(),
        400,
        "a question is asked once"
    );

    let question = place(&mut world, &live, &orders);
    let reply = format!("/iserver/reply/{}", question[0]["id"].as_str().unwrap());
    assert!(json(&post(&mut world, &live, &reply, &json!({ "confirmed": false })))["error"].is_string());
    assert_eq!(post(&mut world, &live, &reply, &json!({ "confirmed": true })).status(), 400);
    assert_eq!(listed(&mut world, &live).len(), 2, "who says no places nothing");
}

#[test]
fn an_order_sent_twice_is_placed_once() {
    let (mut world, live) = trader();
    let mut order = limit("BUY", 93.0);
    order["cOID"] = json!("mine");
    place(&mut world, &live, &json!([order]));
    let again = post(&mut world, &live, ORDERS, &json!({ "orders": [order] }));
    assert_eq!(again.status(), 400, "{}", said(&again));
    order["cOID"] = json!("other");
    let pair = post(&mut world, &live, ORDERS, &json!({ "orders": [order, order] }));
    assert_eq!(pair.status(), 400, "{}", said(&pair));
    assert_eq!(listed(&mut world, &live).len(), 1);

    order["price"] = json!(50.0);
    let questions = [(); 2].map(|()| place(&mut world, &live, &json!([order]))[0]["id"].as_str().unwrap().to_owned());
    let confirm = |id: &String| post(&mut world, &live, &format!("/iserver/reply/{id}"), &json!({ "confirmed": true }));
    assert_eq!(questions.each_ref().map(confirm).map(|response| response.status().as_u16()), [200, 400]);
    assert_eq!(listed(&mut world, &live).len(), 2, "nor is it by two confirmations");
}

#[test]
fn an_order_that_makes_no_sense_is_rejected_whole() {
    let (mut world, live) = trader();
    for (name, value) in [
        ("conid", json!(null)),
        ("conid", json!(-1)),
        ("side", json!("buy")),
        ("orderType", json!(null)),
        ("quantity", json!(0)),
        ("tif", json!(null)),
        ("price", json!(null)),
        ("price", json!(-1)),
        ("acctId", json!("DU7654321")),
    ] {
        let mut order = limit("BUY", 93.0);
        order[name] = value.clone();
        let rejection = post(&mut world, &live, ORDERS, &json!({ "orders": [limit("BUY", 93.0), order] }));
        assert_eq!(rejection.status(), 400, "{name} {value}: {}", said(&rejection));
        assert!(json(&rejection)["error"].is_string());
    }
    for body in [json!({}), json!([]), json!({ "orders": [] }), json!({ "orders": vec![limit("BUY", 93.0); 21] })] {
        assert_eq!(post(&mut world, &live, ORDERS, &body).status(), 400, "{body}");
    }
    let strange =
        post(&mut world, &live, "/iserver/account/DU0000000/orders", &json!({ "orders": [limit("BUY", 93.0)] }));
    assert_eq!(strange.status(), 400);
    assert_eq!(listed(&mut world, &live), []);
    assert_eq!(world.api("PUT", ORDERS, &live).status(), 404);
}

#[test]
fn orders_need_a_brokerage_session_and_outlive_it() {
    let (mut world, live) = trader();
    place(&mut world, &live, &json!([limit("BUY", 93.0)]));
    world.gateway.schedule(world.now, ibkr_oauth_gateway::Incident::NightlyReset);
    assert_eq!(post(&mut world, &live, ORDERS, &json!({ "orders": [limit("BUY", 93.0)] })).status(), 400);
    assert_eq!(world.api("GET", "/iserver/account/orders", &live).status(), 400);
    world.open_brokerage_session(&live);
    assert_eq!(listed(&mut world, &live).len(), 1);
}

#[test]
fn only_so_many_orders_are_remembered() {
    let (mut world, live) = trader();
    for _ in 0..4100 / 20 {
        place(&mut world, &live, &json!(vec![limit("BUY", 93.0); 20]));
    }
    assert_eq!(listed(&mut world, &live).len(), 4096);
}
