//! What a fleet does, told to a person or, line by line, to a script.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use bessemer_sim::fleet::Fleet;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::counts::Counts;

/// From one line to the next where lines cannot be written over.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// From one look at the number of registered nodes to the next.
const REGISTERED_INTERVAL: Duration = Duration::from_millis(200);

/// How it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

pub(super) struct Progress {
    output: Output,
    begun: Instant,
    is_terminal: bool,
    /// Whether the cursor stands in a line that is to be written over.
    in_line: bool,
    registered: usize,
    last_line: Option<Instant>,
    last_told: String,
}

impl Progress {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            begun: Instant::now(),
            is_terminal: std::io::stdout().is_terminal(),
            in_line: false,
            registered: 0,
            last_line: None,
            last_told: String::new(),
        }
    }

    pub(super) fn powered_up(&mut self, fleet: &Fleet) {
        let (first, last) = fleet.urls();
        let machines = fleet.len();
        let text = format!("{machines} machines, BMCs at {first} to {last}");
        self.tell(
            &text,
            &json!({"event": "powered_up", "machines": machines, "first_bmc": first, "last_bmc": last}),
        );
    }

    pub(super) fn registered(&mut self, _known_before: bool) {
        self.registered += 1;
        let due = self
            .last_line
            .is_none_or(|last| last.elapsed() > REGISTERED_INTERVAL);
        if self.output == Output::Text && self.is_terminal && due {
            self.last_line = Some(Instant::now());
            self.write_over(&format!("{} nodes registered", self.registered));
        }
    }

    pub(super) fn all_registered(&mut self, after: Duration, known: usize) {
        let seconds = after.as_secs_f64();
        let all = self.registered;
        let text = match known {
            0 => format!("{all} nodes registered in {seconds:.1} s"),
            known => format!("{all} nodes registered in {seconds:.1} s, {known} of them before"),
        };
        self.last_line = None;
        self.tell(
            &text,
            &json!({"event": "registered", "nodes": all, "known_before": known, "seconds": rounded(after)}),
        );
    }

    /// Tells where nodes are and what machines have done.
    pub(super) async fn counted(&mut self, counts: &Counts, fleet: &Fleet) {
        let phases: Vec<_> = counts
            .occupied()
            .map(|(phase, count)| format!("{phase} {count}"))
            .collect();
        let (on, boots, requests) = (
            fleet.powered_on().await,
            fleet.boots(),
            fleet.bmc_requests(),
        );
        let phases = phases.join(", ");
        let line = format!("{phases} | machines on {on}, boots {boots}, BMC requests {requests}");
        if self.output == Output::Json {
            let phases: serde_json::Map<_, _> = counts
                .occupied()
                .map(|(phase, count)| (phase.to_owned(), count.into()))
                .collect();
            return self.json(&json!({
                "event": "counted", "seconds": rounded(self.begun.elapsed()), "nodes": phases,
                "machines_on": on, "boots": boots, "bmc_requests": requests,
            }));
        }
        let line = format!("{:5.0} s  {line}", self.begun.elapsed().as_secs_f64());
        if self.is_terminal {
            return self.write_over(&line);
        }
        let due = self
            .last_line
            .is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if due && self.last_told != phases {
            self.last_line = Some(Instant::now());
            self.last_told = phases;
            self.line(&line);
        }
    }

    pub(super) fn all_available(&mut self, after: Duration) {
        let seconds = after.as_secs_f64();
        self.tell(
            &format!("all nodes are available after {seconds:.1} s"),
            &json!({"event": "available", "seconds": rounded(after)}),
        );
    }

    pub(super) fn failure(&mut self, node: &str, reason: &Value) {
        let text = match reason["summary"].as_str() {
            Some(summary) => summary.to_owned(),
            None => reason.to_string(),
        };
        self.tell(
            &format!("{node} has failed: {text}"),
            &json!({"event": "failed", "node": node, "reason": reason}),
        );
    }

    pub(super) fn failures(&mut self, failed: usize) {
        self.tell(
            &format!("{failed} nodes have failed: see `bessemer node explain`"),
            &json!({"event": "failures", "nodes": failed}),
        );
    }

    pub(super) fn outage(&mut self, error: &bessemer_client::Error) {
        let text = format!("the server is away and is asked again: {error}");
        self.tell(
            &text,
            &json!({"event": "outage", "error": error.to_string()}),
        );
    }

    pub(super) fn ended(&mut self, fleet: &Fleet) {
        let (boots, requests) = (fleet.boots(), fleet.bmc_requests());
        let text = format!(
            "the fleet has ended after {:.0} s, {boots} boots and {requests} BMC requests; the \
             server keeps its nodes, whose BMCs are gone until the fleet is started again",
            self.begun.elapsed().as_secs_f64()
        );
        self.tell(
            &text,
            &json!({"event": "ended", "seconds": rounded(self.begun.elapsed()), "boots": boots,
                "bmc_requests": requests}),
        );
    }

    fn tell(&mut self, text: &str, json: &Value) {
        match self.output {
            Output::Text => self.line(text),
            Output::Json => self.json(json),
        }
    }

    fn json(&self, json: &Value) {
        write(&format!("{json}\n"));
    }

    fn line(&mut self, text: &str) {
        let end_of_last = match std::mem::take(&mut self.in_line) {
            true => "\n",
            false => "",
        };
        write(&format!("{end_of_last}{text}\n"));
    }

    /// Writes over the line that the cursor stands in.
    fn write_over(&mut self, text: &str) {
        self.in_line = true;
        write(&format!("\r\x1b[K{text}"));
    }
}

/// Who has closed standard output does not read it, which is no reason for machines to end.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
