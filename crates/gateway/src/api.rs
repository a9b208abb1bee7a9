//! A slice of the Web API behind the login: enough to log in, stay in, look around, trade and leave (protocol
//! section 8).

use serde_json::{Map, Value, json};

use crate::brokerage::Standing;
use crate::rejection::Rejection;
use crate::schedule::Trouble;
use crate::signed_request::SignedRequest;
use crate::time::{UnixTime, millis};
use crate::verification::Caller;
use crate::{Gateway, User};

/// Most contracts in one snapshot, as at IBKR.
const MAX_CONTRACTS: usize = 100;

impl Gateway {
    /// Answers a verified request to an `endpoint`, a path below the base URL.
    pub(crate) fn api(
        &mut self,
        caller: &Caller,
        endpoint: &str,
        request: &SignedRequest<'_>,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        let (token, name) = (caller.access_token.as_str(), caller.user.as_str());
        if self.brokerage.touch(name, token, now) {
            self.note_change();
        }
        let standing = self.brokerage.standing(name, token, now);
        let user = self.registry.user(name).ok_or(Rejection::Unauthorized("the user is no longer known"))?;
        let has_accounts = self.has_accounts(name, now);
        match (request.method, endpoint) {
            ("GET", "/portfolio/accounts") => Ok(portfolio_accounts(user)),
            ("GET" | "POST", "/tickle") => Ok(self.tickle(&caller.session.cookie, standing)),
            ("GET" | "POST", "/iserver/auth/status") => Ok(self.auth_status(standing)),
            ("GET" | "POST", "/iserver/auth/ssodh/init") => self.open_brokerage_session(caller, request, now),
            ("GET" | "POST", "/logout") => Ok(self.log_out(caller)),
            (_, endpoint) if endpoint.starts_with("/iserver/") && standing != Standing::Ready => {
                Err(Rejection::NoBridge)
            }
            ("GET", "/iserver/accounts") if has_accounts => Ok(iserver_accounts(user, &caller.session.cookie)),
            ("GET", "/iserver/accounts") => Ok(iserver_accounts(&without_accounts(user), &caller.session.cookie)),
            (_, endpoint) if endpoint.starts_with("/iserver/") && !has_accounts => Err(Rejection::NoAccounts),
            ("GET", "/iserver/marketdata/snapshot") => snapshot(request, now),
            (_, endpoint) if endpoint.starts_with("/iserver/") => self.order_api(caller, endpoint, request, now),
            _ => Err(Rejection::NotFound),
        }
    }

    fn open_brokerage_session(
        &mut self,
        caller: &Caller,
        request: &SignedRequest<'_>,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        let (publish, compete) = (boolean(request, "publish")?, boolean(request, "compete")?);
        if !publish {
            return Err(Rejection::NoBrokerageSession("publish must be true"));
        }
        self.schedule.admit_to_brokerage()?;
        self.note_change();
        self.brokerage.open(&caller.user, &caller.access_token, compete, now);
        Ok(self.auth_status(self.brokerage.standing(&caller.user, &caller.access_token, now)))
    }

    fn log_out(&mut self, caller: &Caller) -> Value {
        self.note_change();
        self.brokerage.close(&caller.user, &caller.access_token);
        self.registry.close_live_session(&caller.access_token, &caller.session.token);
        json!({ "status": true })
    }

    /// An authenticated brokerage session is usable once it has accounts (protocol section 14.4).
    fn has_accounts(&self, user: &str, now: UnixTime) -> bool {
        let is_old_enough = self.brokerage.age(user, now) >= self.settings.accounts_delay;
        is_old_enough && !self.schedule.suffers(Trouble::EmptyAccounts)
    }

    fn auth_status(&self, standing: Standing) -> Value {
        let ready = standing == Standing::Ready;
        json!({
            "authenticated": ready,
            "established": ready,
            "competing": match standing {
                Standing::Absent => false,
                Standing::Ready => self.schedule.suffers(Trouble::AuthenticatedAndCompeting),
                Standing::Competing => true,
            },
            "connected": standing != Standing::Absent,
            "message": "",
            "MAC": "00:00:5E:00:53:01",
            "serverInfo": { "serverName": "JifN00001", "serverVersion": "Build 10.0.0, Jan 1, 2026 12:00:00 PM" },
            "hardware_info": "00000000|00:00:5E:00:53:01",
            "fail": "",
        })
    }

