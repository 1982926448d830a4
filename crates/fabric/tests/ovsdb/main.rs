//! The OVSDB driver against a real Open vSwitch, and against peers that are none.

mod aggregation;
mod fake;
#[path = "../../../bench/src/figure.rs"]
mod figure;
mod real;
mod relay;
mod thousand;
mod tls;
mod transactions;
mod tunnels;
mod vswitch;
