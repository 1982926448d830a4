//! What people do at a site: one story for each machine, with an operator who looks after it and a
//! tenant who orders servers. Orders take whichever machine is free.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bessemer_core::id::{NodeId, ServerId};
use bessemer_core::lifecycle::{NodeState, Phase, Standby};
use bessemer_core::network::NetworkKind;
use bessemer_wire::api::{PowerVerb, Server, ServerCreate, ServerPowerRequest, ServerRebuild};
use tokio::time::timeout;

use crate::dice::Dice;
use crate::faults::{self, MachineFault, Rule};
use crate::networks;
use crate::offer::{OVERLAY, SHARED, order};
use crate::strikes;
use crate::world::World;

/// Runs that a machine lives through, one after the other.
pub(crate) const LIVES: u64 = 8;

/// The longest that somebody waits for something before they go on without.
const PATIENCE: Duration = Duration::from_secs(900);

/// The longest, by the site's clock, until a conductor decides upon what was asked for.
const DECIDED_WITHIN: Duration = Duration::from_secs(2);

/// The same while much goes wrong: servers are away for minutes, and turns that run last as long.
const DECIDED_AFTER_ALL: Duration = Duration::from_secs(600);

/// Each so manieth order is sent twice under one key.
const ASKS_AGAIN: u32 = 3;

/// What happens to one machine.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) standby: Standby,
    pub(crate) lives: Vec<Life>,
}

/// A run: one order and what becomes of it, while things go wrong with the machine.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) acts: Vec<Act>,
    pub(crate) faults: Vec<Rule<MachineFault>>,
}

/// One thing that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Register the machine.
    Register(Standby),
    /// Order a server.
    Order {
        flavor: &'static str,
        /// The network that is for everybody, for who has none of their own.
        network: &'static str,
        /// At the same moment, somebody else orders the like, and gives it back if they get it.
        has_rival: bool,
    },
    /// Put this machine in order if it needs it, and wait.
    LookAfter,
    /// Make a network of one's own, for the next order if that can be on it.
    MakeNetwork(NetworkKind),
    /// Delete it.
    DeleteNetwork,
    /// Wait until the server ordered last is active or has failed.
    AwaitServer,
    /// Wait until this machine's node has settled.
    AwaitNode,
    /// Do nothing for a while.
    Pause(Duration),
    Rebuild,
    Switch(PowerVerb),
    /// Give the server back.
    Delete,
    Hold,
    Unhold,
    Provide,
    Abort,
    Retire,
}

const POWER: [PowerVerb; 3] = [PowerVerb::On, PowerVerb::Off, PowerVerb::Restart];

impl Story {
    pub(crate) fn of(seed: u64, machine: usize) -> Self {
        let mut dice = Dice::of(seed, 100 + machine as u64);
        let standby = match dice.percent(25) {
            true => Standby::Always,
            false => Standby::ByFlavor,
        };
        // Dice of their own: what else happens does not depend on them.
        let mut more = Dice::of(seed, 200 + machine as u64);
        let lives = (0..LIVES).map(|_| Life::of(&mut dice, machine));
        let mut lives: Vec<_> = lives.map(|life| life.with_networks(&mut more)).collect();
        let mut tunnels = Dice::of(seed, 300 + machine as u64);
        lives
            .iter_mut()
            .for_each(|life| life.with_tunnels(&mut tunnels));
        // More deployments, and twice the work: at some sites.
        if seed % 8 == 1 {
            lives.iter_mut().for_each(|life| life.look_after(&mut more));
        }
        Self { standby, lives }
    }
}

impl Life {
    fn of(dice: &mut Dice, machine: usize) -> Self {
        let mut acts = Vec::new();
        wait(dice, &mut acts, 80, Act::AwaitNode);
        if dice.percent(10) {
            operate(dice, &mut acts);
        }
        let flavor = *dice.pick(&["kexec", "kexec", "cycle"]);
        let has_rival = dice.percent(20);
        let network = SHARED;
        acts.push(Act::Order {
            flavor,
            network,
            has_rival,
        });
        wait(dice, &mut acts, 80, Act::AwaitServer);
        if dice.percent(10) {
            acts.push(Act::Switch(*dice.pick(&POWER)));
            wait(dice, &mut acts, 0, Act::AwaitServer);
        }
        if dice.percent(10) {
            acts.push(Act::Rebuild);
            wait(dice, &mut acts, 70, Act::AwaitServer);
        }
        if dice.percent(8) {
            operate(dice, &mut acts);
        }
        acts.push(Act::Delete);
        Self {
            acts,
            faults: faults::of_machine(dice, machine),
        }
    }

