//! What goes wrong at a site: rules, each with whom it is for, what happens, how often or for how
//! long, and when.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bessemer_sim::agent::Inside;
use bessemer_sim::switch::{SimulatedSwitch, SwitchFaults};

use crate::clock::Jump;
use crate::database::Database;
use crate::dice::Dice;
use crate::process::Place;
use crate::strikes::{self, Doings};
use crate::world::{Machine, World};

/// Between two looks for somebody whom a fault is to strike.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A fault to come.
#[derive(Debug, Clone)]
pub(crate) struct Rule<K> {
    /// Whom it is for: the number of a machine or a server.
    pub(crate) of: usize,
    /// How long after the one before.
    pub(crate) after: Duration,
    pub(crate) kind: K,
    /// How often it strikes, where it is counted.
    pub(crate) times: u32,
    /// How long it lasts, where it is not.
    pub(crate) lasts: Duration,
}

/// What goes wrong with one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MachineFault {
    BmcUnreachable,
    BmcResets,
    BmcRejectsPassword,
    BmcServerErrors,
    BmcClientErrors,
    BmcEmptyBodies,
    BmcMissingKeys,
    BmcStaleEtags,
    BmcSlow,
    BmcIgnoresPower,
    BmcIgnoresBootOverride,
    BmcReadsOn,
    BmcIgnoresMedia,
    BmcLeavesMediaUnread,
    PostHangs,
    PostTakesLong,
    WrongBootDevice,
    AgentCrashes,
    AgentCutOff,
    AgentDuplicates,
    AgentReplays,
    AgentOfAnotherMachine,
    AgentVanishesInWrite,
    EraseFails,
    WriteFails,
    WriteSlow,
    EraseSlow,
    OsSilent,
    KexecHangs,
    NoWayHome,
}

use MachineFault as Fault;

pub(crate) const MACHINE_FAULTS: [MachineFault; 30] = [
    Fault::BmcUnreachable,
    Fault::BmcResets,
    Fault::BmcRejectsPassword,
    Fault::BmcServerErrors,
    Fault::BmcClientErrors,
    Fault::BmcEmptyBodies,
    Fault::BmcMissingKeys,
    Fault::BmcStaleEtags,
    Fault::BmcSlow,
    Fault::BmcIgnoresPower,
    Fault::BmcIgnoresBootOverride,
    Fault::BmcReadsOn,
    Fault::BmcIgnoresMedia,
    Fault::BmcLeavesMediaUnread,
    Fault::PostHangs,
    Fault::PostTakesLong,
    Fault::WrongBootDevice,
    Fault::AgentCrashes,
    Fault::AgentCutOff,
    Fault::AgentDuplicates,
    Fault::AgentReplays,
    Fault::AgentOfAnotherMachine,
    Fault::AgentVanishesInWrite,
    Fault::EraseFails,
    Fault::WriteFails,
    Fault::WriteSlow,
    Fault::EraseSlow,
    Fault::OsSilent,
    Fault::KexecHangs,
    Fault::NoWayHome,
];

/// What goes wrong with what machines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SiteFault {
    SwitchRefuses,
    SwitchLosesAnswers,
    SwitchSilent,
    SwitchHangsUp,
    SwitchStalls,
    SwitchForgets,
    DatabaseGone,
    ConnectionsCut,
    DatabaseCrashes,
    DatabaseStops,
    DatabaseStalls,
    CommitLost,
    ClockAhead,
    ClockBehind,
    ServerKilled,
    ServerDropped,
    ServerPaused,
    ServerRestarted,
}

pub(crate) const SITE_FAULTS: [SiteFault; 18] = [
    SiteFault::SwitchRefuses,
    SiteFault::SwitchLosesAnswers,
    SiteFault::SwitchSilent,
    SiteFault::SwitchHangsUp,
    SiteFault::SwitchStalls,
    SiteFault::SwitchForgets,
    SiteFault::DatabaseGone,
    SiteFault::ConnectionsCut,
    SiteFault::DatabaseCrashes,
    SiteFault::DatabaseStops,
    SiteFault::DatabaseStalls,
    SiteFault::CommitLost,
    SiteFault::ClockAhead,
    SiteFault::ClockBehind,
    SiteFault::ServerKilled,
    SiteFault::ServerDropped,
    SiteFault::ServerPaused,
    SiteFault::ServerRestarted,
];

