//! Nodes whose NICs are bonded, on a real Open vSwitch: a link aggregation whatever they are doing, and a
//! bond in what their systems are told.

use std::sync::{Arc, Mutex};

use bessemer_client::Error;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::GroupMode;
use bessemer_store::{Gate, When};
use bessemer_wire::api::{
    NetworkRequest, NetworkUpdate, NodeCreate, NodePortCreate, NodePortUpdate, PortGroupCreate,
    PortGroupUpdate, SubnetCreate,
};
use serde_json::{Value, json};

use crate::harness::disk::ConfigDrive;
use crate::harness::{SimNode, Site, order, problem, says};
use crate::switches::vswitch::Vswitch;
use crate::switches::{SECOND, site_with, storage};

/// The node with its two NICs on ports p1 and p2 of `leaf1`.
fn on_p1_and_p2(node: &SimNode) -> NodeCreate {
    let macs = [node.host.mac, second()];
    let ports = macs
        .into_iter()
        .zip(1..)
        .map(|(mac, number)| NodePortCreate {
            switch: Some("leaf1".into()),
            switch_port: Some(format!("p{number}")),
            ..NodePortCreate::bare(mac)
        });
    NodeCreate {
        ports: ports.collect(),
        ..node.request()
    }
}

fn second() -> MacAddress {
    SECOND.parse().unwrap()
}

fn bond0(node: &SimNode) -> PortGroupCreate {
    PortGroupCreate {
        name: "bond0".into(),
        mode: GroupMode::Lacp,
        members: vec![node.host.mac, second()],
    }
}

/// Does something that is refused while the node has a turn, which takes a moment.
async fn wired<T>(site: &Site, wire: impl AsyncFn() -> Result<T, Error>) {
    site.wait("the node to be wired", async || match wire().await {
        Ok(_) => Some(()),
        Err(error) => {
            says(&problem::<()>(Err(error)).detail, &["try again"]);
            None
        }
    })
    .await;
}

