//! The judge of one site: what was done there, what was seen, and what must never be seen.
//!
//! He looks at every decision of a conductor just before it is committed ([`bessemer_store::Witness`]),
//! at every change of what runs on a machine and at every move of a switch port, each at the very
//! moment: what he finds is what was true then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bessemer_core::id::{NodeId, ServerId};
use bessemer_core::lifecycle::{Action, NodeState, Phase, Step};
use bessemer_core::overlay::Tunnel;
use bessemer_sim::agent::{Host, Inside, zeros};
use bessemer_sim::switch::SimulatedSwitch;
use bessemer_store::{Claim, Commit};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::strikes::{DEPLOYMENTS, DEPLOYMENTS_BEGUN};

/// The VLAN of the network that all tenants may use.
pub(crate) const TENANTS: u16 = 100;

/// The VLANs of those that they make themselves.
pub(crate) const POOL: RangeInclusive<u16> = 200..=203;

/// The VLANs that VXLAN networks have on a switch.
pub(crate) const TUNNELED: RangeInclusive<u16> = 3000..=3003;

/// The VLAN that nobody is in. Who is there by the fault of a machine that cannot be switched off is cut off
/// from everybody, and that is as it should be.
pub(crate) const PARKED: u16 = 4094;

/// Lines of a site's story that are kept.
const STORY: usize = 20_000;

pub(crate) struct Judge {
    clock: &'static Clock,
    /// The story is shown as it happens.
    tells_at_once: bool,
    inner: Mutex<Inner>,
    decisions: AtomicU64,
    /// The newest decision about each node.
    states: watch::Sender<HashMap<NodeId, NodeState>>,
}

#[derive(Default)]
struct Inner {
    story: Vec<String>,
    violations: Vec<String>,
    machines: Vec<Seen>,
    /// The fence of the newest decision about a node, and what it started from.
    fences: HashMap<NodeId, (i64, NodeState)>,
    /// Servers that nobody has asked to be deleted or rebuilt, by their node, once active.
    kept: HashMap<NodeId, ServerId>,
    /// Servers that somebody has asked to be switched.
    switched: HashSet<ServerId>,
    /// Servers that somebody has asked to be deleted, whatever becomes of them until that is heard.
    given_up: HashSet<ServerId>,
    /// Tunnels that a switch, by its address, has again because it has forgotten that they were taken away:
    /// until somebody does that once more.
    forgotten_tunnels: BTreeSet<(String, Tunnel)>,
}

/// A machine as the judge knows it.
struct Seen {
    name: String,
    node: Option<NodeId>,
    host: Weak<Host>,
    disk: PathBuf,
    vlan: watch::Receiver<Option<u16>>,
    /// The tenant's system that runs on it, if one does.
    system: Option<System>,
    /// Systems that have started on it.
    started: u64,
    /// Its firmware starts what is on the disk, which nobody can prevent: until it has been switched off
    /// after that.
    starts_its_disk: bool,
    /// Its switch has forgotten what its port carries: until somebody moves that again.
    port_is_forgotten: bool,
}

/// A tenant's system that runs on a machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) machine: String,
    /// The node that the machine is registered as.
    pub(crate) node: Option<NodeId>,
    /// Whom it tells that it is up: its server is named there.
    pub(crate) calls: String,
    /// The VLAN of its port.
    pub(crate) vlan: Option<u16>,
    /// Tells it from an earlier one on the same machine.
    number: u64,
}

