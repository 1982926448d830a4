//! Who owns what by the rows of the database, looked at after decisions: each node and each address at
//! most one server. The database has constraints that say the same; this is what is left if they, or the
//! statements that rely on them, do not hold. VLANs and VNIs are one network's each. And what runs in a
//! tenant's network is a server that there is, on its own node and in its own network, and what comes out
//! of a tunnel belongs to the network that it is in: an address and a VLAN are free to be given anew once
//! who had them is gone.

use std::collections::{BTreeSet, HashMap};

use bessemer_core::id::{NodeId, ServerId};
use bessemer_core::overlay::Tunnel;
use bessemer_store::{
    Error, LocalVlan, NetworkFilter, NetworkRecord, NetworkSort, ServerRecord, Store,
};

use crate::judge::{Judge, System};
use crate::offer::{SWITCHES, tunnel_address};
use crate::world::World;

/// More servers than a site has.
const ALL: u32 = 1000;

/// What the database says of servers and networks at about one moment.
pub(crate) struct Rows {
    servers: Vec<ServerRecord>,
    networks: Vec<NetworkRecord>,
    /// The VLANs that VXLAN networks have for servers.
    local: HashMap<ServerId, Vec<LocalVlan>>,
}

/// Looks after every decision, or after a few that come together, for as long as it is polled.
pub(crate) async fn watch(world: &World) {
    let mut decisions = world.judge.states();
    while decisions.changed().await.is_ok() {
        look(world).await;
    }
}

async fn look(world: &World) {
    let (systems, tunnels) = (world.judge.systems(), all_tunnels(world));
    let Some(rows) = read(world).await else {
        return;
    };
    let judge = &world.judge;
    rows.owners(judge);
    rows.numbers(judge);
    // What has been so all the time while the rows were read.
    let now = judge.systems();
    let systems = systems.iter().filter(|system| now.contains(system));
    systems.for_each(|system| rows.is_somebodys(judge, system));
    let now = all_tunnels(world);
    for (switch, (before, now)) in tunnels.iter().zip(&now).enumerate() {
        let forgotten = judge.forgotten_tunnels(&world.switches[switch]);
        let there = before & now;
        there
            .difference(&forgotten)
            .for_each(|tunnel| rows.leads_nowhere_else(judge, SWITCHES[switch], tunnel));
    }
}

fn all_tunnels(world: &World) -> Vec<BTreeSet<Tunnel>> {
    let switches = world.switches.iter();
    switches.map(|switch| switch.tunnels()).collect()
}

/// Asks a server that there is. `None` if there is none, or it has no answer.
pub(crate) async fn read(world: &World) -> Option<Rows> {
    let (server, runtime) = world.servers.iter().find_map(|slot| slot.view().server())?;
    let store = server.site.store.clone();
    drop(server);
    // In the server's own runtime: one that is killed answers nothing.
    let asked = runtime.spawn(async move { Rows::read(&store).await });
    asked.await.ok()?.ok()
}

impl Rows {
    async fn read(store: &Store) -> Result<Self, Error> {
        let (servers, _) = store.servers(None, None, ALL).await?;
        // What a server is on is not deleted before it.
        let (filter, sort) = (NetworkFilter::default(), NetworkSort::Created);
        let (networks, _) = store.networks(filter, sort, None, ALL).await?;
        let mut rows = Self {
            servers,
            networks,
            local: HashMap::new(),
        };
        for server in &rows.servers {
            if rows
                .networks_of(server)
                .any(|network| network.vni.is_some())
            {
                let vlans = store.local_vlans(server.id).await?;
                rows.local.insert(server.id, vlans);
            }
        }
        Ok(rows)
    }

    fn networks_of(&self, server: &ServerRecord) -> impl Iterator<Item = &NetworkRecord> {
        let on = |network: &&NetworkRecord| {
            let mut attached = server.attachments.iter();
            attached.any(|attachment| attachment.network == network.id)
        };
        self.networks.iter().filter(on)
    }

