//! `bessemer-lab networks`: two tenants on two racks, and what passes between them.
//!
//! Four machines: in each rack one whose two NICs are bonded, and one with a single NIC. A tenant gets
//! the bonded ones, with two tagged networks and IPv6; another tenant gets the others, with a VLAN and a
//! VXLAN. Everything is ordered from the real product, and what must hold is seen by packets: at the taps, and from
//! inside the machines.

mod capture;
mod first_boot;
mod hand_over;
mod malice;
mod operator;
mod pulled;
mod reach;
mod tenant;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bessemer_sim::rack::{self, NS_OTHER_TENANT, RackDescription, StateDirectory, UpOptions};
use clap::Args;
use serde_json::{Map, Value, json};

use self::operator::Site;
use self::tenant::{Order, Tenant};
use crate::demo::MEMORY_MIB;
use crate::demo::server::BessemerServer;
use crate::demo::shell::Shell;
use crate::ending::with_rack_down_after;

/// What the networks need.
#[derive(Debug, Args)]
pub(crate) struct Networks {
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

/// Figures by what they are of.
type Figures = Map<String, Value>;

impl Networks {
    pub(crate) async fn run(self, directory: &StateDirectory) -> Result<()> {
        with_rack_down_after(directory, self.tell(directory)).await?;
        println!("networks ok");
        Ok(())
    }

    async fn tell(&self, directory: &StateDirectory) -> Result<()> {
        rack::down(directory).await?;
        rack::forget(directory).await?;
        let options = UpOptions {
            racks: 2,
            nodes: 4,
            memory_mib: MEMORY_MIB,
        };
        let rack = rack::up(directory, &options, &std::env::current_exe()?).await?;
        let server = BessemerServer::start(&self.bessemer, directory, &rack, &self.ramdisk).await?;
        let site = Site {
            shell: Shell::new(&self.bessemer, &rack, server.token()),
            bessemer: &self.bessemer,
            directory,
            rack: &rack,
        };
        let figures = story(&site, &self.os_image).await?;
        server.stop().await?;
        self.write(&rack, figures)
    }

    fn write(&self, rack: &RackDescription, figures: Figures) -> Result<()> {
        let report = json!({ "accelerator": rack.accelerator.name(), "networks": figures });
        std::fs::write(&self.report, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("cannot write {}", self.report.display()))
    }
}

async fn story(site: &Site<'_>, os_image: &std::path::Path) -> Result<Figures> {
    let mut figures = Figures::new();
    operator::prepare(site, os_image).await?;
    let alpha = Tenant::new(site, "alpha", &site.rack.namespaces.tenant).await?;
    let beta = Tenant::new(site, "beta", NS_OTHER_TENANT).await?;
    operator::networks(site).await?;

    let watched = hand_over::watch(site).await?;
    let tagged = [
        "front,port=bond0,mode=tagged",
        "back,port=bond0,mode=tagged",
    ];
    let orders = [Order::new("web1", &tagged), Order::new("web2", &tagged)];
    let webs = alpha.rent(site, &orders).await?;
    hand_over::judge(site, &webs, &watched, &mut figures).await?;
    drop(watched);
    for web in &webs {
        first_boot::check(site, &alpha, web, &mut figures).await?;
    }
    reach::between(&alpha, &webs, &mut figures).await?;
    pulled::transfer(site, &alpha, &webs, &mut figures).await?;

    let mixed = ["other,mode=native", "far,mode=tagged"];
    let orders = [Order::new("db1", &mixed), Order::new("db2", &mixed)];
    let databases = beta.rent(site, &orders).await?;
    reach::between(&beta, &databases, &mut figures).await?;
    malice::try_everything(site, &alpha, &webs, &databases, &mut figures).await?;
    reach::between(&beta, &databases, &mut figures).await?;
    Ok(figures)
}

/// Says what was seen, and keeps it.
fn seen(figures: &mut Figures, what: &str, figure: Value) {
    println!("{what}: {figure}");
    figures.insert(what.to_owned(), figure);
}
