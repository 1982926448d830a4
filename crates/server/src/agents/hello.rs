//! `hello`: the one-time token of a boot is traded for a session.

use axum::Json;
use axum::extract::State;
use bessemer_core::cause::Cause;
use bessemer_core::reason::Reason;
use bessemer_store::{HelloOutcome, NewEvent, NodeRecord, Work};
use bessemer_wire::agent::{Hello, Welcome};
use serde_json::json;
use tracing::{info, warn};

use super::Agents;
use super::session::Refusal;
use crate::conductor::decision::decide_in_passing;
use crate::keyring::{digest, same_secret};
use crate::sightings::Place;

const REPLAYED: &str = "the token of this boot has been used already";
const OVER: &str = "this boot is over";

/// Hexadecimal digits of a session secret (32 random bytes).
const SESSION_DIGITS: usize = 64;

pub(super) async fn hello(
    State(agents): State<Agents>,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, Refusal> {
    let site = &agents.site;
    if hello.session.len() != SESSION_DIGITS
        || !hello.session.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(Refusal::Bad(format!(
            "`session` must be {SESSION_DIGITS} hexadecimal digits"
        )));
    }
    let node = match check(&agents, &hello).await? {
        Ok(node) => node,
        Err(why) => return refuse(&agents, &hello, why).await,
    };
    let decide = |work: &mut Work| decide_in_passing(site, work);
    let (session, now) = (digest(&hello.session), site.now());
    let outcome = site
        .store
        .hello(hello.boot, &session, now, Some(&decide))
        .await;
    match outcome.map_err(Refusal::unavailable)? {
        HelloOutcome::Accepted => {}
        HelloOutcome::Replayed => return refuse(&agents, &hello, REPLAYED.into()).await,
        HelloOutcome::Unknown => return refuse(&agents, &hello, OVER.into()).await,
    }
    site.heard.note_stored(hello.boot, now);
    site.sightings
        .note(node.id, Place::Agent, None, "an agent called");
    info!(node = %node.name, version = %hello.version.escape_debug(), "agent connected");
    site.metrics.agent_hellos.inc();
    site.bell.ring();
    Ok(Json(Welcome {
        node: node.name,
        generation: node.spec.generation,
        now,
    }))
}

/// Whether this is the machine that was sent to boot; all of it before the token counts as used.
async fn check(agents: &Agents, hello: &Hello) -> Result<Result<NodeRecord, String>, Refusal> {
    let site = &agents.site;
    if !same_secret(&site.keyring.boot_token(hello.boot), &hello.token) {
        return Ok(Err("its token is wrong".into()));
    }
    let Some(boot) = site
        .store
        .boot(hello.boot)
        .await
        .map_err(Refusal::unavailable)?
    else {
        return Ok(Err(OVER.into()));
    };
    if boot.mac != hello.mac {
        return Ok(Err(format!(
            "it came up with NIC {}, not {}",
            hello.mac, boot.mac
        )));
    }
    let node = site
        .store
        .node_by_id(boot.node)
        .await
        .map_err(Refusal::unavailable)?;
    match &node.identity {
        Some(expected) if !expected.matches(&hello.identity) => Ok(Err(format!(
            "it runs on another machine: expected {expected}, found {}",
            hello.identity
        ))),
        _ => Ok(Ok(node)),
    }
}

/// Turns an agent away and tells the operators.
async fn refuse<T>(agents: &Agents, hello: &Hello, why: String) -> Result<T, Refusal> {
    agents.site.metrics.agent_refused.inc();
    warn!(boot = %hello.boot, mac = %hello.mac, "agent refused: {why}");
    let boot = agents.site.store.boot(hello.boot).await.ok().flatten();
    let reason = Reason::new(format!("agent refused: {why}"))
        .cause(Some(Cause::AgentRefused))
        .remedy("if nobody replaced hardware, somebody on the provisioning network is pretending");
    if let Some(boot) = &boot {
        let told = format!("an agent was turned away: {why}");
        let sightings = &agents.site.sightings;
        let trouble = Some(Cause::AgentRefused);
        sightings.note(boot.node, Place::Agent, trouble, told);
    }
    let event = NewEvent {
        kind: "agent.refused",
        node: boot.map(|boot| boot.node),
        server: None,
        project: None,
        message: reason.summary.clone(),
        data: json!({ "boot": hello.boot, "mac": hello.mac, "reason": reason }),
    };
    if let Err(error) = agents
        .site
        .store
        .append_events(&[event], agents.site.now())
        .await
    {
        warn!(%error, "the event could not be recorded");
    }
    Err(Refusal::Unauthorized("refused; the server's log says why"))
}