    /// Without `ssoExpires` and `userId`, which may be missing under OAuth; `collission` is spelt as IBKR spells it.
    fn tickle(&self, cookie: &str, standing: Standing) -> Value {
        let iserver = if self.schedule.suffers(Trouble::TicklesWithoutStatus) {
            json!({})
        } else {
            json!({ "authStatus": self.auth_status(standing) })
        };
        json!({ "session": cookie, "collission": false, "hmds": { "error": "no bridge" }, "iserver": iserver })
    }
}

/// An argument from wherever clients put it: the query, a form or JSON.
fn argument(request: &SignedRequest<'_>, name: &str) -> Option<String> {
    let mut pairs = request.query.iter().chain(&request.form);
    if let Some((_, value)) = pairs.find(|(key, _)| key == name.as_bytes()) {
        return Some(String::from_utf8_lossy(value).into_owned());
    }
    match serde_json::from_slice::<Map<String, Value>>(request.body).ok()?.remove(name)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// An argument in any letter case, because Python writes `True`; false where there is none.
pub(crate) fn boolean(request: &SignedRequest<'_>, name: &str) -> Result<bool, Rejection> {
    match argument(request, name) {
        Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(word) if !word.eq_ignore_ascii_case("false") => {
            Err(Rejection::Malformed("a boolean is neither true nor false"))
        }
        _ => Ok(false),
    }
}

fn without_accounts(user: &User) -> User {
    User { accounts: Vec::new(), ..user.clone() }
}

fn portfolio_accounts(user: &User) -> Value {
    let account = |id: &String| {
        json!({
            "id": id,
            "accountId": id,
            "accountVan": id,
            "accountTitle": user.name,
            "displayName": id,
            "accountAlias": null,
            "currency": "USD",
            "type": if user.is_paper() { "DEMO" } else { "INDIVIDUAL" },
            "tradingType": "STKNOPT",
            "faclient": false,
            "clearingStatus": "O",
            "desc": id,
        })
    };
    user.accounts.iter().map(account).collect()
}

fn iserver_accounts(user: &User, cookie: &str) -> Value {
    let each = |value: Value| user.accounts.iter().map(|id| (id.clone(), value.clone())).collect::<Map<_, _>>();
    let aliases: Map<_, _> = user.accounts.iter().map(|id| (id.clone(), json!(id))).collect();
    json!({
        "accounts": user.accounts,
        "selectedAccount": user.accounts.first(),
        "aliases": aliases,
        "acctProps": each(json!({ "hasChildAccounts": false, "supportsCashQty": true, "supportsFractions": true })),
        "allowFeatures": { "allowedAssetTypes": "STK,OPT,FUT,CASH,BOND", "allowDynAccount": false },
        "groups": [],
        "profiles": [],
        "sessionId": cookie,
        "isFT": false,
        "isPaper": user.is_paper(),
    })
}

/// Prices made up from the contract's number, the same in every call.
fn snapshot(request: &SignedRequest<'_>, now: UnixTime) -> Result<Value, Rejection> {
    let conids = argument(request, "conids").ok_or(Rejection::Malformed("conids are missing"))?;
    let fields = argument(request, "fields").unwrap_or_default();
    let conids: Result<Vec<u32>, _> = conids.split(',').map(str::parse).collect();
    let conids = conids.map_err(|_| Rejection::Malformed("conids are not numbers"))?;
    if conids.len() > MAX_CONTRACTS {
        return Err(Rejection::Malformed("more than 100 conids"));
    }
    Ok(conids.into_iter().map(|conid| Value::from(quote(conid, &fields, now))).collect())
}

/// The last price of a contract, in cents: bid and ask are one below and above.
pub(crate) fn quote_cents(conid: u32) -> u32 {
    (conid % 50_000).saturating_add(1_000)
}

/// With those of the `fields`, separated by commas, that are known here.
pub(crate) fn quote(conid: u32, fields: &str, now: UnixTime) -> Map<String, Value> {
    let cents = quote_cents(conid);
    let mut quote = Map::new();
    quote.insert("conid".into(), json!(conid));
    quote.insert("conidEx".into(), json!(conid.to_string()));
    quote.insert("server_id".into(), json!("q0"));
    quote.insert("_updated".into(), json!(millis(now)));
    for field in fields.split(',') {
        let value = match field {
            "31" => price(cents),
            "84" => price(cents.saturating_sub(1)),
            "86" => price(cents.saturating_add(1)),
            "85" | "88" => "100".into(),
            "55" => format!("SYM{conid}"),
            _ => continue,
        };
        quote.insert(field.into(), value.into());
    }
    quote
}

fn price(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