    /// The same, perhaps on a network of the tenant's own.
    fn with_networks(mut self, dice: &mut Dice) -> Self {
        if dice.percent(40) {
            let kind = *dice.pick(&[NetworkKind::Vlan, NetworkKind::Vlan, NetworkKind::Vxlan]);
            self.before_the_order(Act::MakeNetwork(kind));
            self.acts.push(Act::DeleteNetwork);
        }
        self
    }

    /// The same, perhaps on the network with tunnels.
    fn with_tunnels(&mut self, dice: &mut Dice) {
        let is_so = dice.percent(30);
        for act in self.acts.iter_mut().filter(|_| is_so) {
            if let Act::Order { network, .. } = act {
                *network = OVERLAY;
            }
        }
    }

    /// Perhaps there is an operator who sees to it that there is a machine to have.
    fn look_after(&mut self, dice: &mut Dice) {
        if dice.percent(60) {
            self.before_the_order(Act::LookAfter);
        }
    }

    fn before_the_order(&mut self, act: Act) {
        let is_order = |act: &Act| matches!(act, Act::Order { .. });
        let order = self.acts.iter().position(is_order).unwrap_or(0);
        self.acts.insert(order, act);
    }
}

/// Waits for `what`, or only for a while.
fn wait(dice: &mut Dice, acts: &mut Vec<Act>, percent: u64, what: Act) {
    acts.push(match dice.percent(percent) {
        true => what,
        false => Act::Pause(dice.up_to(60)),
    });
}

/// What operators do to nodes.
fn operate(dice: &mut Dice, acts: &mut Vec<Act>) {
    match dice.below(5) {
        0 => acts.extend([Act::Hold, Act::Pause(dice.up_to(40)), Act::Unhold]),
        1 => acts.extend([Act::Abort, Act::Pause(dice.up_to(30)), Act::Provide]),
        2 => acts.extend([Act::Retire, Act::Pause(dice.up_to(60)), Act::Provide]),
        3 => acts.push(Act::Provide),
        _ => acts.push(Act::Abort),
    }
    wait(dice, acts, 60, Act::AwaitNode);
}

/// Somebody who lives a story.
struct Actor<'w> {
    world: &'w World,
    machine: usize,
    node: Option<NodeId>,
    /// The server ordered last: its name, and what is known of it.
    server: Option<(String, ServerId, NodeId)>,
    ordered: u32,
    /// The network of their own, if they have one, and how many they have made.
    network: Option<String>,
    networks: u32,
}

/// Registers a machine and does with it what its story says.
pub(crate) async fn live(world: &World, machine: usize, story: &Story) {
    let mut actor = Actor {
        world,
        machine,
        node: None,
        server: None,
        ordered: 0,
        network: None,
        networks: 0,
    };
    let first = std::iter::once(Act::Register(story.standby));
    for (number, life) in story.lives.iter().enumerate() {
        let acts = async {
            for act in first
                .clone()
                .take(1 - number.min(1))
                .chain(life.acts.clone())
            {
                actor.act(act).await;
            }
        };
        let at_site = world.site_faults.load(Ordering::SeqCst);
        let ((), struck) = tokio::join!(acts, faults::strike_machine(world, &life.faults));
        let used_up = strikes::count_used_up(&world.machines[machine], |_, struck| struck);
        strikes::count_run(struck || used_up || world.site_faults.load(Ordering::SeqCst) > at_site);
    }
}

/// Registers a machine unless it is; its node.
pub(crate) async fn register(world: &World, machine: usize, standby: Standby) -> Option<NodeId> {
    let request = world.registration(machine, standby);
    let name = request.name.clone();
    // Whoever does not know whether they were heard looks first.
    let known = world
        .ask(&format!("{name}: register"), async |api| {
            match api.node(&name).await {
                Err(error) if error.is_not_found() => api.create_node(&request).await,
                found => found,
            }
        })
        .await;
    let node = known.map(|node| node.id);
    world.judge.is_node(&name, node);
    node
}

