//! `rack.json`: everything somebody has to know about a running rack to use it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bessemer_tls::Fingerprint;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::{StateDirectory, write_private};
use super::layout::{self, Shape};
use crate::Error;
use crate::machine::Accelerator;

/// A password: written to `rack.json`, which only root may read, but never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// A running rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RackDescription {
    /// What executes the machines.
    pub accelerator: Accelerator,
    /// Memory of every node, in MiB.
    pub memory_mib: u32,
    /// Names under `/run/netns`.
    pub namespaces: Namespaces,
    /// Where the namespaces meet the networks.
    pub addresses: Addresses,
    /// VLANs on the switch.
    pub vlans: Vlans,
    /// The switches: one in each rack.
    pub switches: Vec<SwitchDescription>,
    /// The machines.
    pub nodes: Vec<NodeDescription>,
}

/// Names of the network namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Where `bessemer serve` runs.
    pub control: String,
    /// Where switch, machines and BMCs run.
    pub switch: String,
    /// Where the tenant's router is and people log in from.
    pub tenant: String,
    /// Where somebody else's DHCP server, or a DHCP relay, can be.
    pub remote: String,
}

/// Interfaces and IPv4 addresses (with prefix length) outside the machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Control's interface on the provisioning network.
    pub provisioning_interface: String,
    /// Control's address on the provisioning network.
    pub provisioning: String,
    /// Control's address on the BMC network.
    pub bmc: String,
    /// Control's public address, which servers of the tenant network reach.
    pub public: String,
    /// Of the namespace `remote`: its interface on the provisioning network, and its address there.
    pub remote_uplink: String,
    /// See `remote_uplink`.
    pub remote_provisioning: String,
    /// Of the namespace `remote`: its interface on the provisioning subnet behind it, and its address
    /// there, which is that subnet's router.
    pub remote_interface: String,
    /// See `remote_interface`.
    pub remote_gateway: String,
    /// The tenant router's address towards control.
    pub tenant_public: String,
    /// The tenant router's address on the tenant network: the servers' default gateway.
    pub tenant_gateway: String,
}

/// VLANs on the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlans {
    /// The provisioning network.
    pub provisioning: u16,
    /// The provisioning subnet behind the relay.
    pub remote: u16,
    /// The tenant network.
    pub tenant: u16,
    /// Ports nobody uses.
    pub parked: u16,
}

/// The switch of a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchDescription {
    /// What the conductor is told to call it.
    pub name: String,
    /// Where it runs, with the machines of its rack.
    pub namespace: String,
    /// Name of the bridge.
    pub bridge: String,
    /// Unix socket of its OVSDB server (RFC 7047).
    pub ovsdb_socket: PathBuf,
    /// Where the other racks' switches reach it, if there are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_address: Option<Ipv4Addr>,
}

/// A NIC of a machine, and where it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDescription {
    /// Its hardware address.
    pub mac: String,
    /// Name of the switch.
    pub switch: String,
    /// The switch's port: a tap.
    pub switch_port: String,
}

/// A machine of the rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// `node1`, `node2`, …
    pub name: String,
    /// Base URL of its BMC.
    pub bmc_url: String,
    /// SHA-256 of the BMC's certificate, 64 hexadecimal digits.
    pub bmc_fingerprint: Fingerprint,
    /// Account on the BMC.
    pub bmc_username: String,
    /// Its password.
    pub bmc_password: Secret,
    /// Its NICs, all in one switch; the first one boots.
    pub nics: Vec<NicDescription>,
    /// SMBIOS serial number.
    pub serial: String,
    /// SMBIOS UUID.
    pub uuid: Uuid,
    /// Raw disk image.
    pub disk: PathBuf,
    /// Unix socket of its serial console, while it is powered on.
    pub serial_socket: PathBuf,
    /// Everything its serial console said.
    pub serial_log: PathBuf,
}

impl NicDescription {
    /// As `bessemer node enroll --mac` wants it.
    pub fn enrolled(&self) -> String {
        let Self {
            mac,
            switch,
            switch_port,
        } = self;
        format!("{mac},switch={switch},port={switch_port}")
    }
}

impl RackDescription {
    pub(super) fn new(
        directory: &StateDirectory,
        accelerator: Accelerator,
        memory_mib: u32,
        shape: Shape,
        nodes: Vec<NodeDescription>,
    ) -> Self {
        let switches = (1..=shape.racks).map(|rack| SwitchDescription {
            name: layout::switch_name(rack, shape.racks),
            namespace: layout::switch_namespace(rack).to_owned(),
            bridge: layout::BRIDGE.to_owned(),
            ovsdb_socket: directory.ovsdb_socket(rack),
            tunnel_address: (shape.racks > 1).then(|| layout::tunnel_address(rack)),
        });
        Self {
            accelerator,
            memory_mib,
            namespaces: Namespaces {
                control: layout::NS_CONTROL.to_owned(),
                switch: layout::NS_SWITCH.to_owned(),
                tenant: layout::NS_TENANT.to_owned(),
                remote: layout::NS_REMOTE.to_owned(),
            },
            addresses: Addresses {
                provisioning_interface: layout::PROVISIONING_INTERFACE.to_owned(),
                provisioning: layout::CONTROL_PROVISIONING.to_owned(),
                bmc: layout::CONTROL_BMC.to_owned(),
                public: layout::CONTROL_PUBLIC.to_owned(),
                remote_uplink: layout::REMOTE_UPLINK.to_owned(),
                remote_provisioning: layout::REMOTE_PROVISIONING.to_owned(),
                remote_interface: layout::REMOTE_INTERFACE.to_owned(),
                remote_gateway: layout::REMOTE_GATEWAY.to_owned(),
                tenant_public: layout::TENANT_PUBLIC.to_owned(),
                tenant_gateway: layout::TENANT_GATEWAY.to_owned(),
            },
            vlans: Vlans {
                provisioning: layout::VLAN_PROVISIONING,
                remote: layout::VLAN_REMOTE,
                tenant: layout::VLAN_TENANT,
                parked: layout::VLAN_PARKED,
            },
            switches: switches.collect(),
            nodes,
        }
    }

