//! A gateway without a socket, on whatever clock it is told.

use std::error::Error;
use std::time::{Duration, SystemTime};

use ibkr_oauth::{Request, Response, UnixTime};
use ibkr_oauth_gateway::Gateway;
use rand::rand_core::CryptoRng;

/// What `gateway` answers to `request` at this moment.
pub fn send(
    gateway: &mut Gateway,
    request: Request,
    rng: &mut dyn CryptoRng,
    now: UnixTime,
) -> Result<Response<'static>, Box<dyn Error>> {
    Ok(gateway.handle(&http::Request::try_from(request)?, rng, system_time(now)).into())
}

/// A moment of the client's, as the gateway counts it.
pub fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millis())
}
