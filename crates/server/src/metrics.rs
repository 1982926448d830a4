//! Counters, and the text in which Prometheus reads them.
//!
//! Plain atomics: counting must never wait, allocate or fail. What can be told from the database
//! (nodes by phase, servers) is not counted here but read when somebody asks, so that it cannot
//! drift. The format is Prometheus's text exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bessemer_store::PowerCounts;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Something that only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `number` more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Exactly `number`.
    pub fn set(&self, number: i64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// How many now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ident = $name:literal,)*) => {
        /// Everything that is counted.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $field: $type,)*
            /// Requests to the API.
            pub requests: Requests,
        }

        impl Metrics {
            fn render_fields(&self, text: &mut String) {
                $(line(text, $name, concat!($($doc),+), stringify!($type), self.$field.get());)*
            }
        }
    };
}

metrics! {
    /// Decisions that the conductor has taken about nodes.
    reconciles: Counter = "bessemer_conductor_reconciles_total",
    /// Reconciles that ended in an error of our own, such as a failing database.
    reconcile_errors: Counter = "bessemer_conductor_reconcile_errors_total",
    /// Times that the ports of a node on a switch were not as they should be.
    port_drifts: Counter = "bessemer_port_drifts_total",
    /// Requests sent to management controllers.
    bmc_requests: Counter = "bessemer_bmc_requests_total",
    /// Looks at the power state of a machine.
    power_checks: Counter = "bessemer_power_checks_total",
    /// Looks at the power state of a machine that got no answer.
    power_checks_unanswered: Counter = "bessemer_power_checks_unanswered_total",
    /// BMCs that this server leaves alone at this moment, because they do not answer or refuse the
    /// password.
    bmcs_left_alone: Gauge = "bessemer_bmcs_left_alone",
    /// Agents that have called and been let in.
    agent_hellos: Counter = "bessemer_agent_hellos_total",
    /// Agents refused: unknown boot, wrong or replayed token.
    agent_refused: Counter = "bessemer_agent_refused_total",
    /// Bytes of images sent to agents.
    image_bytes: Counter = "bessemer_image_bytes_total",
    /// Bytes of the agent sent to booting firmware.
    boot_bytes: Counter = "bessemer_boot_bytes_total",
    /// DHCP and boot requests of machines that are not to boot the agent.
    boot_refused: Counter = "bessemer_boot_refused_total",
    /// Readers of the event stream that are connected.
    event_streams: Gauge = "bessemer_event_streams",
}

/// What others tell when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Nodes by phase.
    pub nodes: &'a [(&'a str, u64)],
    /// Nodes by power state.
    pub powers: PowerCounts,
    /// Servers.
    pub servers: u64,
    /// Transactions that this server has committed.
    pub commits: u64,
    /// Panics that this server has caught.
    pub panics: u64,
    /// Tasks that have panicked and wait to be started again.
    pub tasks_down: usize,
}

impl Metrics {
    /// The counters, and what is `stored`, as Prometheus reads them.
    pub fn render(&self, stored: Stored<'_>) -> String {
        let Stored {
            nodes,
            powers,
            servers,
            commits,
            panics,
            tasks_down,
        } = stored;
        let mut text = String::with_capacity(8 << 10);
        head(&mut text, "bessemer_nodes", "Nodes by phase.", "gauge");
        for (phase, count) in nodes {
            // Writing to a `String` cannot fail, here and below.
            let _ = writeln!(text, "bessemer_nodes{{phase=\"{phase}\"}} {count}");
        }
        let name = "bessemer_nodes_power";
        head(
            &mut text,
            name,
            "Nodes by the power state of their machines.",
            "gauge",
        );
        let (on, off, unknown) = (powers.on, powers.off, powers.unknown);
        for (state, count) in [("on", on), ("off", off), ("unknown", unknown)] {
            let _ = writeln!(text, "{name}{{power=\"{state}\"}} {count}");
        }
        let help = "Nodes whose management controllers do not answer.";
        let name = "bessemer_bmcs_unreachable";
        line(&mut text, name, help, "Gauge", powers.silent);
        line(&mut text, "bessemer_servers", "Servers.", "Gauge", servers);
        let help = "Transactions that this server has committed to its database.";
        let name = "bessemer_store_commits_total";
        line(&mut text, name, help, "Counter", commits);
        let help = "Panics that this server has caught: each is a bug, and the log has where.";
        line(&mut text, "bessemer_panics_total", help, "Counter", panics);
        let help = "Tasks of this server that have panicked and wait to be started again.";
        line(&mut text, "bessemer_tasks_down", help, "Gauge", tasks_down);
        self.render_fields(&mut text);
        self.requests.render(&mut text);
        text
    }
}

