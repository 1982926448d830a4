//! The Redfish client against Redfish on the wire: real BMCs' answers, and misbehaviour of every
//! kind that a BMC, or whoever answers in its place, is capable of.

mod boot;
mod capabilities;
mod connection;
mod hostile;
mod media;
mod patience;
mod power;
mod service;
mod session;
mod tasks;
mod tls;
mod transport;
mod trees;
