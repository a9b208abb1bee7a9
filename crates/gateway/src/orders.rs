//! Orders, as far as a trading program's own tests need them: place, confirm, list, cancel.
//!
//! There is no market: prices are those of [`quote_cents`], and never move. A market order and a limit order that reaches
//! the other side fill at once and whole; others work until they are cancelled.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::api::{boolean, quote_cents};
use crate::rejection::Rejection;
use crate::signed_request::SignedRequest;
use crate::time::{UnixTime, millis};
use crate::verification::Caller;

/// Most orders that are remembered; the oldest gives way.
const MAX_ORDERS: usize = 4096;
/// Most lists of orders that wait for a reply; the oldest gives way.
const MAX_QUESTIONS: usize = 256;
/// Most orders in one list.
const MAX_LIST: usize = 20;
/// Longest word of an order, in bytes.
const MAX_WORD: usize = 64;
/// How far a limit may be from the last price before the order is questioned, as a part of that price.
const PRICE_CONSTRAINT: f64 = 0.03;

/// The orders of all users.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// By order id.
    placed: BTreeMap<u64, Order>,
    questions: VecDeque<Question>,
    /// Counts orders and questions.
    last_id: u64,
}

/// Orders that wait until the user has replied to a question about them.
#[derive(Clone, Serialize, Deserialize)]
struct Question {
    id: String,
    user: String,
    orders: Vec<Order>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    account: String,
    conid: u32,
    /// Else it sells.
    buys: bool,
    order_type: String,
    quantity: f64,
    limit: Option<f64>,
    time_in_force: String,
    /// The client's own id: `cOID`.
    reference: Option<String>,
    status: Status,
    placed: UnixTime,
}

/// In IBKR's words.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    Submitted,
    Filled,
    Cancelled,
}

impl Gateway {
    /// Answers what has to do with orders, under `/iserver`.
    pub(crate) fn order_api(
        &mut self,
        caller: &Caller,
        endpoint: &str,
        request: &SignedRequest<'_>,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        if request.method != "GET" {
            self.note_change();
        }
        let segments: Vec<_> = endpoint.split('/').skip(2).collect();
        let accounts = self.registry.user(&caller.user).map(|user| user.accounts.as_slice()).unwrap_or_default();
        let known = |account: &str| {
            let is_known = accounts.iter().any(|known| known == account);
            if is_known { Ok(()) } else { Err(Rejection::Order("the account is not the user's")) }
        };
        match (request.method, segments.as_slice()) {
            ("POST", ["account", account, "orders"]) => {
                known(account)?;
                self.orders.place(&caller.user, read_orders(request.body, account, now)?)
            }
            ("POST", ["reply", question]) => self.orders.reply(&caller.user, question, boolean(request, "confirmed")?),
            ("GET", ["account", "orders"]) => Ok(self.orders.list(accounts)),
            ("DELETE", ["account", account, "order", id]) => {
                known(account)?;
                self.orders.cancel(account, id)
            }
            _ => Err(Rejection::NotFound),
        }
    }
}

impl Orders {
    /// Places the orders, or asks whether they are meant.
    fn place(&mut self, user: &str, orders: Vec<Order>) -> Result<Value, Rejection> {
        let doubts: Vec<_> = orders.iter().filter_map(Order::doubt).collect();
        if doubts.is_empty() {
            return self.submit(orders);
        }
        self.check_references(&orders)?;
        if self.questions.len() >= MAX_QUESTIONS {
            self.questions.pop_front();
        }
        let id = format!("00000000-0000-4000-8000-{:012x}", self.next_id());
        let question = json!([{ "id": id, "message": doubts, "isSuppressed": false, "messageIds": ["o163"] }]);
        self.questions.push_back(Question { id, user: user.into(), orders });
        Ok(question)
    }

    /// Places the orders that were questioned, or drops them. What IBKR answers to a no is not documented.
    fn reply(&mut self, user: &str, id: &str, is_confirmed: bool) -> Result<Value, Rejection> {
        let position = self.questions.iter().position(|question| question.id == id && question.user == user);
        let question = position.and_then(|position| self.questions.remove(position));
        let question = question.ok_or(Rejection::Order("no orders wait for this reply"))?;
        if is_confirmed { self.submit(question.orders) } else { Ok(json!({ "error": "the orders are dropped" })) }
    }

    fn submit(&mut self, orders: Vec<Order>) -> Result<Value, Rejection> {
        self.check_references(&orders)?;
        Ok(orders.into_iter().map(|order| self.submit_one(order)).collect())
    }

    /// No order counts twice: of each account, a client's own id is good for one.
    fn check_references(&self, orders: &[Order]) -> Result<(), Rejection> {
        let mut references: Vec<_> = self.placed.values().chain(orders).filter_map(Order::key).collect();
        let all = references.len();
        references.sort_unstable();
        references.dedup();
        let is_unique = references.len() == all;
        if is_unique { Ok(()) } else { Err(Rejection::Order("an order of this cOID is registered already")) }
    }

    fn submit_one(&mut self, order: Order) -> Value {
        if self.placed.len() >= MAX_ORDERS {
            self.placed.pop_first();
        }
        let id = self.next_id();
        let mut answer = json!({ "order_id": id.to_string(), "order_status": order.status, "encrypt_message": "1" });
        if let (Some(reference), Some(answer)) = (&order.reference, answer.as_object_mut()) {
            answer.insert("local_order_id".into(), json!(reference));
        }
        self.placed.insert(id, order);
        answer
    }

