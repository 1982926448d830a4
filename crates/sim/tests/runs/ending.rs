//! How a site ends: nothing goes wrong any more, everything is put in order as people would, and then
//! everything must be in order.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Phase, Standby};
use bessemer_sim::agent::zeros;
use bessemer_sim::switch::SimulatedSwitch;
use bessemer_wire::api::{Node, ServerStatus};
use bessemer_wire::event::Event;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::faults;
use crate::judge::PARKED;
use crate::networks;
use crate::offer::{OVERLAY, SHARED, order};
use crate::rows;
use crate::story::{give_back, place, register};
use crate::world::{PROVISIONING, World};

/// The longest that a node may be on its way when nothing goes wrong: every deadline of every attempt
/// of two phases, by the site's clock.
const ON_ITS_WAY: Duration = Duration::from_secs(3600);

/// Between two looks whether something is as it should be by now.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The networks of what is ordered when nothing goes wrong any more.
const LAST_ORDERS: [&str; 3] = [OVERLAY, OVERLAY, SHARED];

/// States of a node's history that are asked for: as many as are kept.
const MOST: u32 = 1000;

/// How often people mend what has failed. What failed while something still went wrong fails once.
const ROUNDS: u32 = 4;

pub(crate) async fn end(world: &World) {
    faults::mend_all(world).await;
    world.judge.tell("--- nothing goes wrong any more");
    let mut nodes = Vec::new();
    for machine in 0..world.machines.len() {
        nodes.extend(register(world, machine, Standby::ByFlavor).await);
    }
    if nodes.len() < world.machines.len() || !settle_all(world, &nodes).await {
        return;
    }
    orders_have_ended(world).await;
    if !put_in_order(world, &nodes, Phase::Active).await {
        return;
    }
    let forgets = world.kind.forgets_at_the_end;
    if forgets {
        if !last_orders_are_served(world, &nodes).await {
            return;
        }
        // Switches come back as they were delivered, with nobody's port in anybody's network ...
        switches_lose_their_ports(world, SimulatedSwitch::reset);
        switches_are_as_they_should_be(world, &nodes).await;
        world.switches.iter().for_each(SimulatedSwitch::save);
    }
    give_all_back(world).await;
    if settle_all(world, &nodes).await && put_in_order(world, &nodes, Phase::Available).await {
        if forgets {
            // ... and as they were before all servers were given back.
            switches_lose_their_ports(world, SimulatedSwitch::forget);
        }
        switches_are_as_they_should_be(world, &nodes).await;
        nothing_is_left(world, &nodes).await;
        events_tell_what_is(world).await;
    }
}

/// Nothing goes wrong any more: whoever orders gets a server. Whether that is so.
async fn last_orders_are_served(world: &World, nodes: &[NodeId]) -> bool {
    let mut ordered = Vec::new();
    for (number, network) in LAST_ORDERS.iter().enumerate() {
        let name = format!("last-{number}");
        // There may be none free: then that is what people are told.
        ordered.extend(place(world, &name, &order(&name, "kexec", network)).await);
    }
    if !settle_all(world, nodes).await {
        return false;
    }
    let servers = world.ask("servers", async |api| api.servers().await).await;
    for server in servers.unwrap_or_default() {
        let is_last = ordered.iter().any(|last| last.id == server.id);
        if is_last && server.status != ServerStatus::Active {
            world.judge.object(format!(
                "server {} is ordered when nothing goes wrong any more, and is {:?}: {}",
                server.name, server.status, server.reason
            ));
        }
    }
    true
}

