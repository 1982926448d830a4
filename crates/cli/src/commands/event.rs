//! `bessemer events`: what happened, and what happens.

use std::time::Duration;

use bessemer_client::{Client, Document, Error};
use bessemer_wire::event::Event;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::sleep;

use super::Context;
use crate::follow::{OUTAGE_LIMIT, Outage};
use crate::output::{self, Format};
use crate::table::table;
use crate::words::{ago, printable};

/// Events on a page: the most that the API gives.
const MOST_PER_PAGE: u32 = 1000;

/// Between two attempts to take the stream up again.
const PAUSE: Duration = Duration::from_millis(500);

/// Show what happened, or follow what happens.
///
/// With `-o json`, `--follow` writes one event a line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer events                           everything that is kept
  bessemer events --follow                  what happens from now on
  bessemer events --follow --after 0        both
  bessemer events --after 1200 -o json      as the API gives it")]
pub(super) struct Arguments {
    /// Go on with what happens, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this sequence number [default: with --follow the newest,
    /// else none].
    #[arg(long, value_name = "NUMBER")]
    after: Option<i64>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    if arguments.follow {
        return follow(client, arguments.after, *format).await;
    }
    let mut events = Vec::new();
    let mut after = arguments.after.unwrap_or(0);
    loop {
        let page = client.events(after, MOST_PER_PAGE).await?;
        match page.last() {
            // Whatever comes, it must come after what was: so this ends.
            Some(last) if last.sequence > after => after = last.sequence,
            _ => break,
        }
        events.extend(page);
    }
    let now = Timestamp::now();
    Ok(format.list(&events, |events| list(events, now))?)
}

/// Shows events as they come, across restarts of the server.
async fn follow(client: &Client, mut after: Option<i64>, format: Format) -> anyhow::Result<()> {
    let mut outage = Outage::default();
    loop {
        match stream(client, &mut after, format, &mut outage).await {
            Ok(()) => {}
            Err(Stop::Outage(error)) => {
                if outage.is_over() {
                    let limit = OUTAGE_LIMIT.as_secs();
                    eprintln!("{error}; trying again for {limit} s");
                }
                outage.lasts(error)?;
            }
            Err(Stop::Final(error)) => return Err(error),
        }
        sleep(PAUSE).await;
    }
}

enum Stop {
    Outage(Error),
    Final(anyhow::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.is_outage() {
            Self::Outage(error)
        } else {
            Self::Final(error.into())
        }
    }
}

/// Shows one stream until it ends; `after` follows what was shown.
async fn stream(
    client: &Client,
    after: &mut Option<i64>,
    format: Format,
    outage: &mut Outage,
) -> Result<(), Stop> {
    let mut stream = client.events_stream(*after).await?;
    if outage.over() {
        eprintln!("the API answers again");
    }
    while let Some(event) = stream.next().await {
        let event = event?;
        *after = Some(event.sequence);
        show(&event, format).map_err(|error| Stop::Final(error.into()))?;
    }
    Ok(())
}

fn show(event: &Document<Event>, format: Format) -> std::io::Result<()> {
    match format {
        Format::Json => output::line(event.json()),
        Format::Table => output::line(one_line(event, &TimeZone::system())),
    }
}

fn one_line(event: &Event, zone: &TimeZone) -> String {
    let time = event.at.to_zoned(zone.clone()).strftime("%H:%M:%S");
    let message = event.message.replace('\n', " ");
    printable(&format!("{time}  {:14}  {message}", event.kind))
}

fn list(events: &[&Event], now: Timestamp) -> String {
    let rows = events.iter().map(|event| {
        [
            event.sequence.to_string(),
            ago(event.at, now),
            event.kind.clone(),
            event.message.clone(),
        ]
    });
    table(["NUMBER", "WHEN", "KIND", "MESSAGE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "sequence": 7, "at": "2026-11-21T10:00:05Z", "kind": "node.phase",
            "message": "a: cleaning\n\u{1b}[2J",
        }))
        .unwrap();
        assert_eq!(
            one_line(&event, &TimeZone::UTC),
            "10:00:05  node.phase      a: cleaning \\u{1b}[2J"
        );
    }
}
