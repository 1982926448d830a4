//! Whole sites on loopback: the real server, store, API, Redfish and agent protocol, against
//! simulated machines. See `harness`.

mod agents;
mod bmc;
mod boot_files;
mod causes;
mod clocks;
mod conductors;
mod crashes;
mod explain;
mod faults;
#[path = "../../../bench/src/figure.rs"]
mod figure;
mod fleet;
mod governor;
mod harness;
mod ipmi;
mod lifecycle;
mod media;
mod networks;
mod orders;
mod outages;
mod overlay;
mod passing;
mod port_groups;
mod power_checks;
mod rebuild_crashes;
mod report;
mod root_disk;
mod rush;
mod standby;
mod switches;
mod thousand;
mod verbs;