    /// The description left by the last `up` and not removed by `down`: `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load(directory: &StateDirectory) -> Result<Option<Self>, Error> {
        let path = directory.description();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let description = serde_json::from_slice(&text);
        description
            .map(Some)
            .map_err(|source| Error::Damaged { path, source })
    }

    pub(super) fn save(&self, directory: &StateDirectory) -> Result<(), Error> {
        let path = directory.description();
        let text = serde_json::to_string_pretty(self).map_err(|source| Error::Damaged {
            path: path.clone(),
            source,
        })?;
        write_private(&path, &text)
    }

    /// The switch that a node is plugged into.
    pub fn switch_of(&self, node: &NodeDescription) -> Option<&SwitchDescription> {
        let name = &node.nics.first()?.switch;
        self.switches.iter().find(|switch| switch.name == *name)
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn node(&self, name: &str) -> Result<&NodeDescription, Error> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
                Error::UnknownNode {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bessemer_tls::rustls::pki_types::CertificateDer;
    use serde_json::json;

    use super::*;

    fn rack() -> RackDescription {
        let directory = StateDirectory::new(Path::new("/srv/lab")).expect("a short name");
        let node = NodeDescription {
            name: "node1".to_owned(),
            bmc_url: "https://10.78.0.11".to_owned(),
            bmc_fingerprint: Fingerprint::of(&CertificateDer::from(vec![0])),
            bmc_username: "admin".to_owned(),
            bmc_password: Secret::new("hunter2".to_owned()),
            nics: vec![NicDescription {
                mac: "52:54:00:b5:00:01".to_owned(),
                switch: "rack".to_owned(),
                switch_port: "tap1".to_owned(),
            }],
            serial: "BSMR0001".to_owned(),
            uuid: Uuid::nil(),
            disk: directory.disk("node1"),
            serial_socket: directory.serial_socket("node1"),
            serial_log: directory.serial_log("node1"),
        };
        let shape = Shape { racks: 1, nodes: 1 };
        RackDescription::new(&directory, Accelerator::Tcg, 2048, shape, vec![node])
    }

    /// Scripts and the rack test read these names.
    #[test]
    fn the_names_in_rack_json_are_these() {
        let expected = json!({
            "accelerator": "tcg",
            "memory_mib": 2048,
            "namespaces": {
                "control": "bessemer-control",
                "switch": "bessemer-switch",
                "tenant": "bessemer-tenant",
                "remote": "bessemer-remote",
            },
            "addresses": {
                "provisioning_interface": "prov0",
                "provisioning": "10.77.0.1/24",
                "bmc": "10.78.0.1/24",
                "public": "10.79.0.1/24",
                "remote_uplink": "rem0",
                "remote_provisioning": "10.77.0.2/24",
                "remote_interface": "rem1",
                "remote_gateway": "10.76.0.1/24",
                "tenant_public": "10.79.0.2/24",
                "tenant_gateway": "192.168.100.1/24",
            },
            "vlans": {"provisioning": 10, "remote": 11, "tenant": 100, "parked": 4094},
            "switches": [{
                "name": "rack",
                "namespace": "bessemer-switch",
                "bridge": "br0",
                "ovsdb_socket": "/srv/lab/run/ovs/db.sock",
            }],
            "nodes": [{
                "name": "node1",
                "bmc_url": "https://10.78.0.11",
                "bmc_fingerprint": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "bmc_username": "admin",
                "bmc_password": "hunter2",
                "nics": [{
                    "mac": "52:54:00:b5:00:01",
                    "switch": "rack",
                    "switch_port": "tap1",
                }],
                "serial": "BSMR0001",
                "uuid": "00000000-0000-0000-0000-000000000000",
                "disk": "/srv/lab/nodes/node1/disk.raw",
                "serial_socket": "/srv/lab/run/node1.serial",
                "serial_log": "/srv/lab/nodes/node1/serial.log",
            }],
        });
        let text = serde_json::to_value(rack()).expect("JSON");
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_value::<RackDescription>(text).expect("a rack"),
            rack()
        );
    }

    #[test]
    fn passwords_are_not_shown_to_logs() {
        assert!(!format!("{:?}", rack()).contains("hunter2"));
    }

    #[test]
    fn an_unknown_node_is_refused_with_the_known_ones() {
        let error = rack().node("node7").expect_err("there is one node");
        assert_eq!(
            error.to_string(),
            "no node \"node7\" in this rack: it has node1"
        );
    }
}