/// What is to go wrong with machine `of`.
pub(crate) fn of_machine(dice: &mut Dice, of: usize) -> Vec<Rule<MachineFault>> {
    let count = dice.between(1, 3);
    (0..count)
        .map(|_| rule(dice, of, &MACHINE_FAULTS))
        .collect()
}

/// What is to go wrong with a site of so many servers.
pub(crate) fn of_site(dice: &mut Dice, servers: usize) -> Vec<Rule<SiteFault>> {
    let count = dice.between(2, 16);
    (0..count)
        .map(|_| {
            let of = dice.below(servers as u64) as usize;
            rule(dice, of, &SITE_FAULTS)
        })
        .collect()
}

fn rule<K: Copy>(dice: &mut Dice, of: usize, kinds: &[K]) -> Rule<K> {
    Rule {
        of,
        after: dice.up_to(40),
        kind: *dice.pick(kinds),
        times: dice.between(1, 6) as u32,
        lasts: dice.up_to(120),
    }
}

/// Has the faults of one machine happen, one after the other; whether one that lasts has struck.
pub(crate) async fn strike_machine(world: &World, rules: &[Rule<MachineFault>]) -> bool {
    let mut has_struck = false;
    for rule in rules {
        tokio::time::sleep(rule.after).await;
        let machine = &world.machines[rule.of];
        world.judge.tell(format!("{}: {rule:?}", machine.name));
        if rule.kind == Fault::WrongBootDevice {
            world.judge.starts_its_disk(&machine.name);
        }
        if left(machine, rule.kind).is_some() {
            // What is left of an earlier one of this kind gives way.
            strikes::count_used_up(machine, |kind, struck| struck || kind == rule.kind);
            machine
                .awaited
                .lock()
                .unwrap()
                .push((rule.kind, rule.times));
            apply(machine, rule);
            continue;
        }
        if let Fault::AgentCrashes | Fault::NoWayHome = rule.kind {
            until_agent(machine, rule.lasts).await;
        }
        let before = Doings::of(machine, &world.judge);
        apply(machine, rule);
        if lasts(rule.kind) {
            tokio::time::sleep(rule.lasts).await;
            mend_for_now(machine, rule.kind);
            world
                .judge
                .tell(format!("{}: no more {:?}", machine.name, rule.kind));
        }
        let now = Doings::of(machine, &world.judge);
        let struck = before.are_spoiled(&now, rule.kind);
        strikes::count(rule.kind, struck);
        has_struck |= struck;
    }
    has_struck
}

