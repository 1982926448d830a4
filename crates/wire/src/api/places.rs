//! Sites, racks and switches.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use bessemer_core::id::{NodeId, RackId, SiteId, SwitchId};
use bessemer_core::lifecycle::PortRole;
use bessemer_core::net::MacAddress;
use bessemer_core::network::IdPool;
use bessemer_core::port_plan::PortState;
use bessemer_core::switch::SwitchDriver;

use super::nodes::present;

/// A request for a new site.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteCreate {
    /// Its name, 1 to 63 characters; unique, and for good.
    pub name: String,
    /// What it is, at most 200 characters.
    #[serde(default)]
    pub description: String,
}

/// A change of a site (RFC 7396): what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteUpdate {
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A place with racks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Racks in it.
    pub racks: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A request for a new rack.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RackCreate {
    /// Its name, 1 to 63 characters; unique, and for good.
    pub name: String,
    /// The site that it is in, by name or id.
    pub site: String,
    /// Where in the site, such as `room 2, row C`: at most 200 characters.
    #[serde(default)]
    pub position: String,
}

/// A change of a rack (RFC 7396): what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RackUpdate {
    /// The site that it is in, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Where in the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// A rack of a site.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rack {
    /// Its id.
    pub id: RackId,
    /// Its name.
    pub name: String,
    /// The site that it is in.
    pub site: SiteId,
    /// That site's name.
    pub site_name: String,
    /// Where in the site.
    pub position: String,
    /// Switches in it.
    pub switches: u64,
    /// Nodes in it.
    pub nodes: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// The private key of a certificate (PEM). Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct PrivateKey(pub String);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PrivateKey(…)")
    }
}

/// A request for a new switch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchCreate {
    /// Its name, 1 to 63 characters; unique, and for good: the ports of nodes name it.
    pub name: String,
    /// How it is spoken to; for good.
    pub driver: SwitchDriver,
    /// Where: `unix:/path`, `tcp:address:port` or, with TLS, `ssl:address:port` for `ovsdb`; nothing for
    /// `flat`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The rack that it is in, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The authority that signs its certificate (PEM); needed with `ssl:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The certificate that we show it (PEM), if it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// That certificate's private key (PEM). Stored encrypted; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub key: Option<PrivateKey>,
    /// Where VXLAN tunnels to it end (RFC 7348); without it no VXLAN network reaches its ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tunnel_address: Option<IpAddr>,
    /// Its VLANs for VXLAN networks, such as `3000-3999`, which is the default; no network may have one
    /// of them once there is a `tunnel_address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tunnel_vlans: Option<IdPool>,
    /// The physical network that its ports reach, as networks name it; at most 63 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Bytes of the longest IP packet that it forwards, 1280 to 9216; not checked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_mtu: Option<u16>,
    /// The VLAN of parked ports, if it is another than `parked_vlan` of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_vlan: Option<u16>,
    /// Where agents meet the conductor, if elsewhere than in `provisioning.vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_vlan: Option<u16>,
    /// Where idle agents do, if elsewhere than in `provisioning.standby_vlan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_vlan: Option<u16>,
    /// Where agents that rescue a server do, if elsewhere than where they are provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue_vlan: Option<u16>,
}

/// A change of a switch (RFC 7396): what is absent stays, `null` takes away.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchUpdate {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The rack that it is in, by name or id.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub rack: Option<Option<String>>,
    /// The authority that signs its certificate (PEM).
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub authority: Option<Option<String>>,
    /// The certificate that we show it (PEM); `null` takes its key away, too.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub certificate: Option<Option<String>>,
    /// That certificate's private key (PEM). Stored encrypted; never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub key: Option<PrivateKey>,
    /// Where VXLAN tunnels to it end.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub tunnel_address: Option<Option<IpAddr>>,
    /// Its VLANs for VXLAN networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tunnel_vlans: Option<IdPool>,
    /// The physical network that its ports reach.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub physical_network: Option<Option<String>>,
    /// Bytes of the longest IP packet that it forwards.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    pub largest_mtu: Option<Option<u16>>,
    /// The VLAN of parked ports.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    pub parked_vlan: Option<Option<u16>>,
    /// Where agents meet the conductor.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    pub provisioning_vlan: Option<Option<u16>>,
    /// Where idle agents do.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    pub standby_vlan: Option<Option<u16>>,
    /// Where agents that rescue a server do.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u16>)]
    pub rescue_vlan: Option<Option<u16>>,
}

