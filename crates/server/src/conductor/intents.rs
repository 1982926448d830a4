//! Carrying intents out: check, act, verify. Each one may be carried out twice without harm, and
//! whatever touches a machine first makes sure that it is the right one.

use std::time::Duration;

use bessemer_bmc::{Bmc, PowerAction};
use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{Action, Executor, Intent, Outcome, Phase, PortRole};
use bessemer_core::reason::{Failure, FailureClass};
use bessemer_store::{Claim, NodeRecord};
use bessemer_tasks::Panicked;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Conductor, PANICKED, boot, power, tunnels};
use crate::failure::store_failure;

/// How long after its deadline what carries an intent out may take to say why it is not done.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Carries `intent` out by the right of `claim`. Never fails: what goes wrong is the outcome. Nothing is tried on a management
/// controller that is left alone, unless a person waits for it.
pub(super) async fn carry_out(
    conductor: &Conductor,
    claim: Claim,
    node: &NodeRecord,
    intent: &Intent,
) -> Outcome {
    if let Some(deferred) = deferred(conductor, node, intent) {
        return deferred;
    }
    let seconds =
        conductor.site.config.timing.bmc_deadline + power::shut_down_seconds(&intent.action);
    let limit = Duration::from_secs(u64::from(seconds));
    let deadline = Instant::now() + limit;
    let last_word = deadline + LAST_WORD;
    // What is shared is behind locks that bear a panic of their holder.
    let supervisor = &conductor.site.supervisor;
    let acting = supervisor.catch("an intent", act(conductor, claim, node, intent, deadline));
    let result = match tokio::time::timeout_at(last_word, acting).await {
        Ok(Ok(result)) => result,
        Ok(Err(Panicked)) => Err(panicked()),
        Err(_) => Err(Failure::transient(
            too_slow(&intent.action),
            format!("not done within {} s", limit.as_secs()),
        )),
    };
    match result {
        Ok(()) => {
            info!(intent = %intent.key, "done");
            Outcome::Done
        }
        Err(failure) => {
            warn!(intent = %intent.key, class = ?failure.class, "{}", failure.message);
            Outcome::Failed { failure }
        }
    }
}

/// Trying again does not help.
fn panicked() -> Failure {
    Failure::new(FailureClass::Bug, Cause::InternalError, PANICKED)
}

/// Who it was that did not come to an end in time.
fn too_slow(action: &Action) -> Cause {
    match action {
        Action::ConnectPorts { .. } => Cause::SwitchUnreachable,
        _ => Cause::BmcSlow,
    }
}

/// Whether the controller is left alone at this moment. What a person has asked for goes through: on a
/// node at rest that is all there is, and otherwise it is what comes first for a new generation. So
/// does what makes a failed node safe, which is not to wait.
fn deferred(conductor: &Conductor, node: &NodeRecord, intent: &Intent) -> Option<Outcome> {
    if let Action::ConnectPorts { .. } = intent.action {
        return None;
    }
    let site = &conductor.site;
    // What keeps a client from being made is found out by carrying it out.
    let bmc = site.bmcs.of(node).ok()?;
    let urgent = node.state.at_rest() || node.state.phase == Phase::Failed;
    if urgent || site.bmcs.is_new_wish(node.id, intent.generation) {
        bmc.insist();
        return None;
    }
    let left_alone = bmc.left_alone()?;
    let now = site.now();
    let before = |age| bessemer_core::Timestamp::checked_sub(now, age).unwrap_or(now);
    let after = |time| bessemer_core::Timestamp::checked_add(now, time).unwrap_or(now);
    let (since, until) = (before(left_alone.silent_for), after(left_alone.again_in));
    let why = format!(
        "BMC {} has not answered as it should since {since:.0}; next try at {until:.0}: {}",
        bmc.address(),
        left_alone.why
    );
    info!(intent = %intent.key, "{why}");
    let failure = Failure::transient(left_alone.cause, why);
    Some(Outcome::Deferred { until, failure })
}