impl Actor<'_> {
    async fn register(&mut self, standby: Standby) {
        self.node = register(self.world, self.machine, standby).await;
    }

    async fn act(&mut self, act: Act) {
        let name = &self.world.machines[self.machine].name;
        self.world.judge.tell(format!("{name}: {act:?}"));
        let rival = rival(self.world, self.machine, self.ordered, act);
        match act {
            Act::Register(standby) => self.register(standby).await,
            Act::Pause(pause) => tokio::time::sleep(pause).await,
            Act::AwaitNode => self.await_node().await,
            Act::Order {
                flavor,
                network,
                has_rival: true,
            } => {
                tokio::join!(self.order(flavor, network), rival);
            }
            Act::Order {
                flavor, network, ..
            } => self.order(flavor, network).await,
            Act::LookAfter => self.look_after().await,
            Act::MakeNetwork(kind) => {
                self.networks += 1;
                let number = (self.machine, self.networks);
                self.network = networks::make(self.world, kind, number).await;
            }
            Act::DeleteNetwork => {
                if let Some(network) = self.network.take() {
                    networks::delete_soon(self.world, &network).await;
                }
            }
            Act::AwaitServer => self.await_server().await,
            Act::Rebuild => self.rebuild().await,
            Act::Switch(power) => self.switch(power).await,
            Act::Delete => self.delete().await,
            Act::Hold | Act::Unhold | Act::Provide | Act::Abort | Act::Retire => {
                self.operate(act).await;
            }
        }
    }

    async fn await_node(&self) {
        let Some(node) = self.node else { return };
        until(self.world, node, PATIENCE, NodeState::settled).await;
    }

    async fn look_after(&self) {
        let Some(node) = self.node else { return };
        let state = self.world.judge.states().borrow().get(&node).cloned();
        let act = match state {
            Some(state) if state.phase == Phase::Failed && state.at_rest() => Act::Provide,
            Some(state) if state.phase == Phase::Held => Act::Unhold,
            _ => return,
        };
        self.operate(act).await;
        // What was asked for is decided upon after this.
        tokio::time::sleep(DECIDED_WITHIN).await;
        self.await_node().await;
    }

    async fn order(&mut self, flavor: &str, network: &str) {
        self.ordered += 1;
        let name = format!("s{}-{}", self.machine, self.ordered);
        let own = self.network.as_ref();
        let network = own.map_or(network, String::as_str);
        let request = order(&name, flavor, network);
        let ordered = place(self.world, &name, &request).await;
        if let Some(server) = ordered
            .as_ref()
            .filter(|_| self.ordered.is_multiple_of(ASKS_AGAIN))
        {
            // As somebody does who has not heard the answer.
            let again = place(self.world, &name, &request).await;
            if again.as_ref().map(|again| again.id) != Some(server.id) {
                let again = again.map(|again| again.id);
                self.world.judge.object(format!(
                    "{name} is {}, and {again:?} when asked again",
                    server.id
                ));
            }
        }
        strikes::ORDERS.fetch_add(u64::from(ordered.is_some()), Ordering::Relaxed);
        self.server = ordered.map(|server| (name, server.id, server.node));
    }

    async fn await_server(&self) {
        let Some((_, server, node)) = &self.server else {
            return;
        };
        let ended = until(self.world, *node, PATIENCE, |state| {
            has_ended(state, *server)
        });
        if !ended.await {
            decided_by_now(self.world, *node).await;
        }
    }

    async fn rebuild(&self) {
        let Some((name, server, _)) = &self.server else {
            return;
        };
        // It may become active before this is heard.
        self.world.judge.may_be_switched(*server);
        self.world.judge.written_anew(*server);
        let rebuild = ServerRebuild::default();
        let what = format!("rebuild {name}");
        let key = format!("rebuild-{name}");
        self.world
            .ask(&what, async |api| {
                api.rebuild_server(name, &rebuild, &key).await
            })
            .await;
    }

    async fn switch(&self, power: PowerVerb) {
        let Some((name, server, _)) = &self.server else {
            return;
        };
        self.world.judge.may_be_switched(*server);
        let request = ServerPowerRequest {
            power,
            force: true,
            shut_down_seconds: None,
        };
        let what = format!("switch {name} {power:?}");
        let key = format!("switch-{name}");
        self.world
            .ask(&what, async |api| {
                api.switch_server(name, &request, &key).await
            })
            .await;
    }

    async fn delete(&mut self) {
        let Some((name, server, _)) = self.server.take() else {
            return;
        };
        self.world.judge.given_up(server);
        give_back(self.world, &name).await;
    }

    async fn operate(&self, act: Act) {
        let (world, name) = (self.world, &self.world.machines[self.machine].name);
        if let Some(node) = self.node {
            world.judge.may_erase(node);
        }
        let why = "as the story goes";
        let what = format!("{name}: {act:?}");
        let told = async |api: &bessemer_client::Client| match act {
            Act::Hold => api.hold_node(name, why).await,
            Act::Unhold => api.unhold_node(name).await,
            Act::Abort => api.abort_node(name, why).await,
            Act::Retire => api.retire_node(name, why).await,
            _ => api.provide_node(name).await,
        };
        world.ask(&what, told).await;
    }
}