/// Waits until there is an agent, for `limit` at most.
async fn until_agent(machine: &Machine, limit: Duration) {
    let there = async {
        while machine.host.inside() != Inside::Agent {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Without one, the fault strikes nobody.
    let _ = tokio::time::timeout(limit, there).await;
}

/// How often a fault that is counted still strikes.
pub(crate) fn left(machine: &Machine, kind: MachineFault) -> Option<u32> {
    let inside = &machine.host.faults;
    let bmc = machine.bmc.faults().get();
    let few = |counter: &AtomicU32| Some(counter.load(Ordering::SeqCst));
    match kind {
        Fault::BmcResets => Some(bmc.unavailable_answers),
        Fault::BmcServerErrors => Some(bmc.server_errors),
        Fault::BmcClientErrors => Some(bmc.client_errors),
        Fault::BmcEmptyBodies => Some(bmc.empty_bodies),
        Fault::BmcMissingKeys => Some(bmc.missing_keys),
        Fault::BmcStaleEtags => Some(bmc.stale_etags),
        Fault::WrongBootDevice => few(&inside.boot_disk_instead),
        Fault::AgentDuplicates => few(&inside.duplicate),
        Fault::AgentReplays => few(&inside.replay),
        Fault::AgentOfAnotherMachine => few(&inside.other_identity),
        Fault::AgentVanishesInWrite => few(&inside.vanish_in_write),
        Fault::EraseFails => few(&inside.fail_erase),
        Fault::WriteFails => few(&inside.fail_write),
        Fault::OsSilent => few(&inside.silent_os),
        Fault::KexecHangs => few(&inside.kexec_hangs),
        _ => None,
    }
}

/// Whether a fault is there for a time rather than a number of times.
fn lasts(kind: MachineFault) -> bool {
    use Fault::{
        AgentCutOff, BmcIgnoresBootOverride, BmcIgnoresMedia, BmcIgnoresPower,
        BmcLeavesMediaUnread, BmcReadsOn, BmcRejectsPassword, BmcSlow, BmcUnreachable, EraseSlow,
        NoWayHome, PostHangs, PostTakesLong, WriteSlow,
    };
    matches!(
        kind,
        AgentCutOff
            | BmcIgnoresBootOverride
            | BmcIgnoresMedia
            | BmcIgnoresPower
            | BmcLeavesMediaUnread
            | BmcReadsOn
            | BmcRejectsPassword
            | BmcSlow
            | BmcUnreachable
            | EraseSlow
            | NoWayHome
            | PostHangs
            | PostTakesLong
            | WriteSlow
    )
}

fn apply(machine: &Machine, rule: &Rule<MachineFault>) {
    let times = rule.times;
    let inside = &machine.host.faults;
    let few = |counter: &AtomicU32| counter.store(times, Ordering::SeqCst);
    let switch = |on: &AtomicBool| on.store(true, Ordering::SeqCst);
    let bmc = machine.bmc.faults();
    match rule.kind {
        Fault::BmcUnreachable => bmc.update(|faults| faults.refuse_connections = true),
        Fault::BmcResets => {
            machine.bmc.forget_sessions();
            bmc.update(|faults| faults.unavailable_answers = times);
        }
        Fault::BmcRejectsPassword => bmc.update(|faults| faults.reject_credentials = true),
        Fault::BmcServerErrors => bmc.update(|faults| faults.server_errors = times),
        Fault::BmcClientErrors => bmc.update(|faults| faults.client_errors = times),
        Fault::BmcEmptyBodies => bmc.update(|faults| faults.empty_bodies = times),
        Fault::BmcMissingKeys => bmc.update(|faults| faults.missing_keys = times),
        Fault::BmcStaleEtags => bmc.update(|faults| faults.stale_etags = times),
        Fault::BmcSlow => {
            bmc.update(|faults| faults.answer_delay = Duration::from_secs(u64::from(times) * 6));
        }
        Fault::BmcIgnoresPower => bmc.update(|faults| faults.ignore_power_commands = true),
        Fault::BmcIgnoresBootOverride => bmc.update(|faults| faults.ignore_boot_override = true),
        Fault::BmcReadsOn => bmc.update(|faults| faults.reads_on = true),
        Fault::BmcIgnoresMedia => bmc.update(|faults| faults.ignore_media_commands = true),
        Fault::BmcLeavesMediaUnread => bmc.update(|faults| faults.leave_media_unread = true),
        Fault::PostHangs => machine.machine.set_stuck_in_firmware(true),
        Fault::PostTakesLong => inside.post_seconds.store(times * 40, Ordering::SeqCst),
        Fault::WrongBootDevice => few(&inside.boot_disk_instead),
        Fault::AgentCrashes => inside.crash_agent.notify_waiters(),
        Fault::AgentCutOff => switch(&inside.cut_off),
        Fault::AgentDuplicates => few(&inside.duplicate),
        Fault::AgentReplays => few(&inside.replay),
        Fault::AgentOfAnotherMachine => few(&inside.other_identity),
        Fault::AgentVanishesInWrite => few(&inside.vanish_in_write),
        Fault::EraseFails => few(&inside.fail_erase),
        Fault::WriteFails => few(&inside.fail_write),
        Fault::WriteSlow => inside.seconds_a_chunk.store(times * 12, Ordering::SeqCst),
        Fault::EraseSlow => inside.seconds_to_erase.store(times * 24, Ordering::SeqCst),
        Fault::OsSilent => few(&inside.silent_os),
        Fault::KexecHangs => few(&inside.kexec_hangs),
        Fault::NoWayHome => switch(&inside.no_way_home),
    }
}

/// Ends a fault that was there for a time.
fn mend_for_now(machine: &Machine, kind: MachineFault) {
    let inside = &machine.host.faults;
    let bmc = machine.bmc.faults();
    match kind {
        Fault::AgentCutOff => inside.cut_off.store(false, Ordering::SeqCst),
        Fault::NoWayHome => inside.no_way_home.store(false, Ordering::SeqCst),
        Fault::PostHangs => machine.machine.set_stuck_in_firmware(false),
        Fault::PostTakesLong => inside.post_seconds.store(machine.post, Ordering::SeqCst),
        Fault::WriteSlow => inside.seconds_a_chunk.store(0, Ordering::SeqCst),
        Fault::EraseSlow => inside.seconds_to_erase.store(0, Ordering::SeqCst),
        // All that a controller does wrong for a time.
        _ => bmc.update(|faults| {
            let kept = faults.clone();
            *faults = bessemer_sim::redfish::Faults {
                unavailable_answers: kept.unavailable_answers,
                server_errors: kept.server_errors,
                client_errors: kept.client_errors,
                empty_bodies: kept.empty_bodies,
                missing_keys: kept.missing_keys,
                stale_etags: kept.stale_etags,
                ..bessemer_sim::redfish::Faults::default()
            };
        }),
    }
}

/// Nothing goes wrong with this machine any more.
pub(crate) fn mend(machine: &Machine) {
    strikes::count_used_up(machine, |_, _| true);
    machine
        .bmc
        .faults()
        .set(bessemer_sim::redfish::Faults::default());
    machine.machine.set_stuck_in_firmware(false);
    let inside = &machine.host.faults;
    inside.post_seconds.store(machine.post, Ordering::SeqCst);
    for counter in [
        &inside.boot_disk_instead,
        &inside.seconds_a_chunk,
        &inside.seconds_to_erase,
        &inside.duplicate,
        &inside.replay,
        &inside.other_identity,
        &inside.vanish_in_write,
        &inside.fail_erase,
        &inside.fail_write,
        &inside.silent_os,
        &inside.kexec_hangs,
    ] {
        counter.store(0, Ordering::SeqCst);
    }
    for switch in [&inside.cut_off, &inside.no_way_home] {
        switch.store(false, Ordering::SeqCst);
    }
}

/// Has the faults of a site happen, one after the other.
pub(crate) async fn strike_site(world: &World, rules: &[Rule<SiteFault>]) {
    for rule in rules {
        tokio::time::sleep(rule.after).await;
        world.judge.tell(format!("site: {rule:?}"));
        let approaches = switch_of(world, rule).approaches();
        strike(world, rule).await;
        let struck = has_struck(world, rule, approaches);
        strikes::count(rule.kind, struck);
        world
            .site_faults
            .fetch_add(u32::from(struck), Ordering::SeqCst);
    }
}

/// The switch that a fault is for, if it is for one.
fn switch_of<'w>(world: &'w World, rule: &Rule<SiteFault>) -> &'w SimulatedSwitch {
    world.switch_of(rule.times as usize)
}

