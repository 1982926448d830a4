//! The figures of the demo, for scripts.

use std::path::Path;

use anyhow::{Context, Result};
use bessemer_core::Timestamp;
use bessemer_sim::rack::RackDescription;
use serde_json::{Value, json};

use super::shell::Shell;
use super::tenant::Login;

/// The figures of one order.
pub(super) struct Order(Value);

impl Order {
    /// Collects them after the first login.
    pub(super) async fn of(
        shell: &Shell,
        rack: &RackDescription,
        server: &str,
        login: &Login,
    ) -> Result<Self> {
        let server = shell.json(&["server", "show", server]).await?;
        let image = shell.json(&["image", "show", "debian-12"]).await?;
        let node = server["node"].as_str().context("the server has no node")?;
        let history = shell.json(&["node", "history", node]).await?;
        Ok(Self(json!({
            "accelerator": rack.accelerator.name(),
            "order_to_login_s": round(login.seconds),
            "posts": server["posts"],
            "phases": phases(&history, &server["created_at"]),
            "image_bytes": image["virtual_size"],
            "bytes_written": image["data_bytes"],
        })))
    }

    pub(super) fn posts(&self) -> u64 {
        self.0["posts"].as_u64().unwrap_or(0)
    }

    /// Bytes of the image that are not zero.
    pub(super) fn bytes_written(&self) -> u64 {
        self.0["bytes_written"].as_u64().unwrap_or(0)
    }

    /// Adds what no order can be quicker than: writing the image's bytes, and starting the
    /// operating system.
    pub(super) fn with_floor(mut self, write_seconds: f64, boot_seconds: f64) -> Self {
        self.0["floor_s"] = json!(round(write_seconds + boot_seconds));
        self.0["floor"] = json!({
            "dd_s": round(write_seconds),
            "kernel_start_to_login_s": round(boot_seconds),
        });
        self
    }
}

/// Writes the report and shows it.
pub(super) fn write(path: &Path, orders: &[Order]) -> Result<()> {
    let list: Vec<&Value> = orders.iter().map(|order| &order.0).collect();
    let report = json!({ "orders": list });
    std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    println!("\nfigures: {}", path.display());
    for order in &list {
        println!("{}", serde_json::to_string(order)?);
    }
    Ok(())
}

/// The steps since the order was placed, each with its seconds.
fn phases(history: &Value, ordered: &Value) -> Vec<Value> {
    let time = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok())
    };
    let items = history.as_array().or_else(|| history["items"].as_array());
    let mut entries: Vec<(Timestamp, String)> = items
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry["state"]["phase"] == "deploying" || entry["state"]["phase"] == "active"
        })
        .filter_map(|entry| {
            Some((
                time(&entry["at"])?,
                entry["state"]["step"].as_str()?.to_owned(),
            ))
        })
        .filter(|(at, _)| time(ordered).is_none_or(|ordered| *at >= ordered))
        .collect();
    entries.sort();
    entries
        .windows(2)
        .map(|pair| {
            let seconds = pair[1].0.duration_since(pair[0].0).as_secs_f64();
            json!({ "name": pair[0].1, "seconds": round(seconds) })
        })
        .collect()
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}
