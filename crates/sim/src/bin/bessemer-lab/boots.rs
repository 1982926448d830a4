//! `bessemer-lab boots`: the agent is booted once in every way, on real firmware.
//!
//! One machine is taken through its first inspection again and again, each time with another boot
//! method, firmware or provisioning network: ours alone, beside somebody else's DHCP server, and
//! behind a DHCP relay. Neither that server nor that relay is of our making (dnsmasq, ISC's
//! dhcrelay). The figure is the time from the power being seen on to the agent's first call.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_core::Timestamp;
use bessemer_sim::machine::BootMode;
use bessemer_sim::rack::{self, NodeDescription, StateDirectory, UpOptions};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::demo::server::BessemerServer;
use crate::demo::shell::Shell;
use crate::ending::with_rack_down_after;
use crate::enroll::{enroll, know_switches};
use crate::neighbors::Neighbors;

/// Enough for kernel and initramfs, twice.
const MEMORY_MIB: u32 = 1024;

/// The longest that one boot may take. Emulated machines are slow, and share this host.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the boots need.
#[derive(Debug, Args)]
pub(crate) struct Boots {
    /// The `bessemer` program
    #[arg(long)]
    bessemer: PathBuf,
    /// Folder with the RAM disk, as `ramdisk/build` makes it
    #[arg(long)]
    ramdisk: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    report: PathBuf,
    /// Only these ways (can be given several times)
    #[arg(long, value_name = "WAY")]
    way: Vec<String>,
}

/// One way to boot the agent.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    method: &'static str,
    firmware: BootMode,
    neighbors: Neighbors,
    /// Whether the NIC's ROM is not iPXE, so that iPXE has to be loaded by it.
    plain_pxe: bool,
}

/// What plays a boot ROM of a PC BIOS that knows PXE only: it does not say that it is iPXE, and
/// starts the file that DHCP names. What it has set is not to be found by the iPXE that it starts.
const PLAIN_PXE: &str = "#!ipxe\nset user-class PXE\ndhcp\nclear user-class\n\
                         chain tftp://${next-server}/${filename}\n";

const WAYS: [Way; 9] = [
    way("uefi_http", "uefi_http", BootMode::Uefi, Neighbors::Nobody),
    way("uefi_pxe", "pxe", BootMode::Uefi, Neighbors::Nobody),
    way("bios_pxe", "pxe", BootMode::Legacy, Neighbors::Nobody),
    Way {
        plain_pxe: true,
        ..way("bios_plain_pxe", "pxe", BootMode::Legacy, Neighbors::Nobody)
    },
    way(
        "virtual_media",
        "virtual_media",
        BootMode::Uefi,
        Neighbors::Nobody,
    ),
    way(
        "proxy_uefi_http",
        "uefi_http",
        BootMode::Uefi,
        Neighbors::Server,
    ),
    way("proxy_uefi_pxe", "pxe", BootMode::Uefi, Neighbors::Server),
    way("proxy_bios_pxe", "pxe", BootMode::Legacy, Neighbors::Server),
    way("relayed_uefi_pxe", "pxe", BootMode::Uefi, Neighbors::Relay),
];

const fn way(
    name: &'static str,
    method: &'static str,
    firmware: BootMode,
    neighbors: Neighbors,
) -> Way {
    Way {
        name,
        method,
        firmware,
        neighbors,
        plain_pxe: false,
    }
}

impl Way {
    /// Firmware that fails in one way may succeed in the next one of its own list, which does not
    /// count. What the server has logged tells.
    fn was_taken(&self, log: &str) -> Result<()> {
        let by_tftp = log.contains("TFTP served");
        let tftp_expected =
            self.method == "pxe" && (self.firmware == BootMode::Uefi || self.plain_pxe);
        ensure!(
            by_tftp == tftp_expected,
            "{}: the boot loader came by TFTP: {by_tftp}, expected {tftp_expected}",
            self.name
        );
        let by_dhcp = log.contains("DHCP answered");
        ensure!(
            !by_dhcp || self.method != "virtual_media",
            "{}: the machine booted from the network",
            self.name
        );
        Ok(())
    }
}

/// What the server has logged so far.
fn log(directory: &StateDirectory) -> Result<String> {
    Ok(std::fs::read_to_string(
        directory.logs().join("bessemer.log"),
    )?)
}

impl Boots {
    pub(crate) async fn run(self, directory: &StateDirectory) -> Result<()> {
        with_rack_down_after(directory, self.boot_all(directory)).await?;
        println!("boots ok");
        Ok(())
    }

