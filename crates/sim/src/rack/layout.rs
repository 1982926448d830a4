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
/// Namespace of the second rack: its switch and its machines. Their BMCs are in [`NS_SWITCH`], as the
/// management network is one.
pub const NS_SECOND_SWITCH: &str = "bessemer-switch2";
/// Namespace of another tenant's router, where there are two racks.
pub const NS_OTHER_TENANT: &str = "bessemer-tenant2";
/// Those of one rack, and those that come with a second one.
pub(super) const NAMESPACES: [&str; 6] = [
    NS_CONTROL,
    NS_SWITCH,
    NS_TENANT,
    NS_REMOTE,
    NS_SECOND_SWITCH,
    NS_OTHER_TENANT,
];

/// VLAN of the provisioning network.
pub const VLAN_PROVISIONING: u16 = 10;
/// VLAN of the provisioning subnet behind the relay.
pub const VLAN_REMOTE: u16 = 11;
/// VLAN of the tenant network.
pub const VLAN_TENANT: u16 = 100;
/// VLANs of tenants' networks that the trunk between two racks carries, beside the provisioning network:
/// the tenant's own two, and another tenant's.
pub const VLANS_OF_TENANTS: [u16; 3] = [VLAN_TENANT, 101, VLAN_OTHER_TENANT];
/// VLAN of another tenant's network.
pub const VLAN_OTHER_TENANT: u16 = 200;
/// VLAN of ports that nobody uses; it exists nowhere else.
pub const VLAN_PARKED: u16 = 4094;

/// The account on every BMC.
pub const BMC_USERNAME: &str = "admin";
/// As many nodes as a rack may have.
pub const NODE_LIMIT: u16 = 32;

pub(super) const BRIDGE: &str = "br0";
/// Bridge through which tunnels to the other rack's switch leave, and both switches' addresses on it.
pub(super) const TUNNEL_BRIDGE: &str = "br1";
pub(super) const TUNNEL_SUBNET: [u8; 3] = [10, 75, 0];
/// Room for what VXLAN adds to a packet of 1500 bytes.
pub(super) const TUNNEL_MTU: u16 = 1600;
/// Both ends of the trunk between the racks, and of the cable between their tunnel bridges.
pub(super) const TRUNK_INTERFACE: &str = "trunk0";
pub(super) const UNDERLAY_INTERFACE: &str = "under0";

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

/// The other tenant's router's end and the switch's port of its network.
pub(super) const OTHER_TENANT_INTERFACE: &str = "ten1";
pub(super) const OTHER_TENANT_GATEWAY: &str = "192.168.200.1/24";

/// Disk of every node, in bytes.
pub(super) const DISK_BYTES: u64 = 8 << 30;

/// UEFI firmware without Secure Boot, and the variables it starts with (Debian package `ovmf`).
pub(super) const FIRMWARE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Name of node `number`, counted from 1.
pub(super) fn node_name(number: u16) -> String {
    format!("node{number}")
}

/// How many racks and nodes there are, and which node has what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// 1 or 2.
    pub(super) racks: u16,
    /// In all racks.
    pub(super) nodes: u16,
}

impl Shape {
    /// The rack of node `number`: the first half of the nodes is in the first one.
    pub(super) fn rack_of(self, number: u16) -> u16 {
        match self.racks {
            1 => 1,
            _ if number <= self.nodes.div_ceil(2) => 1,
            _ => 2,
        }
    }

    /// The nodes of a rack.
    pub(super) fn nodes_of(self, rack: u16) -> impl Iterator<Item = u16> {
        (1..=self.nodes).filter(move |number| self.rack_of(*number) == rack)
    }

    /// Switch ports, which are taps, of node `number`. Where there are two racks, the first node of each
    /// has two NICs.
    pub(super) fn switch_ports(self, number: u16) -> Vec<String> {
        let first = format!("tap{number}");
        let is_first = self.nodes_of(self.rack_of(number)).next() == Some(number);
        match self.racks > 1 && is_first {
            true => vec![first.clone(), format!("{first}b")],
            false => vec![first],
        }
    }
}

/// Name of the switch of a rack.
pub(super) fn switch_name(rack: u16, racks: u16) -> String {
    match racks {
        1 => "rack".to_owned(),
        _ => format!("rack{rack}"),
    }
}

/// Namespace of the switch of a rack.
pub(super) fn switch_namespace(rack: u16) -> &'static str {
    match rack {
        1 => NS_SWITCH,
        _ => NS_SECOND_SWITCH,
    }
}

/// Where the tunnels of a rack's switch end.
pub(super) fn tunnel_address(rack: u16) -> Ipv4Addr {
    let [a, b, c] = TUNNEL_SUBNET;
    Ipv4Addr::new(a, b, c, rack.to_be_bytes()[1])
}

/// BMC address of node `number`.
pub(super) fn bmc_address(number: u16) -> Ipv4Addr {
    let [_, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 78, 0, low.saturating_add(10))
}

/// Hardware address of a NIC (0 or 1) of node `number`, in the range QEMU uses.
pub(super) fn mac(number: u16, nic: usize) -> String {
    let [high, low] = number.to_be_bytes();
    let kind = if nic == 0 { "b5" } else { "b6" };
    format!("52:54:00:{kind}:{high:02x}:{low:02x}")
}

/// Serial number of node `number`.
pub(super) fn serial_number(number: u16) -> String {
    format!("BSMR{number:04}")
}
