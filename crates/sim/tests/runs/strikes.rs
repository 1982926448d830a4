//! How often each kind of fault has struck. A fault that finds nobody to strike tests nothing, and a
//! kind that never strikes is one that these runs do not have.
//!
//! A fault that is counted has struck once it is used up by one; one that lasts, once its victim was
//! asked or did something meanwhile that it spoils.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bessemer_sim::agent::Inside;
use bessemer_sim::machine::Machine as _;

use crate::faults::{self, MachineFault};
use crate::judge::Judge;
use crate::world::Machine;

/// One kind's faults, over all sites of this program.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    happened: u32,
    struck: u32,
}

static TALLIES: Mutex<BTreeMap<String, Tally>> = Mutex::new(BTreeMap::new());

/// Runs, and those with a machine that a fault of its own, or of its site, has struck.
static RUNS: AtomicU64 = AtomicU64::new(0);
static RUNS_STRUCK: AtomicU64 = AtomicU64::new(0);

/// Orders that were accepted, and systems that came up for them.
pub(crate) static ORDERS: AtomicU64 = AtomicU64::new(0);
pub(crate) static DEPLOYMENTS: AtomicU64 = AtomicU64::new(0);

/// Deployments that were begun, each attempt by itself.
pub(crate) static DEPLOYMENTS_BEGUN: AtomicU64 = AtomicU64::new(0);

/// A fault of this kind has happened; whether it has struck anybody.
pub(crate) fn count(kind: impl Debug, struck: bool) {
    let mut tallies = TALLIES.lock().unwrap();
    let tally = tallies.entry(format!("{kind:?}")).or_default();
    tally.happened += 1;
    tally.struck += u32::from(struck);
}

/// A run has ended; whether a fault has struck in it.
pub(crate) fn count_run(struck: bool) {
    RUNS.fetch_add(1, Ordering::Relaxed);
    RUNS_STRUCK.fetch_add(u64::from(struck), Ordering::Relaxed);
}

/// How many runs have ended, and in how many of them a fault has struck.
pub(crate) fn runs() -> (u64, u64) {
    (
        RUNS.load(Ordering::Relaxed),
        RUNS_STRUCK.load(Ordering::Relaxed),
    )
}

/// How often each kind has happened and struck, a line each.
pub(crate) fn report() -> String {
    let tallies = TALLIES.lock().unwrap();
    let lines = tallies.iter().map(|(kind, tally)| {
        let Tally { happened, struck } = tally;
        format!("{struck:6} of {happened:6} struck: {kind}\n")
    });
    lines.collect()
}

/// Those of `kinds` that have never struck.
pub(crate) fn never_struck<K: Debug>(kinds: &[K]) -> Vec<String> {
    let tallies = TALLIES.lock().unwrap();
    let names = kinds.iter().map(|kind| format!("{kind:?}"));
    let has_struck = |kind: &String| tallies.get(kind).is_some_and(|tally| tally.struck > 0);
    names.filter(|kind| !has_struck(kind)).collect()
}

/// Counts faults that were awaited on this machine and have been used up by one, or not; those that
/// `is_over` says it is over for. Whether any has struck.
pub(crate) fn count_used_up(
    machine: &Machine,
    is_over: impl Fn(MachineFault, bool) -> bool,
) -> bool {
    let mut any = false;
    machine.awaited.lock().unwrap().retain(|(kind, times)| {
        let struck = faults::left(machine, *kind).is_some_and(|left| left < *times);
        let over = is_over(*kind, struck);
        if over {
            count(kind, struck);
            any |= struck;
        }
        !over
    });
    any
}

/// What a machine and those about it have done up to some moment.
pub(crate) struct Doings {
    requests: u64,
    boots: u64,
    agents: usize,
    /// Of agents, by their ids.
    commands: Vec<String>,
    inside: Inside,
    /// Whether it is booted by virtual media.
    medium: bool,
    /// How its node stood.
    fence: Option<i64>,
}

impl Doings {
    pub(crate) fn of(machine: &Machine, judge: &Judge) -> Self {
        Self {
            fence: judge.fence(&machine.name),
            requests: machine.bmc.requests(),
            boots: machine.machine.boot_count(),
            agents: machine.host.boots().len(),
            commands: machine.host.carried_out(),
            inside: machine.host.inside(),
            medium: machine.medium,
        }
    }

    /// Whether a fault that began then and was over at `now` has met somebody.
    pub(crate) fn are_spoiled(&self, now: &Self, kind: MachineFault) -> bool {
        use MachineFault as Fault;
        let is_agent = |inside| matches!(inside, Inside::Agent | Inside::ArmedAgent);
        let agent = is_agent(self.inside) || now.agents > self.agents;
        // What an agent was at when it began, or has begun since.
        let at = |step: &str| {
            let before = self.commands.len().saturating_sub(1);
            let mut commands = now.commands.iter().skip(before);
            agent && commands.any(|id| id.split('.').any(|part| part == step))
        };
        match kind {
            Fault::AgentCrashes => is_agent(self.inside),
            Fault::AgentCutOff => agent,
            Fault::WriteSlow => at("write_image"),
            Fault::EraseSlow => at("erase"),
            Fault::NoWayHome => now.fence != self.fence && now.inside == Inside::System,
            // Who finds nobody there leaves no trace but what a conductor makes of it.
            Fault::BmcUnreachable => now.fence != self.fence,
            Fault::PostHangs | Fault::PostTakesLong => now.boots > self.boots,
            Fault::BmcLeavesMediaUnread => self.medium && now.boots > self.boots,
            Fault::BmcIgnoresMedia => self.medium && now.requests > self.requests,
            _ => now.requests > self.requests,
        }
    }
}
