//! What must not pass, tried by packets: two real Open vSwitches with a trunk between them, their ports
//! brought where `port_plan::plan` says by the real driver, and machines that send what a malicious
//! guest would. Nothing is read from a configuration: a frame was heard, or it was not.
//!
//! Machines are Unix sockets at the ports of Open vSwitch's dummy datapath, so that every byte of a frame
//! is the test's own and neither privileges nor network devices are needed. The forwarding is that of the
//! userspace datapath.

mod agents;
mod bonds;
mod control;
mod frames;
mod nic;
mod parked;
mod rack;
mod tenants;
#[allow(dead_code, reason = "the driver's other tests use all of it")]
#[path = "../ovsdb/vswitch.rs"]
mod vswitch;
