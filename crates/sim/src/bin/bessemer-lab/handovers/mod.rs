//! `bessemer-lab handovers`: machines are handed over in every way, and come back to the network
//! afterwards, on real firmware.
//!
//! Two machines, at the same time: one starts as UEFI, one as a PC BIOS. Somebody else's DHCP server
//! is on the provisioning network, so that iPXE has an address by which it can ask us, and a machine
//! that is a tenant's can be told to boot its disk. What must hold is checked from outside: what the
//! firmware asked and was told, that no agent called, and that another boot of the same system lets
//! its tenant in.

mod bios;
mod operator;
mod returns;
mod tenant;
mod uefi;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bessemer_sim::machine::BootMode;
use bessemer_sim::rack::{self, RackDescription, StateDirectory, UpOptions};
use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::demo::MEMORY_MIB;
use crate::demo::server::{BessemerServer, Settings};
use crate::demo::shell::Shell;
use crate::ending::with_rack_down_after;
use crate::neighbors::Neighbors;

/// `timing.os_boot_deadline_kexec`: no system is up so soon, so that every `try_kexec` falls back.
const KEXEC_DEADLINE: u32 = 3;

/// What the hand-overs need.
#[derive(Debug, Args)]
pub(crate) struct Handovers {
    /// The `bessemer` program
    #[arg(long)]
    bessemer: PathBuf,
    /// Folder with the RAM disk, as `ramdisk/build` makes it
    #[arg(long)]
    ramdisk: PathBuf,
    /// Folder with the operating system, as `lab/os-image/build` makes it
    #[arg(long)]
    os_image: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    report: PathBuf,
}

/// Where it all takes place.
struct Scene<'a> {
    shell: Shell,
    directory: &'a StateDirectory,
    rack: &'a RackDescription,
}

/// Something that was seen to work, for people and for scripts.
struct Figure {
    what: &'static str,
    firmware: &'static str,
    seconds: f64,
    posts: Option<u64>,
}

impl Figure {
    fn show(&self) {
        let Self {
            what,
            firmware,
            seconds,
            ..
        } = self;
        println!("{firmware:5} {seconds:6.1} s  {what}");
    }
}

impl Handovers {
    pub(crate) async fn run(self, directory: &StateDirectory) -> Result<()> {
        with_rack_down_after(directory, self.tell(directory)).await?;
        println!("handovers ok");
        Ok(())
    }

    async fn tell(&self, directory: &StateDirectory) -> Result<()> {
        rack::down(directory).await?;
        rack::forget(directory).await?;
        let options = UpOptions {
            racks: 1,
            nodes: 2,
            memory_mib: MEMORY_MIB,
        };
        let rack = rack::up(directory, &options, &std::env::current_exe()?).await?;
        let [uefi, bios] = &rack.nodes[..] else {
            anyhow::bail!("the rack has not two nodes");
        };
        rack::set_boot_mode(bios, BootMode::Legacy).await?;
        let neighbors = Neighbors::ServerWithIpxe;
        let _other = neighbors.start(&rack)?;
        let settings = Settings {
            kexec_deadline: KEXEC_DEADLINE,
            ..neighbors.settings(&rack)
        };
        let server =
            BessemerServer::start_on(&self.bessemer, directory, &rack, &self.ramdisk, &settings)
                .await?;
        let scene = Scene {
            shell: Shell::new(&self.bessemer, &rack, server.token()),
            directory,
            rack: &rack,
        };
        operator::prepare(&scene, uefi, &self.os_image).await?;
        // Placed before there is a second node, so that it is clear which one is whose.
        let ordered = tenant::order(&scene, uefi::SERVER, "try").await?;
        let (rebuilt, is_rebuilt) = oneshot::channel();
        let (on_uefi, on_bios) = tokio::try_join!(
            uefi::story(&scene, uefi, ordered, rebuilt),
            bios::story(&scene, bios, is_rebuilt),
        )?;
        server.stop().await?;
        self.write(&rack, on_uefi.iter().chain(&on_bios))
    }

    fn write<'a>(
        &self,
        rack: &RackDescription,
        figures: impl Iterator<Item = &'a Figure>,
    ) -> Result<()> {
        let figures: Vec<_> = figures
            .map(|figure| {
                json!({
                    "what": figure.what,
                    "firmware": figure.firmware,
                    "seconds": (figure.seconds * 10.0).round() / 10.0,
                    "posts": figure.posts,
                })
            })
            .collect();
        let report = json!({ "accelerator": rack.accelerator.name(), "handovers": figures });
        std::fs::write(&self.report, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("cannot write {}", self.report.display()))
    }
}
