//! The network of a new server, as its operating system is to configure it.

use std::net::IpAddr;

use bessemer_core::net::MacAddress;
use bessemer_core::network_data::{
    Addressing, Attachment, CheckedNetworking, FixedAddress, Gateway, IpPrefix, Link,
    NetworkingError, NodeNetworking, ParsePrefixError, Port, Tag,
};
use bessemer_store::{NetworkRecord, ServerRecord};

/// What was ordered makes no network. The API refuses such orders, so this is a bug of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// An address or its prefix.
    #[error(transparent)]
    Prefix(#[from] ParsePrefixError),
    /// What they are put together to.
    #[error("the server's network cannot be described: {0}")]
    Networking(#[from] NetworkingError),
}

/// The one network of a server, native on the NIC that its node boots from.
pub(super) fn of(
    server: &ServerRecord,
    network: &NetworkRecord,
    mac: MacAddress,
) -> Result<CheckedNetworking, Error> {
    let gateway = network.gateway.map(|address| Gateway {
        address: address.into(),
        on_link: false,
    });
    let address = FixedAddress {
        address: IpPrefix::new(server.address.into(), network.subnet.prefix())?,
        gateway,
        routes: Vec::new(),
    };
    let mut networking = NodeNetworking {
        ports: vec![Port {
            mac,
            name: None,
            mtu: network.mtu,
        }],
        attachments: vec![Attachment {
            network: network.name.clone(),
            link: Link::Port(mac),
            tag: Tag::Native,
            addressing: vec![Addressing::Fixed(address)],
        }],
        ..NodeNetworking::default()
    };
    for server in &network.dns {
        let server = IpAddr::from(*server);
        // The API takes a list that names one twice.
        if !networking.name_servers.contains(&server) {
            networking.name_servers.push(server);
        }
    }
    Ok(networking.check()?)
}