    fn list(&self, accounts: &[String]) -> Value {
        let of_user = self.placed.iter().filter(|(_, order)| accounts.contains(&order.account));
        let orders: Vec<_> = of_user.map(|(id, order)| order.describe(*id)).collect();
        json!({ "orders": orders, "snapshot": true })
    }

    fn cancel(&mut self, account: &str, id: &str) -> Result<Value, Rejection> {
        let id: u64 = id.parse().map_err(|_| Rejection::Order("the order id is not a number"))?;
        let order = self.placed.get_mut(&id).filter(|order| order.account == account);
        let order = order.ok_or(Rejection::Order("the account has no such order"))?;
        if order.status != Status::Submitted {
            return Err(Rejection::Order("the order does not work any more"));
        }
        order.status = Status::Cancelled;
        Ok(json!({ "msg": "Request was submitted", "order_id": id, "conid": order.conid, "account": account }))
    }

    fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }
}

impl Order {
    /// Reads one of a list, for this account.
    fn read(fields: &Map<String, Value>, account: &str, now: UnixTime) -> Result<Self, Rejection> {
        let word = |name| fields.get(name).and_then(Value::as_str).filter(|word| word.len() <= MAX_WORD);
        let amount = |name| fields.get(name).and_then(Value::as_f64).filter(|amount| *amount > 0.0);
        if word("acctId").is_some_and(|given| given != account) {
            return Err(Rejection::Order("acctId is another account than the path's"));
        }
        let conid = fields.get("conid").and_then(Value::as_u64).and_then(|conid| u32::try_from(conid).ok());
        let mut order = Self {
            account: account.into(),
            conid: conid.ok_or(Rejection::Order("conid is not a contract's number"))?,
            buys: match word("side") {
                Some("BUY") => true,
                Some("SELL") => false,
                _ => return Err(Rejection::Order("side is neither BUY nor SELL")),
            },
            order_type: word("orderType").ok_or(Rejection::Order("orderType is missing"))?.into(),
            quantity: amount("quantity").ok_or(Rejection::Order("quantity is not a positive number"))?,
            limit: amount("price"),
            time_in_force: word("tif").ok_or(Rejection::Order("tif is missing"))?.into(),
            reference: word("cOID").map(str::to_string),
            status: Status::Submitted,
            placed: now,
        };
        if order.order_type == "LMT" && order.limit.is_none() {
            return Err(Rejection::Order("price is not a positive number"));
        }
        if order.fills() {
            order.status = Status::Filled;
        }
        Ok(order)
    }

    /// Account and the client's own id.
    fn key(&self) -> Option<(&str, &str)> {
        Some((&self.account, self.reference.as_deref()?))
    }

    fn last_price(&self) -> f64 {
        f64::from(quote_cents(self.conid)) / 100.0
    }

    fn fills(&self) -> bool {
        let (bid, ask) = (self.last_price() - 0.01, self.last_price() + 0.01);
        match (self.order_type.as_str(), self.limit) {
            ("MKT", _) => true,
            ("LMT", Some(limit)) => {
                if self.buys {
                    limit >= ask
                } else {
                    limit <= bid
                }
            }
            _ => false,
        }
    }

    /// What makes it questionable.
    fn doubt(&self) -> Option<String> {
        let limit = self.limit?;
        let is_far_off = (limit - self.last_price()).abs() > self.last_price() * PRICE_CONSTRAINT;
        is_far_off
            .then(|| format!("{} @ {limit} is more than 3 % from the last price: is the order meant?", self.in_words()))
    }

    fn in_words(&self) -> String {
        format!("{} {} SYM{}", self.side(), self.quantity, self.conid)
    }

    fn side(&self) -> &'static str {
        if self.buys { "BUY" } else { "SELL" }
    }

    fn describe(&self, id: u64) -> Value {
        let filled = if self.status == Status::Filled { self.quantity } else { 0.0 };
        json!({
            "orderId": id,
            "acct": self.account,
            "account": self.account,
            "conid": self.conid,
            "conidex": self.conid.to_string(),
            "ticker": format!("SYM{}", self.conid),
            "orderDesc": self.in_words(),
            "side": self.side(),
            "orderType": self.order_type,
            "price": self.limit,
            "timeInForce": self.time_in_force,
            "totalSize": self.quantity,
            "filledQuantity": filled,
            "remainingQuantity": self.quantity - filled,
            "status": self.status,
            "order_ref": self.reference,
            "lastExecutionTime_r": millis(self.placed),
        })
    }
}

/// The orders of `{"orders":[...]}`.
fn read_orders(body: &[u8], account: &str, now: UnixTime) -> Result<Vec<Order>, Rejection> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Rejection::Order("the body is not JSON"))?;
    let orders = body.get("orders").and_then(Value::as_array).filter(|orders| (1..=MAX_LIST).contains(&orders.len()));
    let orders = orders.ok_or(Rejection::Order("the body has no list of 1 to 20 orders"))?;
    let read =
        |order: &Value| Order::read(order.as_object().ok_or(Rejection::Order("an order is no object"))?, account, now);
    orders.iter().map(read).collect()
}