    async fn boot_all(&self, directory: &StateDirectory) -> Result<()> {
        for wanted in &self.way {
            let known = WAYS.iter().any(|way| way.name == wanted);
            ensure!(known, "there is no way `{wanted}`");
        }
        rack::down(directory).await?;
        let options = UpOptions {
            racks: 1,
            nodes: 1,
            memory_mib: MEMORY_MIB,
        };
        let rack = rack::up(directory, &options, &std::env::current_exe()?).await?;
        let node = rack.nodes.first().context("the rack has no node")?;
        let mut figures = Vec::new();
        for neighbors in [Neighbors::Nobody, Neighbors::Server, Neighbors::Relay] {
            let chosen = |way: &&Way| {
                way.neighbors == neighbors
                    && (self.way.is_empty() || self.way.iter().any(|name| name == way.name))
            };
            let ways: Vec<_> = WAYS.iter().filter(chosen).collect();
            if ways.is_empty() {
                continue;
            }
            let _other = neighbors.start(&rack)?;
            let settings = neighbors.settings(&rack);
            let server = BessemerServer::start_on(
                &self.bessemer,
                directory,
                &rack,
                &self.ramdisk,
                &settings,
            )
            .await?;
            let shell = Shell::new(&self.bessemer, &rack, server.token());
            know_switches(&shell, &rack).await?;
            for way in ways {
                let before = log(directory)?.len();
                let seconds = boot(&shell, directory, node, way)
                    .await
                    .with_context(|| format!("booting by {}", way.name))?;
                let since = log(directory)?.split_off(before);
                way.was_taken(&since)?;
                println!(
                    "{:18} {seconds:6.1} s from power-on to agent connected",
                    way.name
                );
                figures
                    .push(json!({ "way": way.name, "seconds": (seconds * 10.0).round() / 10.0 }));
            }
            server.stop().await?;
        }
        let report = json!({ "accelerator": rack.accelerator.name(), "boots": figures });
        std::fs::write(&self.report, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", self.report.display()))
    }
}

/// Has the node boot the agent this way. Gives the seconds from power-on to the agent's call.
async fn boot(
    shell: &Shell,
    directory: &StateDirectory,
    node: &NodeDescription,
    way: &Way,
) -> Result<f64> {
    let known = shell.find("node", &node.name).await?.is_some();
    if known {
        shell
            .json(&["node", "hold", &node.name, "--reason", "boots", "--wait"])
            .await?;
        let method = ["node", "set", &node.name, "--boot-method", way.method];
        shell.json(&method).await?;
    }
    rack::set_boot_mode(node, way.firmware).await?;
    let script = directory.pxe_script(&node.name);
    if way.plain_pxe {
        std::fs::write(&script, PLAIN_PXE)?;
    } else if script.exists() {
        std::fs::remove_file(&script)?;
    }
    let begun = Timestamp::now();
    if known {
        shell.json(&["node", "provide", &node.name]).await?;
    } else {
        enroll(shell, directory, node, way.method).await?;
    }
    let started = Instant::now();
    loop {
        if let Some(seconds) = seconds_to_agent(shell, node, begun).await? {
            return Ok(seconds);
        }
        if started.elapsed() > BOOT_LIMIT {
            let log = node.serial_log.display();
            bail!(
                "no agent after {} s; the console is in {log}",
                BOOT_LIMIT.as_secs()
            );
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// From the node's history since `begun`: how long it waited for the agent, once that has called.
async fn seconds_to_agent(
    shell: &Shell,
    node: &NodeDescription,
    begun: Timestamp,
) -> Result<Option<f64>> {
    let history = shell.json(&["node", "history", &node.name]).await?;
    let entries = history.as_array().or_else(|| history["items"].as_array());
    let mut waiting_since = None;
    for entry in entries.into_iter().flatten() {
        let at: Timestamp = text(&entry["at"]).parse()?;
        if at < begun {
            continue;
        }
        let (phase, step) = (
            text(&entry["state"]["phase"]),
            text(&entry["state"]["step"]),
        );
        match (phase, step, waiting_since) {
            ("failed", ..) => bail!("the node failed: {}", entry["state"]["reason"]),
            (_, "await_agent", _) => waiting_since = Some(at),
            ("inspecting", "inspect", Some(since)) => {
                return Ok(Some(at.duration_since(since).as_secs_f64()));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
