//! Who owns what by the rows of the database, looked at after decisions: each node and each address at
//! most one server. The database has constraints that say the same; this is what is left if they, or the
//! statements that rely on them, do not hold. VLANs and VNIs are one network's each. And what runs in a tenant's network is a server that there
//! is, on its own node and in its own network: an address and a VLAN are free to be given anew once who had
//! them is gone.

use std::collections::HashMap;

use bessemer_store::{NetworkFilter, NetworkRecord, NetworkSort, ServerRecord};

use crate::judge::{Judge, System};
use crate::world::World;

/// More servers than a site has.
const ALL: u32 = 1000;

/// Looks after every decision, or after a few that come together, for as long as it is polled.
pub(crate) async fn watch(world: &World) {
    let mut decisions = world.judge.states();
    while decisions.changed().await.is_ok() {
        look(world).await;
    }
}

async fn look(world: &World) {
    let found = world.servers.iter().find_map(|slot| slot.view().server());
    let Some((server, runtime)) = found else {
        return;
    };
    let store = server.site.store.clone();
    drop(server);
    let before = world.judge.systems();
    // In the server's own runtime: one that is killed answers nothing.
    let asked = runtime.spawn(async move {
        let (servers, _) = store.servers(None, None, ALL).await?;
        // What a server is on is not deleted before it.
        let (filter, sort) = (NetworkFilter::default(), NetworkSort::Created);
        let (networks, _) = store.networks(filter, sort, None, ALL).await?;
        Ok::<_, bessemer_store::Error>((servers, networks))
    });
    if let Ok(Ok((servers, networks))) = asked.await {
        judge(&world.judge, &servers);
        numbers(&world.judge, &networks);
        // What has run all the time while the rows were read.
        let now = world.judge.systems();
        let systems = before.iter().filter(|system| now.contains(system));
        systems.for_each(|system| is_somebodys(&world.judge, system, &servers, &networks));
    }
}

fn judge(judge: &Judge, servers: &[ServerRecord]) {
    let (mut nodes, mut addresses) = (HashMap::new(), HashMap::new());
    for server in servers {
        if let Some(other) = nodes.insert(server.node, &server.name) {
            let (node, name) = (judge.name(server.node), &server.name);
            judge.object(format!("{node} belongs to {other} and to {name}"));
        }
        let attached = server.attachments.iter();
        for address in attached.flat_map(|attachment| &attachment.addresses) {
            if let Some(other) = addresses.insert(*address, &server.name) {
                let (address, name) = (address.1, &server.name);
                judge.object(format!("{address} belongs to {other} and to {name}"));
            }
        }
    }
}

/// Each VLAN and each VNI is one network's.
fn numbers(judge: &Judge, networks: &[NetworkRecord]) {
    let mut taken = HashMap::new();
    for network in networks {
        let number = (network.vlan, network.vni);
        if let Some(other) = taken.insert(number, &network.name) {
            let (name, (vlan, vni)) = (&network.name, number);
            judge.object(format!(
                "VLAN {vlan:?}, VNI {vni:?} belong to networks {other} and {name}"
            ));
        }
    }
}

/// What runs belongs to a server, which has the node that it runs on, and the network that it is in.
fn is_somebodys(
    judge: &Judge,
    system: &System,
    servers: &[ServerRecord],
    networks: &[NetworkRecord],
) {
    let machine = &system.machine;
    let mut servers = servers.iter();
    let Some(server) = servers.find(|server| system.calls.contains(&server.id.to_string())) else {
        return judge.object(format!(
            "{machine}: the system of a server that is gone runs in a tenant's network"
        ));
    };
    if system.node != Some(server.node) {
        let (name, node) = (&server.name, judge.name(server.node));
        judge.object(format!(
            "{machine}: the system of {name} runs, which is {node}'s"
        ));
    }
    let on = |network: &&NetworkRecord| {
        let mut attached = server.attachments.iter();
        attached.any(|attachment| attachment.network == network.id)
    };
    let vlans = networks.iter().filter(on).map(|network| network.vlan);
    if !vlans.clone().any(|vlan| vlan == system.vlan) {
        let (name, vlan) = (&server.name, system.vlan);
        let own: Vec<_> = vlans.collect();
        judge.object(format!(
            "{machine}: {name} is in VLAN {vlan:?}, and its own are {own:?}"
        ));
    }
}
