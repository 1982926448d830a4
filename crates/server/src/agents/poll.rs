//! `poll`: the agent reports, and gets its next command, after a wait if there is none yet.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use bessemer_core::cause::Cause;
use bessemer_core::hardware::{Inventory, MachineIdentity};
use bessemer_core::lifecycle::{Action, Intent, IntentKey, Outcome};
use bessemer_core::reason::Failure;
use bessemer_core::report::ReportWay;
use bessemer_store::{Learned, Reported, Work};
use bessemer_wire::agent::{
    AgentStatus, CommandResult, ErasedDisk, MAX_POLL_SECONDS, POLL_SECONDS, Poll, PollAnswer,
};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::session::{Refusal, Session};
use super::{Agents, commands, report};
use crate::conductor::decision::decide_in_passing;
use crate::keyring::same_secret;
use crate::sightings::Place;
use crate::site::Site;

/// The longest release of a kernel that is kept, in characters.
const MAX_RELEASE: usize = 128;

/// The longest message that an agent may put into a failure, in characters.
const MAX_MESSAGE: usize = 2000;

/// The longest name of what an agent is at, in characters.
const MAX_STEP: usize = 100;

pub(super) async fn poll(
    State(agents): State<Agents>,
    session: Session,
    Json(poll): Json<Poll>,
) -> Result<Json<PollAnswer>, Refusal> {
    hear(&agents, &session).await?;
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

/// Notes that the agent is alive.
async fn hear(agents: &Agents, session: &Session) -> Result<(), Refusal> {
    let site = &agents.site;
    let (boot, now) = (session.boot, site.now());
    if session.is_idle() {
        site.heard.note(boot, now);
        return Ok(());
    }
    let silence = site.config.timing.agent_silence;
    if site.heard.note_at_work(boot, now, silence) {
        let touched = site.store.touch_agent(boot, now).await;
        touched.map_err(Refusal::unstored)?;
    }
    Ok(())
}

/// How a command ended, as far as the agent is to be believed.
struct Ended {
    command: IntentKey,
    outcome: Outcome,
    found: Found,
}

/// Takes note of what the agent says, if it is about the open command.
async fn take_report(
    agents: &Agents,
    session: Session,
    status: AgentStatus,
) -> Result<Session, Refusal> {
    let site = &agents.site;
    let said = told(&status);
    site.sightings.agent_says(session.node.id, &said);
    match ended(site, &session, status) {
        Some(ended) => record(agents, session, ended).await,
        None => Ok(session),
    }
}

/// The command that has ended, if one has. How far one has come that has not is only shown.
fn ended(site: &Site, session: &Session, status: AgentStatus) -> Option<Ended> {
    let node = session.node.id;
    let is_open = |command: &IntentKey| {
        let open = session.intent.as_ref();
        open.filter(|intent| intent.key == *command)
    };
    match status {
        AgentStatus::Idle => {
            site.progress.set(node, None);
            None
        }
        AgentStatus::Running { command, progress } => {
            is_open(&command)?;
            site.progress.set(node, Some(bounded(progress)));
            None
        }
        AgentStatus::Done { command, result } => {
            let (outcome, found) = judge(site, session, is_open(&command)?, result);
            Some(Ended {
                command,
                outcome,
                found,
            })
        }
        AgentStatus::Failed { command, failure } => Some(Ended {
            command,
            outcome: Outcome::Failed {
                failure: believable(failure),
            },
            found: Found::Nothing,
        }),
    }
}

/// Writes down how a command ended. If what comes next is decided with it, that is in the session.
async fn record(agents: &Agents, mut session: Session, ended: Ended) -> Result<Session, Refusal> {
    let (site, now) = (&agents.site, agents.site.now());
    let Ended {
        command,
        outcome,
        found,
    } = &ended;
    let learned = match found {
        Found::Nothing | Found::Report(_) => Learned::Nothing,
        Found::Inventory(inventory) => Learned::Inventory(inventory),
        Found::Kernel(release) => match session.deployment() {
            Ok(deployment) => Learned::Kernel(deployment.image, release),
            Err(_) => Learned::Nothing,
        },
    };
    let decide = |work: &mut Work| decide_in_passing(site, work);
    let reported = site
        .store
        .agent_outcome(
            session.boot,
            (command, outcome),
            learned,
            now,
            Some(&decide),
        )
        .await
        .map_err(Refusal::unstored)?;
    // Nothing is open now, and whoever decides what comes next rings.
    let next = match reported {
        Reported::Unasked => return session.refresh(agents).await,
        Reported::Noted => None,
        Reported::Decided(node, next) => {
            site.progress.set(node.id, None);
            session.node = *node;
            next
        }
    };
    site.heard.note_stored(session.boot, now);
    tell(agents, &session, &ended).await;
    session.intent = next;
    if session.intent.is_none() {
        site.bell.ring();
    }
    Ok(session)
}

/// Tells people how a command ended.
async fn tell(agents: &Agents, session: &Session, ended: &Ended) {
    let (node, command) = (&session.node, &ended.command);
    let (trouble, told) = match &ended.outcome {
        Outcome::Failed { failure } => (failure.cause, failure.message.as_str()),
        _ => (None, "done"),
    };
    let told = format!("command {command}: {told}");
    let sightings = &agents.site.sightings;
    sightings.note(node.id, Place::AgentWork, trouble, told);
    info!(node = %node.name, %command, "agent reported");
    if let Found::Report(way) = &ended.found {
        report::note(agents, session, way).await;
    }
}

/// What an agent says went wrong, as far as an agent can know that.
fn believable(failure: Failure) -> Failure {
    let cause = failure.cause.filter(|cause| cause.may_come_from_an_agent());
    Failure {
        class: failure.class,
        message: failure.message.chars().take(MAX_MESSAGE).collect(),
        cause: Some(cause.unwrap_or(Cause::AgentFailed)),
    }
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

/// What an agent has found out.
enum Found {
    Nothing,
    Inventory(Box<Inventory>),
    Kernel(String),
    Report(ReportWay),
}

/// Whether the result is the one that was asked for, of the machine that was meant.
fn judge(
    site: &Site,
    session: &Session,
    intent: &Intent,
    result: CommandResult,
) -> (Outcome, Found) {
    let fail = |failure| (Outcome::Failed { failure }, Found::Nothing);
    match (&intent.action, result) {
        (Action::ProveAgent, CommandResult::Proven { nonce, identity }) => {
            match check_proof(site, session, intent, &nonce, &identity) {
                Ok(()) => (Outcome::Done, Found::Nothing),
                Err(failure) => fail(failure),
            }
        }
        (Action::LoadKernel, CommandResult::KernelLoaded { release }) => {
            let release = release.chars().take(MAX_RELEASE).collect();
            (Outcome::Done, Found::Kernel(release))
        }
        (Action::Inspect, CommandResult::Inspected { inventory }) => {
            match check_inventory(session, &inventory) {
                Ok(()) => (Outcome::Done, Found::Inventory(inventory)),
                Err(failure) => fail(failure),
            }
        }
        (Action::Erase, CommandResult::Erased { disks }) => match check_erased(session, &disks) {
            Ok(()) => (Outcome::Done, Found::Nothing),
            Err(failure) => fail(failure),
        },
        (Action::WriteConfigDrive { .. }, CommandResult::ConfigDriveWritten { report }) => {
            (Outcome::Done, Found::Report(report))
        }
        (Action::WriteImage { .. }, CommandResult::Written { .. })
        | (Action::WriteConfigDrive { .. } | Action::HandOver { .. }, CommandResult::Nothing) => {
            (Outcome::Done, Found::Nothing)
        }
        _ => fail(Failure::permanent(
            Cause::AgentFailed,
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
                return Err(Failure::permanent(Cause::DiskError, message));
            }
            // It may be back after a power cycle: a drive that did not spin up in time.
            None => {
                let message = format!(
                    "{disk}, known from inspection, was not found, so it is not erased: check it"
                );
                return Err(Failure::transient(Cause::DiskMissing, message));
            }
        }
    }
    Ok(())
}

/// The answer must be to this very question, and come from the machine that is meant.
fn check_proof(
    site: &Site,
    session: &Session,
    intent: &Intent,
    nonce: &str,
    found: &MachineIdentity,
) -> Result<(), Failure> {
    if !same_secret(nonce, &site.keyring.proof_nonce(session.boot, &intent.key)) {
        return Err(Failure::permanent(
            Cause::AgentFailed,
            "the agent answered another question than it was asked",
        ));
    }
    match &session.node.identity {
        Some(expected) if !expected.matches(found) => Err(Failure::operator(
            Cause::WrongMachine,
            format!("the agent runs on another machine: expected {expected}, found {found}"),
        )),
        _ => Ok(()),
    }
}

fn check_inventory(session: &Session, inventory: &Inventory) -> Result<(), Failure> {
    if let Some(expected) = &session.node.identity
        && !expected.matches(&inventory.identity)
    {
        let message = format!(
            "the agent runs on another machine than the BMC manages: expected {expected}, found \
             {}; is the BMC address or the MAC address another node's?",
            inventory.identity
        );
        return Err(Failure::operator(Cause::WrongMachine, message));
    }
    let found = |mac| inventory.nics.iter().any(|nic| nic.mac == mac);
    match session.node.ports.iter().find(|port| !found(port.mac)) {
        None => Ok(()),
        Some(port) => Err(Failure::operator(
            Cause::NicMissing,
            format!(
                "the machine has no NIC {}: register the node with the MAC addresses it has",
                port.mac
            ),
        )),
    }
}

fn bounded(mut progress: bessemer_wire::agent::Progress) -> bessemer_wire::agent::Progress {
    progress.step = progress.step.chars().take(MAX_STEP).collect();
    progress
}

/// Waits until there is a command, or the poll has been open long enough.
async fn wait_for_command(agents: &Agents, session: Session) -> Result<Session, Refusal> {
    let bell = agents.site.agents.of(session.node.id);
    let deadline = Instant::now() + longest_poll(agents, &session);
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
                agents.site.agents.ring_here(node);
                return Err(refusal);
            }
        };
    }
    Ok(session)
}

