//! `poll`: the agent reports, and gets its next command, after a wait if there is none yet.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_core::hardware::Inventory;
use bessemer_core::lifecycle::{Action, Outcome};
use bessemer_core::reason::Failure;
use bessemer_wire::agent::{
    AgentStatus, CommandResult, ErasedDisk, POLL_SECONDS, Poll, PollAnswer,
};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::session::{Refusal, Session};
use super::{Agents, commands};
use crate::sightings::Place;

/// The longest message that an agent may put into a failure.
const MAX_MESSAGE: usize = 2000;

pub(super) async fn poll(
    State(agents): State<Agents>,
    session: Session,
    Json(poll): Json<Poll>,
) -> Result<Json<PollAnswer>, Refusal> {
    let now = agents.site.now();
    let silence = agents.site.config.timing.agent_silence;
    if agents.touched.due(session.boot.boot, now, silence) {
        let touched = agents.site.store.touch_agent(session.boot.boot, now).await;
        touched.map_err(Refusal::unavailable)?;
    }
    let session = take_report(&agents, session, poll.status).await?;
    let session = if poll.hurry {
        session
    } else {
        wait_for_command(&agents, session).await?
    };
    let command = commands::of(&agents, &session).await?;
    let generation = Some(session.node.spec.generation);
    Ok(Json(PollAnswer {
        command,
        generation,
    }))
}

/// Takes note of what the agent says, if it is about the open command.
async fn take_report(
    agents: &Agents,
    session: Session,
    status: AgentStatus,
) -> Result<Session, Refusal> {
    let site = &agents.site;
    let node = session.node.id;
    site.sightings.agent_says(node, &told(&status));
    let open = session.intent.as_ref();
    let (command, outcome, inventory) = match status {
        AgentStatus::Idle => {
            site.progress.set(node, None);
            return Ok(session);
        }
        AgentStatus::Running { command, progress } => {
            if open.is_some_and(|intent| intent.key == command) {
                site.progress.set(node, Some(bounded(progress)));
            }
            return Ok(session);
        }
        AgentStatus::Done { command, result } => {
            let Some(intent) = open.filter(|intent| intent.key == command) else {
                return Ok(session);
            };
            let (outcome, inventory) = judge(&session, &intent.action, result);
            (command, outcome, inventory)
        }
        AgentStatus::Failed {
            command,
            mut failure,
        } => {
            failure.message = failure.message.chars().take(MAX_MESSAGE).collect();
            (command, Outcome::Failed { failure }, None)
        }
    };
    let boot = session.boot.boot;
    let recorded = site
        .store
        .agent_outcome(boot, &command, &outcome, inventory.as_ref(), site.now())
        .await
        .map_err(Refusal::unavailable)?;
    if recorded {
        let (well, told) = match &outcome {
            Outcome::Failed { failure } => (false, failure.message.as_str()),
            _ => (true, "done"),
        };
        let told = format!("command {command}: {told}");
        let place = Place::AgentWork;
        site.sightings.note(node, place, well, told);
        info!(node = %session.node.name, %command, "agent reported");
        site.bell.notify_one();
    }
    session.refresh(agents).await
}

/// What an agent says that it is doing, in words.
fn told(status: &AgentStatus) -> String {
    match status {
        AgentStatus::Idle => "waiting for a command".into(),
        AgentStatus::Running { command, progress } => format!(
            "command {command}: {}, {} of {} bytes",
            progress.step, progress.bytes, progress.total
        ),
        AgentStatus::Done { command, .. } => format!("command {command}: done"),
        AgentStatus::Failed { command, failure } => {
            format!("command {command}: {}", failure.message)
        }
    }
}

/// Whether the result is the one that was asked for, of the machine that was meant.
fn judge(
    session: &Session,
    action: &Action,
    result: CommandResult,
) -> (Outcome, Option<Inventory>) {
    let fail = |failure| (Outcome::Failed { failure }, None);
    match (action, result) {
        (Action::Inspect, CommandResult::Inspected { inventory }) => {
            match check_inventory(session, &inventory) {
                Ok(()) => (Outcome::Done, Some(*inventory)),
                Err(failure) => fail(failure),
            }
        }
        (Action::Erase, CommandResult::Erased { disks }) => match check_erased(session, &disks) {
            Ok(()) => (Outcome::Done, None),
            Err(failure) => fail(failure),
        },
        (Action::WriteImage { .. }, CommandResult::Written { .. })
        | (
            Action::WriteConfigDrive { .. } | Action::LoadKernel | Action::HandOver { .. },
            CommandResult::Nothing,
        ) => (Outcome::Done, None),
        _ => fail(Failure::permanent(
            "the agent reported a result that was not asked for",
        )),
    }
}

/// Every disk known from inspection must be among those that the agent erased and verified. Disks
/// are known by their serial number; those without one by their name, which may change from boot
/// to boot.
fn check_erased(session: &Session, erased: &[ErasedDisk]) -> Result<(), Failure> {
    let disks = session.node.inventory.iter().flat_map(|each| &each.disks);
    for known in disks {
        let is_known = |disk: &&ErasedDisk| match known.serial.as_str() {
            "" => disk.name == known.name,
            serial => disk.serial == serial,
        };
        let disk = format!("disk {} (serial number {})", known.name, known.serial);
        match erased.iter().find(is_known) {
            Some(found) if found.verified_bytes > 0 => {}
            Some(_) => {
                let message = format!("the agent did not verify that {disk} is erased");
                return Err(Failure::permanent(message));
            }
            // It may be back after a power cycle: a drive that did not spin up in time.
            None => {
                return Err(Failure::transient(format!(
                    "{disk}, known from inspection, was not found, so it is not erased: check it"
                )));
            }
        }
    }
    Ok(())
}

fn check_inventory(session: &Session, inventory: &Inventory) -> Result<(), Failure> {
    if let Some(expected) = &session.node.identity
        && !expected.matches(&inventory.identity)
    {
        return Err(Failure::operator(format!(
            "the agent runs on another machine than the BMC manages: expected {expected}, found \
             {}; is the BMC address or the MAC address another node's?",
            inventory.identity
        )));
    }
    let found = |mac| inventory.nics.iter().any(|nic| nic.mac == mac);
    match session.node.ports.iter().find(|port| !found(port.mac)) {
        None => Ok(()),
        Some(port) => Err(Failure::operator(format!(
            "the machine has no NIC {}: register the node with the MAC addresses it has",
            port.mac
        ))),
    }
}

fn bounded(mut progress: bessemer_wire::agent::Progress) -> bessemer_wire::agent::Progress {
    progress.step = progress.step.chars().take(100).collect();
    progress
}

/// Waits until there is a command, or the poll has been open long enough.
async fn wait_for_command(agents: &Agents, session: Session) -> Result<Session, Refusal> {
    let bell = agents.site.agents.of(session.node.id);
    let deadline = Instant::now() + Duration::from_secs(POLL_SECONDS);
    let mut session = session;
    let generation = session.node.spec.generation;
    // A new generation is news, too: what runs for the one before is to be dropped.
    while session.intent.is_none() && session.node.spec.generation == generation {
        if timeout_at(deadline, bell.notified()).await.is_err() {
            break;
        }
        let node = session.node.id;
        session = match session.refresh(agents).await {
            Ok(session) => session,
            Err(refusal) => {
                // The ring was meant for the agent of a newer boot: pass it on. This one's machine
                // lost its power in mid-poll, which nobody told us.
                agents.site.agents.ring(node);
                return Err(refusal);
            }
        };
    }
    Ok(session)
}