async fn act(
    conductor: &Conductor,
    claim: Claim,
    node: &NodeRecord,
    intent: &Intent,
    deadline: Instant,
) -> Result<(), Failure> {
    if let Action::ConnectPorts { role } = intent.action {
        if intent.action.ejects_medium() {
            let bmc = conductor.site.bmcs.of(node)?;
            boot::eject_medium(&conductor.site, node, &*bmc, deadline).await?;
        }
        if role == PortRole::Tenant {
            tunnels::bring_for(conductor, node, deadline).await?;
        }
        let site = &conductor.site;
        return site.fabric.connect(node, role, site, deadline).await;
    }
    debug_assert_eq!(
        intent.action.executor(),
        Executor::Conductor,
        "the store gives no other"
    );
    let bmc = conductor.site.bmcs.of(node)?;
    let requests = bmc.requests();
    let result = act_on_bmc(conductor, claim, node, intent, &*bmc, deadline).await;
    conductor.site.sightings.asked(node.id);
    conductor
        .site
        .metrics
        .bmc_requests
        .add(bmc.requests().saturating_sub(requests));
    result
}

async fn act_on_bmc(
    conductor: &Conductor,
    claim: Claim,
    node: &NodeRecord,
    intent: &Intent,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    match &intent.action {
        Action::CheckBmc => check_bmc(conductor, node, bmc, deadline).await,
        Action::PowerOff => {
            switch_off(node, bmc, deadline).await?;
            boot::eject_medium(&conductor.site, node, bmc, deadline).await
        }
        Action::ShutDown { .. } | Action::Restart { .. } => {
            expect_machine(node, bmc, deadline).await?;
            power::carry_out(conductor, node, intent, bmc, deadline).await
        }
        Action::PowerOn => bmc
            .set_power(PowerAction::On, deadline)
            .await
            .map_err(failure),
        Action::PrepareBoot { boot } => {
            boot::prepare(conductor, claim, node, *boot, bmc, deadline).await
        }
        Action::PrepareDiskBoot => boot::prepare_disk(node, bmc, deadline).await,
        other => Err(Failure::new(
            FailureClass::Bug,
            Cause::InternalError,
            format!("{other:?} is not the conductor's to carry out"),
        )),
    }
}

/// Switches the node's own machine off.
async fn switch_off(node: &NodeRecord, bmc: &dyn Bmc, deadline: Instant) -> Result<(), Failure> {
    let off = PowerAction::ForceOff;
    match &node.identity {
        Some(machine) => bmc.set_power_of(machine, off, deadline).await,
        None => bmc.set_power(off, deadline).await,
    }
    .map_err(failure)
}

/// Reads which machine the BMC manages (the first time that is noted, later it must be the same)
/// and what that can be made to boot from.
async fn check_bmc(
    conductor: &Conductor,
    node: &NodeRecord,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let found = bmc.identity(deadline).await.map_err(failure)?;
    boot::learn_abilities(&conductor.site, node, bmc, deadline).await?;
    match &node.identity {
        Some(expected) => found.expect(expected, bmc.address()).map_err(failure),
        None if found.machine.serial.is_empty() && found.machine.uuid.is_none() => {
            Err(Failure::operator(
                Cause::MachineNameless,
                "the BMC tells neither a serial number nor a UUID, so the machine cannot be told \
                 from another; set one in its firmware",
            ))
        }
        None => conductor
            .site
            .store
            .set_identity(node.id, &found.machine)
            .await
            .map_err(store_failure),
    }
}

/// Refuses to go on if the BMC manages another machine than it did when the node was enrolled.
async fn expect_machine(
    node: &NodeRecord,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let Some(expected) = &node.identity else {
        return Ok(());
    };
    let found = bmc.identity(deadline).await.map_err(failure)?;
    found.expect(expected, bmc.address()).map_err(failure)
}

pub(super) fn failure(error: bessemer_bmc::Error) -> Failure {
    error.failure()
}
