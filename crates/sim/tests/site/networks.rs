//! Servers on several networks: what they are told at their first boot, and what becomes of their
//! addresses.

use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_core::port_plan::AttachmentMode;
use bessemer_core::subnet::IpSubnet;
use bessemer_wire::api::{
    AddressReserve, NetworkCreate, NetworkRequest, ServerRebuild, SubnetCreate,
};
use serde_json::{Value, json};

use crate::harness::disk::ConfigDrive;
use crate::harness::{Site, order};

fn subnet(cidr: &str, gateway: Option<&str>) -> SubnetCreate {
    SubnetCreate {
        cidr: cidr.parse::<IpSubnet>().unwrap(),
        gateway: gateway.map(|address| address.parse().unwrap()),
        dns: vec![],
        routes: vec![],
        pools: None,
    }
}

/// A network of this VLAN with an IPv4 and an IPv6 subnet.
async fn backend(site: &Site) -> String {
    let network = NetworkCreate {
        name: "backend".into(),
        kind: NetworkKind::Vlan,
        scope: Some(NetworkScope::Shared),
        project: None,
        vlan: Some(200),
        vni: None,
        mtu: Some(1400),
        physical_network: None,
        subnets: vec![
            subnet("10.0.0.0/24", Some("10.0.0.1")),
            subnet("2001:db8:7::/64", Some("fe80::1")),
        ],
    };
    site.api
        .create_network(&network)
        .await
        .unwrap()
        .id
        .to_string()
}

fn on(network: &str, addresses: &[&str]) -> NetworkRequest {
    NetworkRequest {
        network: network.into(),
        addresses: addresses.iter().map(|each| each.parse().unwrap()).collect(),
        port: None,
        mode: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_two_networks_is_told_of_both_and_keeps_them_when_it_is_rebuilt() {
    let (site, node) = Site::ready().await;
    let backend = backend(&site).await;
    let reserve = AddressReserve {
        network: "backend".into(),
        subnet: None,
        address: Some("2001:db8:7::7".parse().unwrap()),
        project: None,
        nobody: false,
        description: String::new(),
    };
    site.api.reserve_address(&reserve).await.unwrap();
    let mut request = order("one");
    request.networks.push(on("backend", &["2001:db8:7::7"]));
    request.networks[1].mode = Some(AttachmentMode::Tagged);
    site.api.create_server(&request, "key").await.unwrap();
    let server = site.wait_for_active("one").await;
    let tenants = server.networks[0].network;
    let expected = json!({
        "links": [
            { "id": "nic0", "type": "phy", "ethernet_mac_address": node.host.mac, "mtu": 1500 },
            { "id": "nic0.200", "type": "vlan", "vlan_link": "nic0", "vlan_id": 200,
                "vlan_mac_address": node.host.mac, "mtu": 1400 },
        ],
        "networks": [
            { "id": "network0", "network_id": tenants, "link": "nic0", "type": "ipv4",
                "ip_address": "192.168.100.10", "netmask": "255.255.255.0",
                "gateway": "192.168.100.1", "routes": [],
                "dns_nameservers": ["192.168.100.53"] },
            { "id": "network1", "network_id": backend, "link": "nic0.200", "type": "ipv4",
                "ip_address": "10.0.0.2", "netmask": "255.255.255.0", "routes": [],
                "dns_nameservers": ["192.168.100.53"] },
            { "id": "network2", "network_id": backend, "link": "nic0.200", "type": "ipv6",
                "ip_address": "2001:db8:7::7", "netmask": "ffff:ffff:ffff:ffff::",
                "gateway": "fe80::1", "routes": [] },
        ],
        "services": [{ "type": "dns", "address": "192.168.100.53" }],
    });
    let told = |what: &str| {
        let document = ConfigDrive::read(node.disk()).network_data;
        assert_same(&document, &expected, what);
    };
    told("at first");

    let same = ServerRebuild::default();
    let begun = site.api.rebuild_server("one", &same, "again").await;
    begun.unwrap();
    let rebuilt = site.wait_for_active("one").await;
    assert_eq!(
        serde_json::to_value(&rebuilt.networks).unwrap(),
        serde_json::to_value(&server.networks).unwrap()
    );
    told("rebuilt");

    // Given back, only what was reserved is still the project's.
    site.release("one", &node).await;
    let kept = site.api.addresses(&[]).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|each| each.address.to_string()).collect();
    assert_eq!(kept, ["2001:db8:7::7"]);
    let history = site.api.address_history(&[("address", "10.0.0.2")]).await;
    let history = history.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].server, Some(server.id));
    assert!(history[0].until.is_some());
}

/// The same but for how a netmask is spelt, and where a VLAN repeats the name servers.
fn assert_same(found: &Value, expected: &Value, what: &str) {
    assert_eq!(found["services"], expected["services"], "{what}: {found}");
    for part in ["links", "networks"] {
        let (found, expected) = (found[part].as_array(), expected[part].as_array());
        let (found, expected) = (found.unwrap(), expected.unwrap());
        assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            let fields = expected.as_object().unwrap().iter();
            for (name, value) in fields.filter(|(name, _)| *name != "dns_nameservers") {
                if name != "netmask" || expected["type"] == "ipv4" {
                    assert_eq!(&found[name], value, "{what}: {name} of {found}");
                }
            }
        }
    }
}