/// A switch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Switch {
    /// Its id.
    pub id: SwitchId,
    /// Its name.
    pub name: String,
    /// How it is spoken to.
    pub driver: SwitchDriver,
    /// Where; empty if it is not spoken to.
    pub address: String,
    /// The name of the rack that it is in.
    #[serde(default)]
    pub rack: Option<String>,
    /// The authority that signs its certificate (PEM).
    #[serde(default)]
    pub authority: Option<String>,
    /// The certificate that we show it (PEM).
    #[serde(default)]
    pub certificate: Option<String>,
    /// Whether that certificate's key is stored.
    pub has_key: bool,
    /// Where VXLAN tunnels to it end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tunnel_address: Option<IpAddr>,
    /// Its VLANs for VXLAN networks.
    #[schema(value_type = String)]
    pub tunnel_vlans: IdPool,
    /// The physical network that its ports reach.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// Bytes of the longest IP packet that it forwards.
    #[serde(default)]
    pub largest_mtu: Option<u16>,
    /// The VLAN of parked ports, if it is not the configuration's.
    #[serde(default)]
    pub parked_vlan: Option<u16>,
    /// Where agents meet the conductor, if not where the configuration says.
    #[serde(default)]
    pub provisioning_vlan: Option<u16>,
    /// Where idle agents do, likewise.
    #[serde(default)]
    pub standby_vlan: Option<u16>,
    /// Where agents that rescue a server do, likewise.
    #[serde(default)]
    pub rescue_vlan: Option<u16>,
    /// Nodes with a port on it.
    pub nodes: u64,
    /// How it fares.
    pub health: SwitchHealth,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// How a switch fares, as far as it has been asked for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SwitchHealth {
    /// Whether it did not answer as it should when it was last asked.
    pub failing: bool,
    /// When it last answered as it should.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// Why it last did not.
    #[serde(default)]
    pub error: Option<String>,
    /// When that was.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub error_at: Option<Timestamp>,
}

/// A port of a switch that a node is cabled to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SwitchPort {
    /// Its name, as the switch has it.
    pub port: String,
    /// The node that is cabled to it.
    pub node: NodeId,
    /// That node's name.
    pub node_name: String,
    /// The NIC at the other end.
    pub mac: MacAddress,
    /// What the node's ports were last brought into; absent while they are being changed.
    #[serde(default)]
    pub role: Option<PortRole>,
    /// What it must carry for that.
    #[serde(default)]
    pub wanted: Option<String>,
    /// What it was last seen to carry.
    #[serde(default)]
    pub state: Option<PortState>,
    /// When that was.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// What of it is not as wanted.
    pub differences: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_not_printed() {
        let request: SwitchCreate =
            serde_json::from_str(r#"{"name": "leaf1", "driver": "ovsdb", "key": "planted"}"#)
                .unwrap();
        assert!(!format!("{request:?}").contains("planted"));
        let update: SwitchUpdate = serde_json::from_str(r#"{"key": "planted"}"#).unwrap();
        assert!(!format!("{update:?}").contains("planted"));
    }

    #[test]
    fn null_takes_away_and_absence_leaves() {
        let update: SwitchUpdate =
            serde_json::from_str(r#"{"tunnel_address": null, "parked_vlan": 7}"#).unwrap();
        assert_eq!(update.tunnel_address, Some(None));
        assert_eq!(update.parked_vlan, Some(Some(7)));
        assert_eq!(update.largest_mtu, None);
    }
}
