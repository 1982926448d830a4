//! `bessemer kexec`: where starting a kernel without the firmware is known to work.

use bessemer_wire::api::KexecOutcome;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::table::table;
use crate::words::ago;

/// Where kexec is known to work: what was found out with earlier orders.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer kexec list
  bessemer kexec forget Maker-Server-1 6.1.0-25-amd64")]
pub(super) enum Command {
    List(List),
    Forget(Forget),
}

/// List what became of kexec, by model of machine and kernel.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer kexec list")]
pub(super) struct List {}

/// Forget a failure (or success), so that kexec is tried again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer kexec forget Maker-Server-1 6.1.0-25-amd64")]
pub(super) struct Forget {
    /// The model of machine, as listed.
    model: String,
    /// The kernel, as listed.
    kernel: String,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::List(List {}) => {
            let list = client.kexec_outcomes().await?;
            let now = Timestamp::now();
            format.list(&list, |list| outcomes(list, now))?;
        }
        Command::Forget(Forget { model, kernel }) => {
            client.forget_kexec(&model, &kernel).await?;
            format.say(format!("kexec of {kernel} on {model} will be tried again"))?;
        }
    }
    Ok(())
}

fn outcomes(outcomes: &[&KexecOutcome], now: Timestamp) -> String {
    let rows = outcomes.iter().map(|outcome| {
        let last = if outcome.last_worked {
            "worked"
        } else {
            "failed"
        };
        [
            outcome.model.clone(),
            outcome.kernel.clone(),
            outcome.worked.to_string(),
            outcome.failed.to_string(),
            format!("{last} {}", ago(outcome.last_at, now)),
        ]
    });
    table(["MODEL", "KERNEL", "WORKED", "FAILED", "LAST"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_one_line() {
        let now: Timestamp = "2026-11-21T10:02:00Z".parse().unwrap();
        let outcome: KexecOutcome = serde_json::from_value(serde_json::json!({
            "model": "Maker Server 1", "kernel": "6.1.0-25-amd64", "worked": 3, "failed": 1,
            "last_worked": false, "last_at": "2026-11-21T10:00:00Z",
        }))
        .unwrap();
        assert_eq!(
            outcomes(&[&outcome], now),
            "MODEL           KERNEL          WORKED  FAILED  LAST\n\
             Maker Server 1  6.1.0-25-amd64  3       1       failed 2m ago"
        );
    }
}
