//! IBKR's half of the protocol, for tests.
