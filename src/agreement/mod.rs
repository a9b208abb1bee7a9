//! The agreement on a live session token: Diffie-Hellman, derivation, proof
//! ([protocol section 5](crate::protocol#section-5)).

pub(crate) mod diffie_hellman;
pub(crate) mod live_session_token;
pub(crate) mod mismatch_search;