fn line(text: &mut String, name: &str, help: &str, kind: &str, value: impl std::fmt::Display) {
    head(text, name, help.trim(), &kind.to_ascii_lowercase());
    let _ = writeln!(text, "{name} {value}");
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Requests to the API by method, route and status.
///
/// Methods and routes are ours, not the client's, so their number is bounded however a client
/// spells what it asks for.
#[derive(Debug, Default)]
pub struct Requests(RwLock<BTreeMap<(&'static str, String, u16), Request>>);

#[derive(Debug, Default)]
struct Request {
    count: Counter,
    microseconds: Counter,
}

impl Requests {
    /// Counts one request that took `time` to the head of its answer.
    pub fn count(&self, method: &str, route: &str, status: u16, time: Duration) {
        let key = (known_method(method), route.to_owned(), status);
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Entries are only ever added whole, so a panic elsewhere leaves nothing half-done.
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = map.get(&key) {
            request.count.inc();
            request.microseconds.add(microseconds);
            return;
        }
        drop(map);
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let request = map.entry(key).or_default();
        request.count.inc();
        request.microseconds.add(microseconds);
    }

    fn render(&self, text: &mut String) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = "bessemer_api_request_seconds";
        head(text, name, "Time to the head of the answer.", "summary");
        for ((method, route, status), request) in &*map {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            // A precision of microseconds is all there is: the cast loses nothing that matters.
            let seconds = request.microseconds.get() as f64 / 1e6;
            let _ = writeln!(text, "{name}_sum{{{labels}}} {seconds}");
            let _ = writeln!(text, "{name}_count{{{labels}}} {}", request.count.get());
        }
    }
}

fn known_method(method: &str) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::default();
        metrics.reconciles.inc();
        metrics.image_bytes.add(4096);
        metrics.event_streams.inc();
        metrics
            .requests
            .count("GET", "/v1/nodes", 200, Duration::from_millis(1500));
        metrics
            .requests
            .count("GET", "/v1/nodes", 200, Duration::from_millis(500));
        metrics
            .requests
            .count("BREW", "unmatched", 404, Duration::ZERO);
        let powers = PowerCounts {
            on: 1,
            off: 4,
            unknown: 2,
            silent: 2,
        };
        let text = metrics.render(Stored {
            nodes: &[("available", 3)],
            powers,
            servers: 2,
            commits: 17,
            panics: 3,
            tasks_down: 1,
        });
        for expected in [
            "# TYPE bessemer_nodes gauge\nbessemer_nodes{phase=\"available\"} 3\n",
            "# TYPE bessemer_nodes_power gauge\nbessemer_nodes_power{power=\"on\"} 1\n\
             bessemer_nodes_power{power=\"off\"} 4\nbessemer_nodes_power{power=\"unknown\"} 2\n",
            "\nbessemer_bmcs_unreachable 2\n",
            "# TYPE bessemer_servers gauge\nbessemer_servers 2\n",
            "# TYPE bessemer_store_commits_total counter\nbessemer_store_commits_total 17\n",
            "# TYPE bessemer_panics_total counter\nbessemer_panics_total 3\n",
            "# TYPE bessemer_tasks_down gauge\nbessemer_tasks_down 1\n",
            "# HELP bessemer_conductor_reconciles_total Decisions that the conductor has taken \
             about nodes.\n# TYPE bessemer_conductor_reconciles_total counter\n\
             bessemer_conductor_reconciles_total 1\n",
            "\nbessemer_image_bytes_total 4096\n",
            "\nbessemer_event_streams 1\n",
            "_sum{method=\"GET\",route=\"/v1/nodes\",status=\"200\"} 2\n",
            "_count{method=\"GET\",route=\"/v1/nodes\",status=\"200\"} 2\n",
            "_count{method=\"OTHER\",route=\"unmatched\",status=\"404\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