impl Judge {
    pub(crate) fn new(clock: &'static Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            tells_at_once: std::env::var_os("BESSEMER_STORY").is_some(),
            inner: Mutex::default(),
            decisions: AtomicU64::new(0),
            states: watch::Sender::default(),
        })
    }

    /// Notes something for those who read the story of a run that failed.
    pub(crate) fn tell(&self, line: impl AsRef<str>) {
        let now = self.clock.elapsed().as_secs_f64();
        let line = format!("{now:9.3} {}", line.as_ref());
        if self.tells_at_once {
            println!("{line}");
        }
        let mut inner = self.inner.lock().unwrap();
        if inner.story.len() < STORY {
            inner.story.push(line);
        }
    }

    /// Something is as it must never be.
    pub(crate) fn object(&self, what: impl AsRef<str>) {
        self.tell(format!("*** {}", what.as_ref()));
        let mut inner = self.inner.lock().unwrap();
        inner.violations.push(what.as_ref().to_owned());
    }

    /// How often a conductor has decided.
    pub(crate) fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Relaxed)
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.inner.lock().unwrap().violations.clone()
    }

    pub(crate) fn story(&self) -> String {
        self.inner.lock().unwrap().story.join("\n")
    }

    /// The newest decisions about all nodes.
    pub(crate) fn states(&self) -> watch::Receiver<HashMap<NodeId, NodeState>> {
        self.states.subscribe()
    }

    pub(crate) fn watch_machine(
        self: &Arc<Self>,
        name: &str,
        host: &Arc<Host>,
        vlan: watch::Receiver<Option<u16>>,
    ) {
        let index = {
            let mut inner = self.inner.lock().unwrap();
            inner.machines.push(Seen {
                name: name.to_owned(),
                node: None,
                host: Arc::downgrade(host),
                disk: host.disks[0].clone(),
                vlan,
                system: None,
                started: 0,
                starts_its_disk: false,
                port_is_forgotten: false,
            });
            inner.machines.len() - 1
        };
        let judge = self.clone();
        host.observe(Box::new(move |inside| judge.runs(index, inside)));
    }

    /// The node that this machine is registered as, or that it is not any more.
    pub(crate) fn is_node(&self, name: &str, node: Option<NodeId>) {
        let mut inner = self.inner.lock().unwrap();
        let machine = inner.machines.iter_mut().find(|each| each.name == name);
        if let Some(machine) = machine {
            machine.node = node;
        }
    }

    /// For a while, what is started on this machine is nobody's fault.
    pub(crate) fn starts_its_disk(&self, name: &str) {
        let mut inner = self.inner.lock().unwrap();
        let machine = inner.machines.iter_mut().find(|each| each.name == name);
        if let Some(machine) = machine {
            machine.starts_its_disk = true;
        }
    }

    /// Until somebody moves them, what the ports of these machines carry is nobody's fault.
    pub(crate) fn ports_are_forgotten(&self, of: impl Fn(&str) -> bool) {
        let mut inner = self.inner.lock().unwrap();
        let machines = inner.machines.iter_mut().filter(|seen| of(&seen.name));
        machines.for_each(|machine| machine.port_is_forgotten = true);
    }

    /// A switch forgets what has changed since it saved what it knew. Its tunnels of then are nobody's fault,
    /// whose VLANs others may have by now: nobody is let into such a VLAN before the tunnels of its switch
    /// have been looked at.
    pub(crate) fn forgets_tunnels(&self, switch: &SimulatedSwitch) {
        let mut inner = self.inner.lock().unwrap();
        let before = switch.tunnels();
        switch.forget();
        let back = &switch.tunnels() - &before;
        let back = back.into_iter().map(|tunnel| (switch.url(), tunnel));
        inner.forgotten_tunnels.extend(back);
    }

    /// The tunnels that this switch has only because it has forgotten that they were taken away.
    pub(crate) fn forgotten_tunnels(&self, switch: &SimulatedSwitch) -> BTreeSet<Tunnel> {
        let mut inner = self.inner.lock().unwrap();
        let (url, there) = (switch.url(), switch.tunnels());
        let tunnels = &mut inner.forgotten_tunnels;
        tunnels.retain(|(of, tunnel)| *of != url || there.contains(tunnel));
        let here = tunnels.iter().filter(|(of, _)| *of == url);
        here.map(|(_, tunnel)| *tunnel).collect()
    }

    /// Whether somebody has asked for this server to be deleted.
    pub(crate) fn has_been_given_up(&self, server: ServerId) -> bool {
        self.inner.lock().unwrap().given_up.contains(&server)
    }

    /// From now on this server may be erased: somebody asks for it to be deleted.
    pub(crate) fn given_up(&self, server: ServerId) {
        self.inner.lock().unwrap().given_up.insert(server);
        self.written_anew(server);
    }

    /// From now on this server may be switched off and on.
    pub(crate) fn may_be_switched(&self, server: ServerId) {
        self.inner.lock().unwrap().switched.insert(server);
    }

    /// What is on the disks of this server may be lost until it is active again.
    pub(crate) fn written_anew(&self, server: ServerId) {
        let mut inner = self.inner.lock().unwrap();
        inner.kept.retain(|_, kept| *kept != server);
    }

    /// An operator has asked for something that may cost a node what is on its disks.
    pub(crate) fn may_erase(&self, node: NodeId) {
        self.inner.lock().unwrap().kept.remove(&node);
    }

    /// What runs on a machine has changed.
    fn runs(&self, machine: usize, inside: Inside) {
        let (name, vlan, excused) = {
            let mut inner = self.inner.lock().unwrap();
            let seen = &mut inner.machines[machine];
            let vlan = *seen.vlan.borrow();
            if inside == Inside::Nothing && seen.starts_what_it_is_told() {
                seen.starts_its_disk = false;
            }
            seen.started += u64::from(inside == Inside::System);
            seen.system = (inside == Inside::System)
                .then(|| seen.system_now())
                .flatten();
            (seen.name.clone(), vlan, seen.is_excused())
        };
        self.tell(format!("{name}: {inside:?} runs, VLAN {vlan:?}"));
        if inside == Inside::System && !is_no_place_of_ours(vlan) && !excused {
            self.object(format!(
                "{name}: a tenant's system has started while its port is in VLAN {vlan:?}"
            ));
        }
        if inside == Inside::Nothing {
            self.may_be_off(machine);
        }
        if inside == Inside::Agent && is_tenants(vlan) && !excused {
            self.object(format!("{name}: an agent speaks from a tenant's network"));
        }
    }

    /// A machine whose server is active is not switched off unless somebody asks for it.
    fn may_be_off(&self, machine: usize) {
        let inner = self.inner.lock().unwrap();
        let Seen { name, node, .. } = &inner.machines[machine];
        let kept = node.and_then(|node| inner.kept.get(&node));
        let wrong = kept.filter(|server| !inner.switched.contains(server));
        let wrong = wrong.map(|server| {
            format!("{name}: switched off, and nobody has asked server {server} to be")
        });
        drop(inner);
        if let Some(wrong) = wrong {
            self.object(wrong);
        }
    }

    /// The tenants' systems that run in a tenant's network by our doing.
    pub(crate) fn systems(&self) -> Vec<System> {
        let inner = self.inner.lock().unwrap();
        let seen = inner.machines.iter().filter(|seen| !seen.is_excused());
        let systems = seen.filter_map(|seen| {
            let vlan = *seen.vlan.borrow();
            let system = seen.system.clone()?;
            Some(System { vlan, ..system })
        });
        systems.filter(|system| is_tenants(system.vlan)).collect()
    }

    /// A conductor has moved a switch port.
    pub(crate) fn moved(&self, port: &str, vlan: Option<u16>) {
        let found = {
            let mut inner = self.inner.lock().unwrap();
            let found = inner.machines.iter_mut().find(|seen| seen.name == port);
            found.and_then(|seen| {
                seen.port_is_forgotten = false;
                let inside = seen.host.upgrade()?.inside();
                Some((inside, seen.is_excused(), seen.node))
            })
        };
        let Some((inside, excused, node)) = found else {
            return;
        };
        self.tell(format!("{port}: VLAN {vlan:?} while {inside:?} runs"));
        let wrong = match inside {
            Inside::Agent => is_tenants(vlan),
            // What a switch has forgotten is put back whenever that is noticed.
            Inside::Firmware => is_tenants(vlan) && !self.starts_a_system(node),
            // What cannot be switched off is cut off from everybody; nothing else is, while it runs.
            Inside::System if vlan == Some(PARKED) => !self.is_given_up(node),
            Inside::System => !is_no_place_of_ours(vlan),
            Inside::Nothing | Inside::ArmedAgent => false,
        };
        if wrong && !excused {
            self.object(format!(
                "{port}: its port moves to VLAN {vlan:?} while {inside:?} runs"
            ));
        }
    }

    /// Whether the firmware of this node was told to start the tenant's system.
    fn starts_a_system(&self, node: Option<NodeId>) -> bool {
        let states = self.states.borrow();
        let state = node.and_then(|node| states.get(&node));
        state.is_some_and(|state| {
            state.phase == Phase::Active
                || matches!(state.step, Step::StartFromDisk | Step::AwaitOs)
        })
    }

    /// Whether nothing is expected of this node any more but that it is made safe.
    fn is_given_up(&self, node: Option<NodeId>) -> bool {
        let states = self.states.borrow();
        let state = node.and_then(|node| states.get(&node));
        state
            .is_none_or(|state| matches!(state.phase, Phase::Failed | Phase::Held | Phase::Retired))
    }

    /// A conductor is about to commit what it has decided.
    pub(crate) fn decided(&self, server: usize, claim: Claim, commit: &Commit) {
        let (before, next) = (&commit.before, &commit.next);
        let node = claim.node;
        self.decisions.fetch_add(1, Ordering::Relaxed);
        self.fenced(server, claim, before);
        self.has_an_end(node, next);
        let entered = before.phase != next.phase;
        if entered && next.phase == Phase::Available {
            self.is_blank(node);
        }
        if next.phase == Phase::Available && next.step == Step::Rest && before.step != Step::Rest {
            self.is_parked(node);
        }
        if entered && next.phase == Phase::Active {
            self.is_the_right_system(node, next);
        }
        if next.phase == Phase::Deploying && (entered || before.attempt != next.attempt) {
            DEPLOYMENTS_BEGUN.fetch_add(1, Ordering::Relaxed);
        }
        let erases = commit.intent.as_ref().map(|intent| &intent.action) == Some(&Action::Erase);
        if erases {
            self.may_be_erased(node);
        }
        if (before.phase, before.step, before.attempt) != (next.phase, next.step, next.attempt) {
            let (name, reason) = (self.name(node), &next.reason);
            let seen = reason.seen.as_deref().unwrap_or_default();
            self.tell(format!(
                "{name}: server {server}: {} {} ({}) attempt {} try {}: {}; {seen}",
                next.phase.name(),
                next.step.name(),
                next.generation,
                next.attempt,
                next.tries,
                reason.summary,
            ));
        }
        self.states.send_modify(|states| {
            states.insert(node, next.clone());
        });
    }

    /// Whoever decides about a node has claimed it after everybody who has decided about it before. A claim
    /// and a decision that were one commit, and were lost together, count for nothing: whoever is next starts
    /// from the same, under the same fence.
    fn fenced(&self, server: usize, claim: Claim, before: &NodeState) {
        let mut inner = self.inner.lock().unwrap();
        let fence = claim.fence;
        let newest = inner.fences.insert(claim.node, (fence, before.clone()));
        drop(inner);
        let Some((newest, from)) = newest else {
            return;
        };
        if newest > fence || (newest == fence && from != *before) {
            let name = self.name(claim.node);
            self.object(format!(
                "{name}: server {server} decides under fence {fence} after fence {newest}"
            ));
        }
    }

    /// It rests, or has a deadline; and if it has failed, a person is told what to do.
    fn has_an_end(&self, node: NodeId, next: &NodeState) {
        if !next.at_rest() && next.deadline.is_none() && next.retry_at.is_none() {
            let (name, step) = (self.name(node), next.step.name());
            self.object(format!("{name}: {step} has no deadline"));
        }
        let told = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let reason = &next.reason;
        if next.phase == Phase::Failed
            && next.step == Step::Rest
            && (reason.summary.is_empty() || !told(&reason.remedy))
        {
            let name = self.name(node);
            self.object(format!("{name}: has failed without a remedy: {reason}"));
        }
    }

    fn is_blank(&self, node: NodeId) {
        let Some((name, _, disk)) = self.machine(node) else {
            return;
        };
        match zeros::first_nonzero(&disk) {
            Ok(None) => {}
            found => self.object(format!(
                "{name}: for rent with a former tenant's data on it: {found:?}"
            )),
        }
    }

    /// What is for rent and off is in nobody's network.
    fn is_parked(&self, node: NodeId) {
        let port = {
            let inner = self.inner.lock().unwrap();
            let seen = inner.machines.iter().find(|each| each.node == Some(node));
            seen.map(|seen| (*seen.vlan.borrow(), seen.is_excused()))
        };
        if let Some((vlan, false)) = port
            && vlan != Some(PARKED)
        {
            let name = self.name(node);
            self.object(format!(
                "{name}: for rent while its port is in VLAN {vlan:?}"
            ));
        }
    }

    /// What the tenant was told to be up is theirs, and does run.
    fn is_the_right_system(&self, node: NodeId, next: &NodeState) {
        DEPLOYMENTS.fetch_add(1, Ordering::Relaxed);
        let Some((name, host, _)) = self.machine(node) else {
            return;
        };
        let Some(server) = next.written_for else {
            return self.object(format!("{name}: active, and written for nobody"));
        };
        let mut inner = self.inner.lock().unwrap();
        if !inner.given_up.contains(&server) {
            inner.kept.insert(node, server);
        }
        drop(inner);
        let inside = host.inside();
        if inside != Inside::System {
            self.object(format!("{name}: active while {inside:?} runs"));
        }
        let calls = host.home_url().unwrap_or_default();
        if !calls.contains(&server.to_string()) {
            self.object(format!(
                "{name}: active, and not with server {server} on its disk"
            ));
        }
    }

    fn may_be_erased(&self, node: NodeId) {
        let kept = self.inner.lock().unwrap().kept.get(&node).copied();
        if let Some(server) = kept {
            let name = self.name(node);
            self.object(format!(
                "{name}: erased, and nobody has asked for server {server} to be given up"
            ));
        }
    }

    fn machine(&self, node: NodeId) -> Option<(String, Arc<Host>, PathBuf)> {
        let inner = self.inner.lock().unwrap();
        let seen = inner.machines.iter().find(|each| each.node == Some(node))?;
        Some((seen.name.clone(), seen.host.upgrade()?, seen.disk.clone()))
    }

    /// The fence of the newest decision about the node of this machine.
    pub(crate) fn fence(&self, machine: &str) -> Option<i64> {
        let inner = self.inner.lock().unwrap();
        let seen = inner.machines.iter().find(|each| each.name == machine)?;
        inner.fences.get(&seen.node?).map(|(fence, _)| *fence)
    }

    /// What people call this node.
    pub(crate) fn name(&self, node: NodeId) -> String {
        let machine = self.machine(node).map(|(name, ..)| name);
        machine.unwrap_or_else(|| node.to_string())
    }
}

impl Seen {
    fn is_excused(&self) -> bool {
        self.starts_its_disk || self.port_is_forgotten
    }

    /// Whether its firmware is not going to start what is on the disk whatever it is told.
    fn starts_what_it_is_told(&self) -> bool {
        let host = self.host.upgrade();
        host.is_none_or(|host| host.faults.boot_disk_instead.load(Ordering::SeqCst) == 0)
    }

    /// The system on its disk, as what runs from now on.
    fn system_now(&self) -> Option<System> {
        Some(System {
            machine: self.name.clone(),
            node: self.node,
            calls: self.host.upgrade()?.home_url()?,
            vlan: None,
            number: self.started,
        })
    }
}

/// Whether a tenant's system may be there.
fn is_no_place_of_ours(vlan: Option<u16>) -> bool {
    is_tenants(vlan) || vlan == Some(PARKED)
}

/// Whether this is the VLAN of a tenant's network.
fn is_tenants(vlan: Option<u16>) -> bool {
    vlan.is_some_and(|vlan| vlan == TENANTS || POOL.contains(&vlan) || TUNNELED.contains(&vlan))
}