/// What the ports p1 and p2 are on the switch: one aggregation with what it carries, or two ports.
fn seen(vswitch: &Vswitch) -> String {
    // All at once, as they may be about to change.
    let columns = "--columns=name,lacp,tag,trunks";
    let ports = vswitch.vsctl(&["--format=csv", "--no-headings", columns, "list", "port"]);
    let mut ports = ports.lines();
    let port = ports.find(|port| port.starts_with("lag-p1,") || port.starts_with("p1,"));
    port.expect("one of the two").replace('"', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bond_is_an_aggregation_whatever_its_node_does_and_its_system_is_told() {
    let vswitch = Arc::new(Vswitch::start());
    let seen_so_far = Arc::new(Mutex::new(Vec::new()));
    let (switch, all) = (vswitch.clone(), seen_so_far.clone());
    // Whenever ports are about to change, and whenever they have been read back.
    let gate: Gate = Arc::new(move |point| {
        if point.name == "expect_ports" && point.when == When::Before {
            all.lock().unwrap().push(seen(&switch));
        }
        true
    });
    let site = site_with(&[vswitch.socket()], Some(gate)).await;
    let node = site.machine_with_two_nics().await;
    let mut request = on_p1_and_p2(&node);
    request.port_groups = vec![bond0(&node)];
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    let mut backend = storage();
    backend.mtu = Some(9000);
    backend.subnets = vec![SubnetCreate {
        cidr: "2001:db8:7::/64".parse().unwrap(),
        gateway: None,
        dns: vec![],
        routes: vec![],
        pools: None,
    }];
    site.api.create_network(&backend).await.unwrap();
    let mut both = order("web");
    both.networks.push(NetworkRequest {
        network: "storage".into(),
        addresses: vec![],
        port: Some("bond0".into()),
        mode: None,
    });
    site.api.create_server(&both, "web").await.unwrap();
    site.wait_for_active("web").await;
    let tenants = "lag-p1,active,[],[100, 200]";
    assert_eq!(seen(&vswitch), tenants);
    is_told_of_the_bond(&node);
    cannot_be_wired_anew(&site, &node).await;
    site.release("web", &node).await;
    let parked = "lag-p1,active,4094,[]";
    assert_eq!(seen(&vswitch), parked);

    let all = seen_so_far.lock().unwrap();
    let formed = all.iter().position(|seen| seen.starts_with("lag-p1"));
    let since = &all[formed.unwrap()..];
    for role in [parked, "lag-p1,active,10,[]", tenants] {
        assert!(since.iter().any(|seen| seen == role), "{role}: {all:?}");
    }
    assert!(
        since.iter().all(|seen| seen.starts_with("lag-p1")),
        "{all:?}"
    );
}

/// Its config drive has one bond with both networks tagged on it.
fn is_told_of_the_bond(node: &SimNode) {
    let document = ConfigDrive::read(node.disk()).network_data;
    let links = document["links"].as_array().unwrap();
    let told = |link: &Value| json!([link["id"], link["type"], link["mtu"]]);
    let kinds: Vec<_> = links.iter().map(told).collect();
    assert_eq!(
        json!(kinds),
        json!([
            ["nic0", "phy", 9000],
            ["nic1", "phy", 9000],
            ["bond0", "bond", 9000],
            ["bond0.100", "vlan", 1500],
            ["bond0.200", "vlan", 9000],
        ]),
        "{document}"
    );
    assert_eq!(links[0]["ethernet_mac_address"], json!(node.host.mac));
    assert_eq!(links[1]["ethernet_mac_address"], SECOND);
    let bond = &links[2];
    assert_eq!(bond["bond_links"], json!(["nic0", "nic1"]));
    assert_eq!(bond["bond_mode"], "802.3ad");
    says(bond, &["lacp_rate", "fast"]);
    assert_eq!(links[3]["vlan_link"], "bond0");
    let networks = document["networks"].as_array().unwrap();
    let places: Vec<_> = networks
        .iter()
        .map(|network| [&network["link"], &network["ip_address"]])
        .collect();
    assert_eq!(
        json!(places),
        json!([
            ["bond0.100", "192.168.100.10"],
            ["bond0.200", "2001:db8:7::1"]
        ]),
        "{document}"
    );
}

/// Whatever would move the networks of a server is refused.
async fn cannot_be_wired_anew(site: &Site, node: &SimNode) {
    let name = &node.name;
    let other = PortGroupUpdate {
        mode: Some(GroupMode::ActiveBackup),
        members: None,
    };
    let cable = NodePortUpdate {
        switch_port: Some(Some("p3".into())),
        ..NodePortUpdate::default()
    };
    let refused: [Result<(), Error>; 3] = [
        site.api
            .update_port_group(name, "bond0", &other)
            .await
            .map(drop),
        site.api.delete_port_group(name, "bond0").await,
        site.api
            .update_node_port(name, SECOND, &cable)
            .await
            .map(drop),
    ];
    for refused in refused {
        let problem = problem(refused);
        assert_eq!(problem.status, 409, "{problem:?}");
        says(&problem.detail, &["has server", "delete the server first"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_available_node_can_be_bonded_and_its_switch_follows_at_once() {
    let vswitch = Vswitch::start();
    let site = site_with(&[vswitch.socket()], None).await;
    let node = site.machine_with_two_nics().await;
    site.api.create_node(&on_p1_and_p2(&node)).await.unwrap();
    site.wait_for_state(&node, "available").await;
    let single = "p1,[],4094,[]";
    assert_eq!(seen(&vswitch), single);
    let until = async |wanted: &str| {
        let what = format!("the switch to have {wanted}");
        site.wait(&what, async || (seen(&vswitch) == wanted).then_some(()))
            .await;
    };
    let name = &node.name;
    wired(&site, async || {
        site.api.create_port_group(name, &bond0(&node)).await
    })
    .await;
    until("lag-p1,active,4094,[]").await;
    wired(&site, async || {
        site.api.delete_port_group(name, "bond0").await
    })
    .await;
    until(single).await;
    let events = site.events().await;
    let wired: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "node.wired")
        .collect();
    assert_eq!(wired.len(), 2);
    says(
        &wired[0].message,
        &["port group bond0 (lacp) is made", &node.name],
    );
    // It is for rent all the while.
    assert_eq!(site.node(&node).await.provision_state, "available");
}

/// What ports p1 and p2 carry, neither of them in an aggregation.
fn carried(vswitch: &Vswitch) -> String {
    let columns = "--columns=name,lacp,tag,trunks";
    let mut list = vec!["--format=csv", "--no-headings", columns];
    list.extend(["list", "port", "p1", "p2"]);
    let ports = vswitch.vsctl(&list);
    let mut ports: Vec<_> = ports.lines().map(|port| port.replace('"', "")).collect();
    ports.sort();
    ports.join(" ")
}

/// Orders a server on the networks `tenants` and `storage`.
async fn order_both(site: &Site, name: &str) {
    let mut both = order(name);
    both.networks.push(NetworkRequest {
        network: "storage".into(),
        addresses: vec![],
        port: None,
        mode: None,
    });
    site.api.create_server(&both, name).await.unwrap();
    site.wait_for_active(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lacp_networks_are_on_the_ports_that_lead_to_them_or_on_a_bond_of_the_system_alone()
{
    let vswitch = Vswitch::start();
    let site = site_with(&[vswitch.socket()], None).await;
    let node = site.machine_with_two_nics().await;
    let name = &node.name;
    let mut request = on_p1_and_p2(&node);
    for (port, leads_to) in request.ports.iter_mut().zip(["storage", "public"]) {
        port.physical_network = Some(leads_to.into());
    }
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    let mut backend = storage();
    backend.physical_network = Some("storage".into());
    site.api.create_network(&backend).await.unwrap();
    let part_of = async |network: &str, physical_network: Option<&str>| {
        let update = NetworkUpdate {
            physical_network: Some(physical_network.map(str::to_owned)),
            ..NetworkUpdate::default()
        };
        site.api.update_network(network, &update).await.unwrap();
    };
    part_of("tenants", Some("nowhere")).await;
    let refused = problem(site.api.create_server(&order("web"), "web").await);
    let (first, second) = (node.host.mac.to_string(), SECOND.to_owned());
    says(
        &refused.detail,
        &["`nowhere`", &first, "`storage`", &second, "`public`"],
    );
    part_of("tenants", Some("public")).await;
    order_both(&site, "web").await;
    assert_eq!(carried(&vswitch), "p1,[],200,[] p2,[],100,[]");
    let document = ConfigDrive::read(node.disk()).network_data;
    let links = document["links"].as_array().unwrap();
    // Nothing is said of a NIC whose network has no addresses.
    assert_eq!(links.len(), 1, "{document}");
    assert_eq!(links[0]["ethernet_mac_address"], SECOND);
    site.release("web", &node).await;

    for network in ["tenants", "storage"] {
        part_of(network, None).await;
    }
    let bare = NodePortUpdate {
        physical_network: Some(None),
        ..NodePortUpdate::default()
    };
    for mac in [&first, &second] {
        wired(&site, async || {
            site.api.update_node_port(name, mac, &bare).await
        })
        .await;
    }
    let group = PortGroupCreate {
        mode: GroupMode::ActiveBackup,
        ..bond0(&node)
    };
    wired(&site, async || {
        site.api.create_port_group(name, &group).await
    })
    .await;
    order_both(&site, "again").await;
    assert_eq!(carried(&vswitch), "p1,[],[],[100, 200] p2,[],[],[100, 200]");
    let document = ConfigDrive::read(node.disk()).network_data;
    let bond = &document["links"][2];
    assert_eq!(
        (&bond["id"], &bond["bond_mode"]),
        (&json!("bond0"), &json!("active-backup"))
    );
    site.release("again", &node).await;
    assert_eq!(carried(&vswitch), "p1,[],4094,[] p2,[],4094,[]");
}
