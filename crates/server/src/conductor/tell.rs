//! Decisions put into events for people.

use bessemer_core::lifecycle::{NodeState, Phase};
use bessemer_store::{NewEvent, NodeRecord};
use serde_json::json;

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
    vec![NewEvent {
        kind,
        node: Some(node.id),
        server: node.server,
        project: None,
        message: format!(
            "{}: {}: {}",
            node.name,
            next.provision_state(),
            next.reason.summary
        ),
        data: json!({
            "phase": next.phase,
            "step": next.step,
            "attempt": next.attempt,
            "tries": next.tries,
            "generation": next.generation,
            "reason": next.reason,
        }),
    }]
}
