//! Names, addresses and VLANs of the rack. They are fixed: documents, tests and people rely on them,
//! and one rack per host is enough.

use std::net::Ipv4Addr;

/// Namespace in which `bessemer serve` runs.
pub const NS_CONTROL: &str = "bessemer-control";
/// Namespace of the switch, the machines and their BMCs.
pub const NS_SWITCH: &str = "bessemer-switch";
/// Namespace of the tenant's router, from which people log in.
pub const NS_TENANT: &str = "bessemer-tenant";
/// Namespace of what is not Bessemer's on the provisioning network: somebody else's DHCP server, or
/// a router with a relay to a second provisioning subnet.
pub const NS_REMOTE: &str = "bessemer-remote";
/// All of them.
pub(super) const NAMESPACES: [&str; 4] = [NS_CONTROL, NS_SWITCH, NS_TENANT, NS_REMOTE];

/// VLAN of the provisioning network.
pub const VLAN_PROVISIONING: u16 = 10;
/// VLAN of the provisioning subnet behind the relay.
pub const VLAN_REMOTE: u16 = 11;
/// VLAN of the tenant network.
pub const VLAN_TENANT: u16 = 100;
/// VLAN of ports that nobody uses; it exists nowhere else.
pub const VLAN_PARKED: u16 = 4094;

/// The account on every BMC.
pub const BMC_USERNAME: &str = "admin";
/// As many nodes as a rack may have.
pub const NODE_LIMIT: u16 = 32;

pub(super) const BRIDGE: &str = "br0";

/// Control's end and the switch's end of the BMC network.
pub(super) const BMC_INTERFACE: &str = "bmc0";
pub(super) const CONTROL_BMC: &str = "10.78.0.1/24";
/// Control's end and the switch's port of the provisioning network.
pub(super) const PROVISIONING_INTERFACE: &str = "prov0";
pub(super) const CONTROL_PROVISIONING: &str = "10.77.0.1/24";
/// The router's ends on the provisioning network and on the subnet behind it.
pub(super) const REMOTE_UPLINK: &str = "rem0";
pub(super) const REMOTE_INTERFACE: &str = "rem1";
pub(super) const REMOTE_PROVISIONING: &str = "10.77.0.2/24";
pub(super) const REMOTE_PROVISIONING_ADDRESS: &str = "10.77.0.2";
pub(super) const REMOTE_GATEWAY: &str = "10.76.0.1/24";
pub(super) const REMOTE_SUBNET: &str = "10.76.0.0/24";
/// Both ends of the conductor's public side.
pub(super) const PUBLIC_INTERFACE: &str = "pub0";
pub(super) const CONTROL_PUBLIC: &str = "10.79.0.1/24";
pub(super) const TENANT_PUBLIC: &str = "10.79.0.2/24";
pub(super) const TENANT_PUBLIC_ADDRESS: &str = "10.79.0.2";
/// The tenant router's end and the switch's port of the tenant network.
pub(super) const TENANT_INTERFACE: &str = "ten0";
pub(super) const TENANT_GATEWAY: &str = "192.168.100.1/24";
pub(super) const TENANT_SUBNET: &str = "192.168.100.0/24";

/// Disk of every node, in bytes.
pub(super) const DISK_BYTES: u64 = 8 << 30;

/// UEFI firmware without Secure Boot, and the variables it starts with (Debian package `ovmf`).
pub(super) const FIRMWARE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Name of node `number`, counted from 1.
pub(super) fn node_name(number: u16) -> String {
    format!("node{number}")
}

/// Switch port and tap of node `number`.
pub(super) fn switch_port(number: u16) -> String {
    format!("tap{number}")
}

/// BMC address of node `number`.
pub(super) fn bmc_address(number: u16) -> Ipv4Addr {
    let [_, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 78, 0, low.saturating_add(10))
}

/// Hardware address of node `number`'s NIC, in the range QEMU uses.
pub(super) fn mac(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("52:54:00:b5:{high:02x}:{low:02x}")
}

/// Serial number of node `number`.
pub(super) fn serial_number(number: u16) -> String {
    format!("BSMR{number:04}")
}
