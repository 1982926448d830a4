//! What a new server finds on its config drive: OpenStack's metadata documents, as cloud-init and
//! every other first-boot tool read them.
//!
//! Formats: OpenStack Nova's config drive, version `latest` (`meta_data.json`,
//! `network_data.json`, `vendor_data.json`); see Nova's user guide, "Metadata service".

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::id::ServerId;
use crate::net::{Ipv4Subnet, MacAddress};

/// One NIC's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The NIC.
    pub mac: MacAddress,
    /// The network's id or name, for people who read the document.
    pub network: String,
    /// Its subnet.
    pub subnet: Ipv4Subnet,
    /// The server's own address.
    pub address: Ipv4Addr,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Maximum transmission unit, in bytes.
    pub mtu: u16,
}

/// `meta_data.json`: who the server is and which keys open it.
pub fn meta_data(server: ServerId, name: &str, keys: &[(String, String)]) -> Value {
    let public_keys: serde_json::Map<String, Value> = keys
        .iter()
        .map(|(name, key)| (name.clone(), Value::String(key.clone())))
        .collect();
    json!({
        "uuid": server,
        "name": name,
        "hostname": name,
        "launch_index": 0,
        "availability_zone": "default",
        "public_keys": public_keys,
        "meta": {},
    })
}

/// `network_data.json`: the one place where a server's network is written down.
pub fn network_data(attachments: &[Attachment]) -> Value {
    let links: Vec<_> = attachments
        .iter()
        .enumerate()
        .map(|(index, attachment)| {
            json!({
                "id": format!("link{index}"),
                "type": "phy",
                "ethernet_mac_address": attachment.mac,
                "mtu": attachment.mtu,
            })
        })
        .collect();
    let networks: Vec<_> = attachments.iter().enumerate().map(network).collect();
    let services: Vec<_> = attachments
        .iter()
        .flat_map(|attachment| &attachment.dns)
        .map(|address| json!({ "type": "dns", "address": address }))
        .collect();
    json!({ "links": links, "networks": networks, "services": services })
}

fn network((index, attachment): (usize, &Attachment)) -> Value {
    let routes: Vec<_> = attachment
        .gateway
        .iter()
        .map(|gateway| json!({ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": gateway }))
        .collect();
    json!({
        "id": format!("network{index}"),
        "network_id": attachment.network,
        "link": format!("link{index}"),
        "type": "ipv4",
        "ip_address": attachment.address,
        "netmask": attachment.subnet.netmask(),
        "routes": routes,
    })
}

/// What a server's operating system writes to its serial console to say that it is up: one line that
/// nobody else's console shows. `token` is derived for the server and its deployment.
pub fn serial_marker(token: &str) -> String {
    format!("bessemer-up-{token}")
}

/// `vendor_data.json` for a system whose report is left to its cloud-init: `script` is what
/// [`crate::report::script`] gives.
///
/// A script rather than cloud-init's `phone_home` module, because the tenant's own user data would
/// override that one: then a good server would never become active.
pub fn vendor_data(script: &str) -> Value {
    json!({ "cloud-init": script })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_data_says_what_was_ordered() {
        let attachment = Attachment {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            network: "tenant".into(),
            subnet: "192.168.100.0/24".parse().unwrap(),
            address: Ipv4Addr::new(192, 168, 100, 10),
            gateway: Some(Ipv4Addr::new(192, 168, 100, 1)),
            dns: vec![Ipv4Addr::new(192, 168, 100, 1)],
            mtu: 1500,
        };
        assert_eq!(
            network_data(&[attachment]),
            json!({
                "links": [{ "id": "link0", "type": "phy",
                    "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 1500 }],
                "networks": [{ "id": "network0", "network_id": "tenant", "link": "link0",
                    "type": "ipv4", "ip_address": "192.168.100.10", "netmask": "255.255.255.0",
                    "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0",
                        "gateway": "192.168.100.1" }] }],
                "services": [{ "type": "dns", "address": "192.168.100.1" }],
            })
        );
    }
}
