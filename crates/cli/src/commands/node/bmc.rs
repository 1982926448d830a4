//! `bessemer node bmc`: what a node's management controller says of its machine.

use bessemer_wire::api::{BmcBootOption, BmcInventory};
use clap::Args;

use crate::commands::Context;
use crate::table::pairs;
use crate::words::printable;

/// Ask a node's management controller what its machine is made of.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node bmc rack1-u07
  bessemer node bmc rack1-u07 -o json | jq -r '.nics[].mac'")]
pub(in crate::commands) struct Bmc {
    /// Its name or id.
    node: String,
}

pub(super) async fn run(arguments: Bmc, context: &Context) -> anyhow::Result<()> {
    let inventory = context.client.node_bmc(&arguments.node).await?;
    Ok(context.format.one(&inventory, show)?)
}

fn show(inventory: &BmcInventory) -> String {
    let memory = inventory.memory_mib.map(|mib| format!("{mib} MiB"));
    let uuid = inventory.uuid.map(|uuid| uuid.to_string());
    let mut text = pairs([
        ("Manufacturer", inventory.manufacturer.clone()),
        ("Model", inventory.model.clone()),
        ("Serial", inventory.serial.clone()),
        ("UUID", uuid),
        ("Firmware", inventory.firmware_version.clone()),
        ("Memory", memory),
    ]);
    for (title, lines) in lists(inventory) {
        if !lines.is_empty() {
            text.push_str(&format!("\n\n{title}:"));
            for line in lines {
                text.push_str("\n  ");
                text.push_str(&printable(&line));
            }
        }
    }
    text
}

fn lists(inventory: &BmcInventory) -> [(&'static str, Vec<String>); 7] {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let number =
        |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let cpus = inventory.cpus.iter().map(|cpu| {
        let (cores, threads) = (number(cpu.cores), number(cpu.threads));
        format!("{}, {cores} cores, {threads} threads", known(&cpu.model))
    });
    let nics = inventory.nics.iter().map(|nic| {
        let link = match nic.link_up {
            Some(true) => "link",
            Some(false) => "no link",
            None => "link unknown",
        };
        format!("{}  {}, {link}", nic.mac, nic.id)
    });
    let drives = inventory.drives.iter().map(|drive| {
        let size = drive
            .size_bytes
            .map_or_else(|| "-".to_owned(), |size| size.to_string());
        format!(
            "{}  {}, {}, {size} bytes",
            drive.id,
            known(&drive.model),
            known(&drive.serial)
        )
    });
    let controllers = inventory.storage_controllers.iter().map(|controller| {
        let firmware = known(&controller.firmware_version);
        format!(
            "{}  {}, firmware {firmware}",
            controller.id,
            known(&controller.model)
        )
    });
    let options = inventory.boot_options.iter().map(boot_option);
    let media = inventory.media_drives.iter().map(|drive| {
        let held = if drive.holds_image {
            "holds an image"
        } else {
            "empty"
        };
        format!("{}  {}, {held}", drive.id, drive.kinds.join(" "))
    });
    [
        ("Processors", cpus.collect()),
        ("NICs", nics.collect()),
        ("Drives", drives.collect()),
        ("Storage controllers", controllers.collect()),
        ("Boot options, in order", options.collect()),
        ("Virtual media", media.collect()),
        ("Not read", inventory.unread.clone()),
    ]
}

fn boot_option(option: &BmcBootOption) -> String {
    let name = option.name.as_deref().unwrap_or("-");
    let disabled = if option.enabled { "" } else { " (disabled)" };
    format!("{}  {name}{disabled}", option.reference)
}