/// How long this poll may stay open: for minutes if the agent idles, and not for all of them the
/// same, so that a thousand that came with the server's start do not come together ever after.
fn longest_poll(agents: &Agents, session: &Session) -> Duration {
    if !session.is_idle() {
        return Duration::from_secs(POLL_SECONDS);
    }
    let half = MAX_POLL_SECONDS / 2;
    Duration::from_secs(half + agents.site.keyring.random_below(half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::reason::FailureClass;
    use bessemer_wire::agent::Progress;

    #[test]
    fn what_an_agent_says_is_cut_to_what_people_read() {
        // Each letter is several bytes: lengths are of characters.
        let long = "ü".repeat(MAX_MESSAGE + 1);
        let failure = believable(Failure::transient(Cause::DiskError, long.clone()));
        assert_eq!(failure.message, "ü".repeat(MAX_MESSAGE));
        let short = believable(Failure::transient(Cause::DiskError, "sda: I/O error"));
        assert_eq!(short.message, "sda: I/O error");
        let progress = bounded(Progress {
            step: long,
            bytes: 1,
            total: 2,
            rate: 1,
            eta_seconds: None,
        });
        assert_eq!(progress.step, "ü".repeat(MAX_STEP));
    }

    #[test]
    fn an_agent_is_believed_what_agents_can_know() {
        for &cause in Cause::ALL {
            let said = Failure::new(FailureClass::Operator, cause, "so it is");
            let believed = believable(said);
            assert_eq!(believed.class, FailureClass::Operator);
            let known = cause.may_come_from_an_agent();
            let expected = if known { cause } else { Cause::AgentFailed };
            assert_eq!(believed.cause, Some(expected), "{cause:?}");
        }
    }
}