/// Whether a fault of the site has struck by now, since when its switch had been approached so often.
fn has_struck(world: &World, rule: &Rule<SiteFault>, approaches: u64) -> bool {
    let switch = switch_of(world, rule).faults();
    let server = &world.servers[rule.of];
    match rule.kind {
        SiteFault::SwitchRefuses => switch.refusals < rule.times,
        SiteFault::SwitchLosesAnswers => switch.lost_answers < rule.times,
        SiteFault::SwitchSilent | SiteFault::SwitchHangsUp | SiteFault::SwitchStalls => {
            switch_of(world, rule).approaches() > approaches
        }
        SiteFault::DatabaseGone | SiteFault::CommitLost | SiteFault::ServerPaused => {
            server.is_struck(rule.kind)
        }
        SiteFault::ConnectionsCut => world.database.is_some(),
        SiteFault::DatabaseCrashes | SiteFault::DatabaseStops | SiteFault::DatabaseStalls => {
            world.database.as_ref().is_some_and(Database::is_own)
        }
        _ => true,
    }
}

async fn strike(world: &World, rule: &Rule<SiteFault>) {
    let server = &world.servers[rule.of];
    let (times, lasts) = (rule.times, rule.lasts);
    let switch = switch_of(world, rule);
    match rule.kind {
        SiteFault::SwitchRefuses => {
            switch.set_faults(|faults| faults.refusals = times);
            tokio::time::sleep(lasts).await;
        }
        SiteFault::SwitchLosesAnswers => {
            switch.set_faults(|faults| faults.lost_answers = times);
            tokio::time::sleep(lasts).await;
        }
        SiteFault::SwitchSilent => {
            switch.set_faults(|faults| faults.silent = true);
            tokio::time::sleep(lasts).await;
            switch.set_faults(|faults| faults.silent = false);
        }
        SiteFault::SwitchHangsUp => {
            switch.set_faults(|faults| faults.hangs_up = true);
            tokio::time::sleep(lasts).await;
            switch.set_faults(|faults| faults.hangs_up = false);
        }
        SiteFault::SwitchStalls => {
            switch.set_faults(|faults| faults.stalled = true);
            tokio::time::sleep(lasts).await;
            switch.set_faults(|faults| faults.stalled = false);
        }
        SiteFault::SwitchForgets => {
            switch.save();
            tokio::time::sleep(lasts).await;
            // What it carries until somebody looks is nobody's fault.
            world
                .judge
                .ports_are_forgotten(|port| switch.vlan(port).is_some());
            world.judge.forgets_tunnels(switch);
        }
        SiteFault::DatabaseGone => {
            server.lose_database(lasts / 4);
            tokio::time::sleep(lasts / 4).await;
        }
        SiteFault::ConnectionsCut => {
            if let Some(database) = &world.database {
                database.cut_connections().await;
            }
        }
        SiteFault::DatabaseCrashes | SiteFault::DatabaseStops | SiteFault::DatabaseStalls => {
            if let Some(database) = &world.database {
                database.goes(rule.kind, lasts / 8).await;
            }
        }
        SiteFault::CommitLost => {
            server.lose_answer(times * 3);
            tokio::time::sleep(lasts).await;
        }
        SiteFault::ClockAhead => jump(clock_of(world, rule), lasts, 1).await,
        SiteFault::ClockBehind => jump(clock_of(world, rule), lasts, -1).await,
        SiteFault::ServerKilled => {
            server.die(times * 7, Duration::from_secs(30)).await;
            // Where there is another server, what this one has begun may have to end without it.
            let for_long = world.servers.len() > 1 && times > 2;
            let away = lasts / 4 + Duration::from_secs(300) * u32::from(for_long);
            tokio::time::sleep(away).await;
            server.start().await;
        }
        SiteFault::ServerDropped => {
            server.die_asleep(times * 40, Duration::from_secs(30)).await;
            tokio::time::sleep(lasts / 4).await;
            server.start().await;
        }
        SiteFault::ServerPaused => {
            // Where there is another server, it takes over and has time to go on.
            let has_other = world.servers.len() > 1;
            let pause = lasts + Duration::from_secs(100) * u32::from(has_other);
            let place = match has_other && times > 2 {
                true => Place::Decision,
                false => Place::Anywhere,
            };
            server.pause(place, times * 5, pause);
            tokio::time::sleep(pause).await;
        }
        SiteFault::ServerRestarted => {
            server.stop().await;
            tokio::time::sleep(lasts / 8).await;
            server.start().await;
        }
    }
    world.judge.tell(format!("site: no more {:?}", rule.kind));
}

/// Whose time of day jumps: a server's, or that of the database which several go by.
fn clock_of(world: &World, rule: &Rule<SiteFault>) -> Jump {
    match &world.database {
        Some(database) if rule.times > 2 => database.jump(),
        _ => world.servers[rule.of].jump,
    }
}

/// A time of day is off for as long as it is off by.
async fn jump(jump: Jump, by: Duration, sign: i64) {
    jump.store(sign * by.as_nanos() as i64, Ordering::SeqCst);
    tokio::time::sleep(by).await;
    jump.store(0, Ordering::SeqCst);
}

/// Nothing goes wrong any more at this site.
pub(crate) async fn mend_all(world: &World) {
    world.machines.iter().for_each(mend);
    for switch in &world.switches {
        switch.set_faults(|faults| *faults = SwitchFaults::default());
    }
    for server in &world.servers {
        server.leave_alone();
    }
    if let Some(database) = &world.database {
        database.jump().store(0, Ordering::SeqCst);
    }
}
