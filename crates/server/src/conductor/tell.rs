//! Decisions put into events for people.

use bessemer_core::lifecycle::{Action, Intent, NodeState, Outcome, Phase};
use bessemer_store::{NewEvent, NodeRecord};
use bessemer_wire::api::LikelyCause;
use serde_json::json;

use crate::site::Site;

/// What there is to tell about a node that goes from `before` to `next`; nothing if nothing moved.
pub(super) fn events(node: &NodeRecord, before: &NodeState, next: &NodeState) -> Vec<NewEvent> {
    let moved = (
        before.phase,
        before.step,
        before.attempt,
        before.tries,
        before.generation,
    ) != (
        next.phase,
        next.step,
        next.attempt,
        next.tries,
        next.generation,
    );
    if !moved {
        return Vec::new();
    }
    let kind = match next.phase {
        Phase::Failed if before.phase != Phase::Failed => "node.failed",
        _ if before.phase != next.phase => "node.phase",
        _ => "node.step",
    };
    let mut message = format!(
        "{}: {}: {}",
        node.name,
        next.provision_state(),
        next.reason.summary
    );
    let cause = next.reason.cause.map(LikelyCause::from);
    if let Some(cause) = &cause {
        message.push_str(&format!(": {} ({})", cause.summary, cause.code));
    }
    vec![NewEvent {
        kind,
        node: Some(node.id),
        server: node.server,
        project: None,
        message,
        data: json!({
            "phase": next.phase,
            "step": next.step,
            "attempt": next.attempt,
            "tries": next.tries,
            "generation": next.generation,
            "reason": next.reason,
            "cause": cause,
        }),
    }]
}

/// What came of a tenant's request to switch their server; nothing for any other intent.
pub(super) async fn switched(
    site: &Site,
    node: &NodeRecord,
    intent: &Intent,
    outcome: &Outcome,
) -> Vec<NewEvent> {
    let what = match intent.action {
        Action::ShutDown { .. } | Action::PowerOff => "is off",
        Action::PowerOn => "is on",
        Action::Restart { .. } => "is restarted",
        _ => return Vec::new(),
    };
    // Nodes at rest are switched for their servers only by their tenants, or by hand.
    let (true, Some(server)) = (node.state.at_rest(), node.server) else {
        return Vec::new();
    };
    let Ok(server) = site.store.server(None, &server.to_string()).await else {
        return Vec::new();
    };
    let (message, cause) = match outcome {
        Outcome::Failed { failure } | Outcome::Deferred { failure, .. } => {
            // Tenants read this, too; operators are told more with the request.
            let (name, why) = (&server.name, failure.message_for_tenants());
            let message = format!("server `{name}` could not be switched: {why}");
            (message, failure.cause.map(LikelyCause::from))
        }
        _ => (format!("server `{}` {what}", server.name), None),
    };
    vec![NewEvent {
        kind: "server.power",
        node: Some(node.id),
        server: Some(server.id),
        project: Some(server.project),
        message,
        data: json!({ "cause": cause }),
    }]
}
