//! `bessemer audit`: who asked for what.

use bessemer_client::{Client, Document};
use bessemer_wire::api::AuditEntry;
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::Context;
use crate::output;
use crate::table::table;
use crate::words::printable;

/// Entries on a page: the most that the API gives.
const MOST_PER_PAGE: u32 = 1000;

/// Who asked for what: every request that could change something.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer audit list
  bessemer audit list --after 1200
  bessemer audit export >audit.jsonl        one JSON object a line")]
pub(super) enum Command {
    List(List),
    Export(Export),
}

/// List who asked for what, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer audit list
  bessemer audit list --after 1200")]
pub(super) struct List {
    /// Only entries after the one with this sequence number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
}

/// Write the audit trail as JSON lines, for keeping elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer audit export >audit.jsonl
  bessemer audit export --after 1200 >>audit.jsonl")]
pub(super) struct Export {
    /// Only entries after the one with this sequence number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: i64,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::List(List { after }) => {
            let mut entries = Vec::new();
            each_page(client, after, |page| {
                entries.extend(page);
                Ok(())
            })
            .await?;
            format.list(&entries, |entries| list(entries, &TimeZone::system()))?;
        }
        Command::Export(Export { after }) => {
            each_page(client, after, |page| {
                for entry in &page {
                    output::line(entry.json())?;
                }
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn each_page(
    client: &Client,
    mut after: i64,
    mut take: impl FnMut(Vec<Document<AuditEntry>>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let page = client.audit(after, MOST_PER_PAGE).await?;
        match page.last() {
            // Whatever comes, it must come after what was: so this ends.
            Some(last) if last.sequence > after => after = last.sequence,
            _ => return Ok(()),
        }
        take(page)?;
    }
}

fn list(entries: &[&AuditEntry], zone: &TimeZone) -> String {
    let rows = entries.iter().map(|entry| {
        let at = entry.at.to_zoned(zone.clone());
        let outcome = entry.outcome.as_ref().map_or_else(
            || "none yet".to_owned(),
            |outcome| match &outcome.problem {
                Some(problem) => {
                    let kind = problem.rsplit(':').next().unwrap_or_default();
                    format!("{} {}", outcome.status, printable(kind))
                }
                None => outcome.status.to_string(),
            },
        );
        [
            entry.sequence.to_string(),
            at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            printable(&entry.token_name),
            entry
                .peer
                .map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
            format!("{} {}", printable(&entry.method), printable(&entry.path)),
            outcome,
        ]
    });
    table(
        ["NUMBER", "AT", "TOKEN", "FROM", "REQUEST", "OUTCOME"],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_one_line() {
        let entry = |outcome| -> AuditEntry {
            serde_json::from_value(json!({
                "sequence": 7, "request": "r7", "at": "2026-11-21T10:02:00Z",
                "token": "00000000-0000-0000-0000-000000000001", "token_name": "admin",
                "role": "admin", "project": "00000000-0000-0000-0000-000000000002",
                "method": "POST", "path": "/v1/nodes", "peer": "10.0.0.1", "outcome": outcome,
            }))
            .unwrap()
        };
        let refused = entry(json!({ "at": "2026-11-21T10:02:00Z", "status": 409,
            "problem": "urn:bessemer:problem:conflict" }));
        let cut_off = entry(json!(null));
        assert_eq!(
            list(&[&refused, &cut_off], &TimeZone::UTC),
            "NUMBER  AT                   TOKEN  FROM      REQUEST         OUTCOME\n\
             7       2026-11-21 10:02:00  admin  10.0.0.1  POST /v1/nodes  409 conflict\n\
             7       2026-11-21 10:02:00  admin  10.0.0.1  POST /v1/nodes  none yet"
        );
    }
}