    /// The VLANs that this server is in.
    fn vlans(&self, server: &ServerRecord) -> Vec<u16> {
        let own = self.networks_of(server).filter_map(|network| network.vlan);
        let local = self.local.get(&server.id).into_iter().flatten();
        own.chain(local.map(|each| each.vlan)).collect()
    }

    /// The VLANs that the server of this node is in; none if it has none.
    pub(crate) fn vlans_of(&self, node: NodeId) -> Vec<u16> {
        let server = self.servers.iter().find(|server| server.node == node);
        server.map_or_else(Vec::new, |server| self.vlans(server))
    }

    /// The tunnels that each switch has to have.
    pub(crate) fn tunnels(&self) -> Vec<BTreeSet<Tunnel>> {
        let local = || self.local.values().flatten();
        let of_switch = |switch: &&str| {
            let here = local().filter(|each| each.switch == **switch);
            let pairs = here.flat_map(|here| {
                let others = local().filter(|far| far.network == here.network);
                others.filter_map(|far| self.tunnel(here, far))
            });
            pairs.collect()
        };
        SWITCHES.iter().map(of_switch).collect()
    }

    fn tunnel(&self, here: &LocalVlan, far: &LocalVlan) -> Option<Tunnel> {
        let far = SWITCHES.iter().position(|name| *name == far.switch)?;
        (SWITCHES[far] != here.switch).then_some(())?;
        Some(Tunnel {
            vni: self.vni(here)?,
            vlan: here.vlan,
            remote: tunnel_address(far).into(),
        })
    }

    fn vni(&self, local: &LocalVlan) -> Option<u32> {
        let mut networks = self.networks.iter();
        networks.find(|network| network.id == local.network)?.vni
    }

    /// Each node and each address is one server's.
    fn owners(&self, judge: &Judge) {
        let (mut nodes, mut addresses) = (HashMap::new(), HashMap::new());
        for server in &self.servers {
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

    /// Each VLAN and each VNI is one network's, and on a switch, too.
    fn numbers(&self, judge: &Judge) {
        let mut taken = HashMap::new();
        for network in &self.networks {
            let number = (network.vlan, network.vni);
            if let Some(other) = taken.insert(number, &network.name) {
                let (name, (vlan, vni)) = (&network.name, number);
                judge.object(format!(
                    "VLAN {vlan:?}, VNI {vni:?} belong to networks {other} and {name}"
                ));
            }
        }
        let mut taken = HashMap::new();
        for each in self.local.values().flatten() {
            let (switch, vlan) = (&each.switch, each.vlan);
            let other = taken.insert((switch, vlan), each.network);
            if other.is_some_and(|other| other != each.network) {
                judge.object(format!("VLAN {vlan} of {switch} belongs to two networks"));
            }
        }
    }

    /// What runs belongs to a server, which has the node that it runs on, and the network that it is in.
    fn is_somebodys(&self, judge: &Judge, system: &System) {
        let machine = &system.machine;
        let mut servers = self.servers.iter();
        let Some(server) = servers.find(|server| system.calls.contains(&server.id.to_string()))
        else {
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
        let own = self.vlans(server);
        if !system.vlan.is_some_and(|vlan| own.contains(&vlan)) {
            let (name, vlan) = (&server.name, system.vlan);
            judge.object(format!(
                "{machine}: {name} is in VLAN {vlan:?}, and its own are {own:?}"
            ));
        }
    }

    /// What comes out of a tunnel is in no VLAN of another network's.
    fn leads_nowhere_else(&self, judge: &Judge, switch: &str, tunnel: &Tunnel) {
        let local = self.local.values().flatten();
        let mut here = local.filter(|each| each.switch == switch && each.vlan == tunnel.vlan);
        let of_all = self.networks.iter();
        let mut of_all = of_all.filter(|network| network.vlan == Some(tunnel.vlan));
        let wrong = here.find_map(|each| self.vni(each).filter(|vni| *vni != tunnel.vni));
        if wrong.is_some() || of_all.next().is_some() {
            judge.object(format!(
                "{switch}: a {tunnel} leads into another network: VNI {wrong:?}"
            ));
        }
    }
}