/// Orders the like of what `act` orders, and gives it back at once.
async fn rival(world: &World, machine: usize, number: u32, act: Act) {
    let Act::Order { flavor, .. } = act else {
        return;
    };
    let name = format!("r{machine}-{number}");
    let request = order(&name, flavor, SHARED);
    let ordered = place(world, &name, &request).await;
    if let Some(server) = ordered {
        strikes::ORDERS.fetch_add(1, Ordering::Relaxed);
        world.judge.given_up(server.id);
        give_back(world, &name).await;
    }
}

/// Orders a server under a name that nobody else takes; it, if there was one to have.
pub(crate) async fn place(world: &World, name: &str, request: &ServerCreate) -> Option<Server> {
    let what = format!("order {name}");
    let order = async |api: &bessemer_client::Client| {
        let ordered = api.create_server(request, name).await;
        if let Err(bessemer_client::Error::Problem(problem)) = &ordered
            && problem.field.as_deref() == Some("name")
        {
            world
                .judge
                .object(format!("{what}: refused for itself: {problem}"));
        }
        ordered
    };
    let ordered = world.ask(&what, order).await?;
    Some(ordered.into_value())
}

/// Deletes a server; that it is gone is as good.
pub(crate) async fn give_back(world: &World, name: &str) {
    let what = format!("delete {name}");
    let deleted = async |api: &bessemer_client::Client| match api.delete_server(name).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    };
    world.ask(&what, deleted).await;
}

/// By now a conductor has heard of what is wanted of a node, however long it takes after that: what was
/// wanted is not for this one to wait for any more.
async fn decided_by_now(world: &World, node: NodeId) {
    let id = node.to_string();
    let asked = world.ask("node", async |api| api.node(&id).await);
    let Some(node) = asked.await.map(bessemer_client::Document::into_value) else {
        return;
    };
    // Somebody may have wanted something else a moment ago.
    let taken_up = until(world, node.id, DECIDED_AFTER_ALL, |state| {
        state.generation >= node.generation
    });
    if !taken_up.await {
        let (name, wanted, state) = (&node.name, node.generation, &node.state);
        world.judge.object(format!(
            "{name}: nobody has decided on generation {wanted}: {state:?}"
        ));
    }
}

/// Whether an order has come to its end: its server is active, or its deployment has failed.
fn has_ended(state: &NodeState, server: ServerId) -> bool {
    match state.phase {
        Phase::Active => state.written_for == Some(server),
        Phase::Failed => state.at_rest(),
        _ => false,
    }
}

/// Waits until a conductor has decided something about a node, for `limit` at most; whether it has.
pub(crate) async fn until(
    world: &World,
    node: NodeId,
    limit: Duration,
    condition: impl Fn(&NodeState) -> bool,
) -> bool {
    let mut states = world.judge.states();
    let decided = states.wait_for(|states| states.get(&node).is_some_and(&condition));
    matches!(timeout(limit, decided).await, Ok(Ok(_)))
}
