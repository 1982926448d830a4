//! Whole sites on loopback: the real server, store, API, Redfish and agent protocol, against
//! simulated machines. See `harness`.

mod harness;
mod lifecycle;
