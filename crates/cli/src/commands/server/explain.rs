//! `bessemer server explain`: why a server is where it is.

use bessemer_wire::api::ServerExplanation;
use clap::Args;
use jiff::Timestamp;

use super::view;
use crate::commands::Context;
use crate::commands::explanation::{console, rows, sighting};
use crate::table::pairs;

/// Explain a server: what it waits for, what is likely wrong, and the end of its console.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server explain web-1
  bessemer server explain web-1 -o json | jq -r .cause.code")]
pub(in crate::commands) struct Explain {
    /// Its name or id.
    server: String,
}

pub(super) async fn run(arguments: Explain, context: &Context) -> anyhow::Result<()> {
    let explained = context.client.explain_server(&arguments.server).await?;
    let show = |explained: &ServerExplanation| show(explained, Timestamp::now());
    Ok(context.format.one(&explained, show)?)
}

fn show(server: &ServerExplanation, now: Timestamp) -> String {
    let report = server.report.last().map(|report| sighting(report, now));
    let report = report.map(|report| report.trim().to_owned());
    let first = [
        ("Server", Some(server.name.clone())),
        ("Status", Some(view::status(server.status).to_owned())),
    ];
    let rows = rows(first, &server.standing, now);
    let mut text = pairs(rows.chain([("Report", report)]));
    text.push_str(&console(&server.console));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tenant_is_told_what_is_theirs_to_know() {
        let server: ServerExplanation = serde_json::from_value(json!({
            "server": "00000000-0000-0000-0000-000000000001", "name": "web-1", "status": "error",
            "phase": "deploying", "step": "await_os",
            "doing": "wait for the operating system to say that it is up",
            "since": "2026-11-21T10:00:00Z", "attempt": 3, "attempts": 3, "tries": 1,
            "reason": { "summary": "deploying failed", "cause": "no-phone-home" },
            "cause": { "code": "no-phone-home", "summary": "it does not say that it is up",
                "remedy": "look at the console" },
            "power": "off", "console": ["Kernel panic\u{1b}[0m"],
            "report": [{ "at": "2026-11-21T09:50:00Z", "well": true, "times": 1, "what": "by a unit" }],
        }))
        .unwrap();
        let text = show(&server, "2026-11-21T10:10:00Z".parse().unwrap());
        for line in [
            "Status:        error",
            "Likely cause:  it does not say that it is up (no-phone-home)",
            "Report:        20m ago: by a unit",
            "Serial console:",
            "  Kernel panic\\u{1b}[0m",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
    }
}
