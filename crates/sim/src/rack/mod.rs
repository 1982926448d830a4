//! Racks on this host: network namespaces, a switch each, and QEMU machines with their BMCs.
//!
//! It is built so that Bessemer can be run against it exactly as against a real rack, and so that
//! what must not be reachable is not:
//!
//! ```text
//!  bessemer-control          bessemer-switch                    bessemer-tenant
//!  (bessemer serve)          (Open vSwitch br0, QEMU, BMCs)     (SSH, the tenant's router)
//!
//!   bmc0  10.78.0.1 ───────── bmc0  10.78.0.11, .12, … (BMCs)
//!   prov0 10.77.0.1 ───────── prov0 ┐ VLAN 10
//!                             tap1… ┤ br0, VLAN 4094 until      
//!                                   │ somebody changes it
//!                             ten0  ┘ VLAN 100 ───────────────── ten0 192.168.100.1
//!   pub0  10.79.0.1 ──────────────────────────────────────────── pub0 10.79.0.2
//! ```
//!
//! A second rack, if it is wanted, is a second switch in `bessemer-switch2` with machines of its own; a
//! trunk (`trunk0`) and, for tunnels, a cable between the bridges `br1` lead from one to the other. Another
//! tenant (`bessemer-tenant2`, VLAN 200) is on the first switch then.
//!
//! The tenant's namespace forwards between its two networks and has no route to the provisioning
//! and BMC networks; the control namespace forwards nothing.
//!
//! What makes a rack the same rack tomorrow (disks, firmware variables, certificates, passwords,
//! logs) is kept in its folder; sockets and the description of the running rack are not. A rack
//! whose processes were killed leaves namespaces and strays behind; [`up`] and [`down`] both begin
//! by finding and removing them, so no state of this host needs repair by hand.

mod accelerator;
mod bmc;
mod cleanup;
mod command;
mod daemon;
mod description;
mod directory;
mod layout;
mod lifecycle;
mod namespace;
mod node;
mod status;
mod switch;

pub use bmc::{BmcAnswer, restart_into, set_boot_mode};
pub use daemon::serve;
pub use description::{
    Addresses, Namespaces, NicDescription, NodeDescription, RackDescription, Secret,
    SwitchDescription, Vlans,
};
pub use directory::StateDirectory;
pub use layout::{
    BMC_USERNAME, NODE_LIMIT, NS_CONTROL, NS_OTHER_TENANT, NS_REMOTE, NS_SECOND_SWITCH, NS_SWITCH,
    NS_TENANT, VLAN_OTHER_TENANT, VLAN_PARKED, VLAN_PROVISIONING, VLAN_REMOTE, VLAN_TENANT,
    VLANS_OF_TENANTS,
};
pub use lifecycle::{UpOptions, down, forget, reset, up};
pub use namespace::{run_in_namespace, set_link, set_tenant_uplink};
pub use status::{NodeStatus, status};
pub use switch::{ask_switch, move_port};