/// Waits until all nodes have settled in what is wanted of them by now, and that is written down; whether
/// they have.
async fn settle_all(world: &World, nodes: &[NodeId]) -> bool {
    for node in nodes {
        let settled = async {
            while !node_of(world, *node)
                .await
                .is_some_and(|seen| is_settled(&seen))
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if timeout(ON_ITS_WAY, settled).await.is_err() {
            let name = world.judge.name(*node);
            let state = world.judge.states().borrow().get(node).cloned();
            world
                .judge
                .object(format!("{name} does not come to rest: {state:?}"));
            return false;
        }
    }
    true
}

fn is_settled(node: &Node) -> bool {
    node.state.settled() && node.state.generation == node.generation
}

/// Whoever ordered has a server, or was told why not.
async fn orders_have_ended(world: &World) {
    let servers = world.ask("servers", async |api| api.servers().await).await;
    for server in servers.unwrap_or_default() {
        let told = !server.reason.summary.is_empty();
        match server.status {
            ServerStatus::Active => {}
            ServerStatus::Error if told && server.reason.remedy.is_some() => {}
            status => world.judge.object(format!(
                "server {} has not ended: {status:?}, {}",
                server.name, server.reason
            )),
        }
    }
}

/// Mends what has failed as a person would, until every node is for rent or, with `also`, active.
async fn put_in_order(world: &World, nodes: &[NodeId], also: Phase) -> bool {
    for _ in 0..ROUNDS {
        let mut mended = false;
        for node in nodes {
            let Some(seen) = node_of(world, *node).await else {
                return false;
            };
            mended |= mend(world, &seen, also).await;
        }
        if !mended {
            return true;
        }
        if !settle_all(world, nodes).await {
            return false;
        }
    }
    for node in nodes {
        let Some(seen) = node_of(world, *node).await else {
            return false;
        };
        if !is_in_order(&seen, also) {
            let (name, state) = (&seen.name, &seen.state);
            world.judge.object(format!(
                "{name} fails although nothing goes wrong: {state:?}"
            ));
        }
    }
    false
}

fn is_in_order(node: &Node, also: Phase) -> bool {
    node.state.phase == Phase::Available || node.state.phase == also
}

/// Does what a person would do about this node; whether there was anything to do.
async fn mend(world: &World, node: &Node, also: Phase) -> bool {
    if is_in_order(node, also) {
        return false;
    }
    world.judge.may_erase(node.id);
    let name = &node.name;
    if let Some(server) = node.server {
        world.judge.given_up(server);
    }
    // A release that has failed goes on when the node is provided; any other server is given back.
    if let Some(server) = node.server
        && node.state.came_from != Some(Phase::Releasing)
    {
        give_back(world, &server.to_string()).await;
        return true;
    }
    let what = format!("{name}: put in order");
    let asked = async |api: &bessemer_client::Client| match node.state.phase {
        Phase::Held => api.unhold_node(name).await,
        _ => api.provide_node(name).await,
    };
    world.ask(&what, asked).await;
    true
}

async fn node_of(world: &World, node: NodeId) -> Option<Node> {
    let id = node.to_string();
    let node = world.ask("node", async |api| api.node(&id).await).await?;
    Some(node.into_value())
}

async fn give_all_back(world: &World) {
    let servers = world.ask("servers", async |api| api.servers().await).await;
    for server in servers.unwrap_or_default() {
        world.judge.given_up(server.id);
        give_back(world, &server.id.to_string()).await;
    }
}

/// Nobody has a server, so nobody has a node or an address, and no disk holds anything.
async fn nothing_is_left(world: &World, nodes: &[NodeId]) {
    let judge = &world.judge;
    let servers = world.ask("servers", async |api| api.servers().await).await;
    if let Some(left) = servers.iter().flatten().next() {
        judge.object(format!(
            "server {} is still there: {}",
            left.name,
            left.json()
        ));
    }
    networks_are_free(world).await;
    for node in nodes {
        let Some(seen) = node_of(world, *node).await else {
            return;
        };
        if seen.server.is_some() {
            judge.object(format!("{} belongs to a server that is gone", seen.name));
        }
    }
    for machine in &world.machines {
        let let_in = machine.host.let_in_as_another();
        if let_in > 0 {
            judge.object(format!(
                "{}: an agent that called as if from another machine was let in",
                machine.name
            ));
        }
        if let Some(at) = zeros::first_nonzero(&machine.host.disks[0]).unwrap() {
            judge.object(format!("{}: byte {at} of its disk is left", machine.name));
        }
    }
}

/// No network has an address that is taken, and each that a tenant has made can be deleted.
async fn networks_are_free(world: &World) {
    let listed = world.ask("networks", async |api| api.networks(&[]).await);
    for network in listed.await.unwrap_or_default() {
        let (name, judge) = (&network.name, &world.judge);
        let mut subnets = network.subnets.iter();
        // An address may be taken without being anybody's.
        if let Some(subnet) = subnets.find(|subnet| subnet.usage.free != subnet.usage.pool) {
            let usage = &subnet.usage;
            judge.object(format!(
                "addresses of {name} are taken, and nobody has a server: {usage:?}"
            ));
        }
        let is_everybodys = [SHARED, OVERLAY].contains(&name.as_str());
        if !is_everybodys && !networks::delete(world, name).await {
            judge.object(format!("network {name} stays, and nobody has a server"));
        }
    }
}

fn switches_lose_their_ports(world: &World, how: impl Fn(&SimulatedSwitch)) {
    world.judge.tell("--- switches forget");
    world.judge.ports_are_forgotten(|_| true);
    world.switches.iter().for_each(how);
}

/// Soon, ports are in the networks of their servers, or in nobody's, and tunnels between the switches of a
/// network's servers, whatever switches have forgotten meanwhile.
async fn switches_are_as_they_should_be(world: &World, nodes: &[NodeId]) {
    let began = Instant::now();
    let mut wrong = Vec::new();
    while began.elapsed() < ON_ITS_WAY {
        wrong = wrong_at_switches(world, nodes).await;
        if wrong.is_empty() {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    wrong.iter().for_each(|wrong| world.judge.object(wrong));
}

/// What is not at the switches as the rows say, in words.
async fn wrong_at_switches(world: &World, nodes: &[NodeId]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(rows) = rows::read(world).await else {
        return vec!["nobody knows what switches are to carry".to_owned()];
    };
    let states = world.judge.states().borrow().clone();
    for (number, node) in nodes.iter().enumerate() {
        let wanted = match &states[node] {
            state if state.phase == Phase::Active => rows.vlans_of(*node),
            state if state.standby => vec![PROVISIONING],
            _ => vec![PARKED],
        };
        let name = &world.machines[number].name;
        let vlan = world.switch_of(number).vlan(name).expect("its port");
        let vlan = *vlan.borrow();
        if !vlan.is_some_and(|vlan| wanted.contains(&vlan)) {
            wrong.push(format!(
                "{name}: its port stays in VLAN {vlan:?}, and is to be in {wanted:?}"
            ));
        }
    }
    for (switch, wanted) in world.switches.iter().zip(rows.tunnels()) {
        let tunnels = switch.tunnels();
        if tunnels != wanted {
            let url = switch.url();
            wrong.push(format!(
                "the switch at {url} stays with tunnels {tunnels:?}, and is to have {wanted:?}"
            ));
        }
    }
    wrong
}

/// The events, read from the first to the last, tell where every node and server is.
async fn events_tell_what_is(world: &World) {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.sequence);
        let Some(page) = world
            .ask("events", async |api| api.events(after, 1000).await)
            .await
        else {
            return;
        };
        if page.is_empty() {
            break;
        }
        events.extend(page.into_iter().map(bessemer_client::Document::into_value));
    }
    let gaps = events
        .windows(2)
        .filter(|pair| pair[1].sequence != pair[0].sequence + 1);
    if gaps.count() > 0 {
        world.judge.object("events are missing in the middle");
    }
    servers_in(world, &events);
    let told: HashMap<_, _> = events
        .iter()
        .filter(|event| ["node.step", "node.phase", "node.failed"].contains(&event.kind.as_str()))
        .filter_map(|event| Some((event.node?, whereabouts(&event.data))))
        .collect();
    let nodes = world
        .ask("nodes", async |api| api.nodes(None, false).await)
        .await;
    for node in nodes.unwrap_or_default() {
        history_is_told(world, &node, &events).await;
        let is = whereabouts(&json!(node.state));
        if told.get(&node.id) != Some(&is) {
            let told = told.get(&node.id);
            world
                .judge
                .object(format!("{}: is {is}, and events tell {told:?}", node.name));
        }
    }
}

/// The states that a node has been in are those that events tell of, in the same order.
async fn history_is_told(world: &World, node: &Node, events: &[Event]) {
    let moves = |event: &&Event| {
        event.node == Some(node.id)
            && ["node.step", "node.phase", "node.failed"].contains(&event.kind.as_str())
    };
    let told: Vec<_> = events
        .iter()
        .filter(moves)
        .map(|event| whereabouts(&event.data))
        .collect();
    let id = node.id.to_string();
    let history = world
        .ask("history", async |api| api.node_history(&id, MOST).await)
        .await;
    let mut been: Vec<_> = history
        .unwrap_or_default()
        .iter()
        .map(|entry| whereabouts(&json!(entry.state)))
        .collect();
    // Another reason for the same place is no move.
    been.dedup();
    // What was long ago is forgotten, and nothing has moved a node to where it began.
    let from = told.len().saturating_sub(been.len());
    let last = been.len().saturating_sub(told.len() - from);
    if been[last..] != told[from..] {
        let differs = been[last..]
            .iter()
            .zip(&told[from..])
            .rposition(|(been, told)| been != told);
        let name = &node.name;
        let line = differs.map(|at| (&been[last + at], &told[from + at]));
        world.judge.object(format!(
            "{name}: its history is not what events tell: {line:?} of {} and {}",
            been.len(),
            told.len()
        ));
    }
}

/// Every server is ordered once, and deleted once after that, because somebody has asked for it; nothing is told
/// of it before or after.
fn servers_in(world: &World, events: &[Event]) {
    let mut lives: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for event in events {
        if let Some(server) = event.server.filter(|_| event.kind.starts_with("server.")) {
            lives.entry(server).or_default().push(&event.kind);
        }
    }
    for (server, life) in lives {
        let count = |kind| life.iter().filter(|each| **each == kind).count();
        let whole = life.first() == Some(&"server.ordered")
            && life.last() == Some(&"server.deleted")
            && count("server.ordered") == 1
            && count("server.deleted") == 1;
        if !whole {
            world
                .judge
                .object(format!("server {server} lives by its events as {life:?}"));
        }
        if !world.judge.has_been_given_up(server) {
            world.judge.object(format!(
                "server {server} is gone, and nobody has asked for that"
            ));
        }
    }
}

/// Where a node is, as an event or a state tells it.
fn whereabouts(data: &Value) -> Value {
    let parts = ["phase", "step", "attempt", "tries", "generation"];
    parts.iter().map(|part| data[*part].clone()).collect()
}
