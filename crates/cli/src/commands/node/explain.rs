//! `bessemer node explain`: why a node is where it is.

use bessemer_wire::api::NodeExplanation;
use clap::Args;
use jiff::Timestamp;

use crate::commands::Context;
use crate::commands::explanation::{console, rows, sighting};
use crate::table::pairs;

/// The latest of each kind of sighting that are shown.
const SHOWN: usize = 6;

/// Explain a node: what it waits for, what was seen of it lately, and what is likely wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node explain rack1-u07
  bessemer node explain rack1-u07 -o json | jq -r .cause.code")]
pub(in crate::commands) struct Explain {
    /// Its name or id.
    node: String,
}

pub(super) async fn run(arguments: Explain, context: &Context) -> anyhow::Result<()> {
    let explained = context.client.explain_node(&arguments.node).await?;
    let show = |explained: &NodeExplanation| show(explained, Timestamp::now());
    Ok(context.format.one(&explained, show)?)
}

fn show(node: &NodeExplanation, now: Timestamp) -> String {
    let agent = node.agent.last.as_ref().map(|last| sighting(last, now));
    let agent = agent.unwrap_or_else(|| "has said nothing".into());
    let first = [
        ("Node", Some(node.name.clone())),
        ("State", Some(node.provision_state.clone())),
    ];
    let rows = rows(first, &node.standing, now);
    let mut text = pairs(rows.chain([("Agent", Some(agent))]));
    const NONE: &str = "none since the server was started";
    for (title, nothing, sightings) in [
        ("BMC requests", NONE, &node.bmc),
        ("Boot requests", NONE, &node.boot),
        ("Agent messages", NONE, &node.agent.recent),
        (
            "Switch ports",
            "not moved since the server was started",
            &node.switch,
        ),
    ] {
        text.push_str(&format!("\n\n{title}:"));
        let latest = &sightings[sightings.len().saturating_sub(SHOWN)..];
        if latest.is_empty() {
            text.push_str(&format!("\n  {nothing}"));
        }
        for each in latest {
            text.push_str(&format!("\n  {}", sighting(each, now)));
        }
    }
    text.push_str(&console(&node.console));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_explanation_reads_from_the_state_to_the_cause_to_the_traces() {
        let node: NodeExplanation = serde_json::from_value(json!({
            "node": "00000000-0000-0000-0000-000000000001", "name": "rack1-u07",
            "provision_state": "inspect wait", "phase": "inspecting", "step": "await_agent",
            "doing": "wait for the agent to call", "since": "2026-11-21T10:00:00Z",
            "deadline": "2026-11-21T10:20:00Z", "attempt": 1, "attempts": 3, "tries": 1,
            "reason": { "summary": "wait for the agent to call" },
            "cause": { "code": "no-dhcp-request", "summary": "the machine does not ask for an address",
                "remedy": "check link" },
            "power": "on", "boot": [], "switch": [], "console": ["login:\u{1b}[2J"],
            "bmc": [{ "at": "2026-11-21T10:09:00Z", "well": false, "times": 3,
                "what": "GET /redfish/v1: 503" }],
            "agent": { "recent": [] },
        }))
        .unwrap();
        let text = show(&node, "2026-11-21T10:10:00Z".parse().unwrap());
        for line in [
            "At:            inspecting: wait for the agent to call, since 10m ago (attempt 1 of 3, try 1)",
            "Deadline:      given up in 10 min",
            "Likely cause:  the machine does not ask for an address (no-dhcp-request)",
            "Agent:         has said nothing",
            "  ! 1m ago: GET /redfish/v1: 503 (3 times)",
            "  none since the server was started",
            "  login:\\u{1b}[2J",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
    }
}
