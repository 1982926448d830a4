//! `bessemer flavor`: what is offered for rent.

use std::str::FromStr;

use bessemer_core::flavor::{FlavorDisk, FlavorHardware};
use bessemer_core::lifecycle::HandOver;
use bessemer_core::root_disk::RootDiskHint;
use bessemer_wire::api::{Flavor, FlavorCreate};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::Context;
use crate::table::{NOTHING, table};
use crate::words;

/// Flavors: what is offered for rent. Machines match them exactly or not at all.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer flavor create small --from-node rack1-u07
  bessemer flavor list")]
pub(super) enum Command {
    Create(Box<Create>),
    List(List),
    Delete(Delete),
}

/// Offer a flavor: the hardware of a node that has it, or hardware spelt out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer flavor create small --from-node rack1-u07
  bessemer flavor create quick --from-node rack1-u07 --standby --hand-over try_kexec
  bessemer flavor create storage --threads 32 --memory 128G --disk 1x480 --disk 12x8000hdd \\
      --root-disk rotational=false")]
pub(super) struct Create {
    /// Its name, unique.
    name: String,
    /// Name or id of an inspected node: the flavor is what it has.
    #[arg(
        long, value_name = "NODE", required_unless_present_all = ["threads", "memory"],
        conflicts_with_all = ["threads", "memory", "disk", "architecture", "cpu_model", "product"]
    )]
    from_node: Option<String>,
    /// Hardware threads over all processors.
    #[arg(long, value_name = "COUNT", requires = "memory")]
    threads: Option<u32>,
    /// Nominal memory, such as 32G or 32768M.
    #[arg(long, value_name = "SIZE", requires = "threads")]
    memory: Option<Memory>,
    /// Equal disks: how many and of how many GiB, such as 2x480 or 12x8000hdd; can be given
    /// several times.
    #[arg(long, value_name = "COUNTxSIZE[hdd]", requires = "threads")]
    disk: Vec<Disks>,
    /// Processor architecture.
    #[arg(long, requires = "threads", default_value = "x86_64")]
    architecture: String,
    /// What must be in the processor's model name, where it matters.
    #[arg(long, value_name = "TEXT", requires = "threads")]
    cpu_model: Option<String>,
    /// The product name that SMBIOS tells, where it matters.
    #[arg(long, value_name = "NAME", requires = "threads")]
    product: Option<String>,
    /// Let available nodes with this hardware wait for orders in the agent: an order then costs no
    /// POST.
    #[arg(long)]
    standby: bool,
    /// How the operating systems of its servers are started.
    #[arg(
        long, value_name = "WAY", value_parser = hand_over_parser(),
        default_value = HandOver::TryKexec.name()
    )]
    hand_over: HandOver,
    /// Which disk of its nodes is the root disk, unless they have a hint of their own: what is true of
    /// one disk alone, such as 'model=PM9A3,size>=400G,rotational=false'.
    #[arg(long, value_name = "HINT")]
    root_disk: Option<RootDiskHint>,
}

/// Reads a way to hand over by its name.
fn hand_over_parser() -> impl TypedValueParser<Value = HandOver> {
    let names = HandOver::ALL.iter().map(|way| way.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut all = HandOver::ALL.iter().copied();
        all.find(|way| way.name() == name)
            .ok_or("there is no such way")
    })
}

/// List flavors, and how many nodes of each can be had now.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer flavor list")]
pub(super) struct List {}

/// Stop offering a flavor.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer flavor delete small")]
pub(super) struct Delete {
    /// Its name or id.
    flavor: String,
}

/// Memory in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory(u64);

impl FromStr for Memory {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it with its unit, as 32G or 32768M (GiB, MiB)";
        let unit_at = text
            .find(|character: char| !character.is_ascii_digit())
            .ok_or(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().map_err(|_| wrong)?;
        let mib = match unit {
            "M" | "MiB" => number,
            "G" | "GiB" => number.checked_mul(1024).ok_or(wrong)?,
            _ => return Err(wrong),
        };
        if mib == 0 {
            return Err("no machine has none");
        }
        Ok(Self(mib))
    }
}

/// A number of equal disks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disks(FlavorDisk);

impl FromStr for Disks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write it as 2x480 (two solid-state disks of 480 GiB) or 12x8000hdd";
        let (count, size) = text.split_once('x').ok_or(wrong)?;
        let (size, rotational) = match size.strip_suffix("hdd") {
            Some(size) => (size, true),
            None => (size, false),
        };
        let count: u32 = count.parse().map_err(|_| wrong)?;
        let size_gib: u64 = size.parse().map_err(|_| wrong)?;
        if count == 0 || size_gib == 0 {
            return Err("neither the number nor the size of disks can be 0");
        }
        Ok(Self(FlavorDisk {
            count,
            size_gib,
            rotational,
        }))
    }
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(create) => {
            let flavor = client.create_flavor(&create.request()).await?;
            format.one(&flavor, |flavor| flavors(&[flavor]))?;
        }
        Command::List(List {}) => {
            let list = client.flavors().await?;
            format.list(&list, flavors)?;
        }
        Command::Delete(Delete { flavor }) => {
            client.delete_flavor(&flavor).await?;
            format.say(format!("flavor {flavor} is deleted"))?;
        }
    }
    Ok(())
}

impl Create {
    fn request(self) -> FlavorCreate {
        let size = self.threads.zip(self.memory);
        let hardware = size.map(|(threads, Memory(memory_mib))| FlavorHardware {
            architecture: self.architecture,
            threads,
            memory_mib,
            disks: self.disk.into_iter().map(|Disks(disk)| disk).collect(),
            cpu_model: self.cpu_model,
            product: self.product,
        });
        FlavorCreate {
            name: self.name,
            hardware,
            from_node: self.from_node,
            standby: self.standby,
            hand_over: self.hand_over,
            root_disk_hint: self.root_disk,
        }
    }
}

fn flavors(flavors: &[&Flavor]) -> String {
    let rows = flavors.iter().map(|flavor| {
        let hardware = &flavor.hardware;
        [
            flavor.name.clone(),
            flavor.available.to_string(),
            hardware.architecture.clone(),
            hardware.threads.to_string(),
            words::memory(hardware.memory_mib),
            disks(&hardware.disks),
            hardware.cpu_model.clone().unwrap_or_else(|| NOTHING.into()),
            hardware.product.clone().unwrap_or_else(|| NOTHING.into()),
            if flavor.standby { "yes" } else { "no" }.into(),
            flavor.hand_over.name().into(),
            flavor
                .root_disk_hint
                .as_ref()
                .map_or_else(|| NOTHING.into(), ToString::to_string),
        ]
    });
    let header = [
        "NAME",
        "AVAILABLE",
        "ARCHITECTURE",
        "THREADS",
        "MEMORY",
        "DISKS",
        "CPU",
        "PRODUCT",
        "STANDBY",
        "HAND-OVER",
        "ROOT DISK",
    ];
    table(header, rows)
}

fn disks(disks: &[FlavorDisk]) -> String {
    let parts: Vec<_> = disks
        .iter()
        .map(|disk| {
            let kind = if disk.rotational { "HDD" } else { "SSD" };
            format!("{} x {} GiB {kind}", disk.count, disk.size_gib)
        })
        .collect();
    if parts.is_empty() {
        NOTHING.into()
    } else {
        parts.join(" + ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!("32G".parse(), Ok(Memory(32_768)));
        assert_eq!("512MiB".parse(), Ok(Memory(512)));
        for wrong in [
            "32",
            "G",
            "0G",
            "-1G",
            "1.5G",
            "1T",
            "99999999999999999999G",
        ] {
            assert!(wrong.parse::<Memory>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn disks_are_counted_and_sized() {
        let disks = |count, size_gib, rotational| {
            Ok(Disks(FlavorDisk {
                count,
                size_gib,
                rotational,
            }))
        };
        assert_eq!("2x480".parse(), disks(2, 480, false));
        assert_eq!("12x8000hdd".parse(), disks(12, 8000, true));
        for wrong in ["480", "x480", "2x", "0x480", "2x0", "2x480ssd", "2 x 480"] {
            assert!(wrong.parse::<Disks>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_flavor_is_one_line() {
        let flavor: Flavor = serde_json::from_value(serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000001", "name": "storage", "available": 2,
            "root_disk_hint": { "rotational": false },
            "hardware": { "architecture": "x86_64", "threads": 32, "memory_mib": 131_072, "disks": [
                { "count": 2, "size_gib": 480 }, { "count": 12, "size_gib": 8000, "rotational": true },
            ] },
        }))
        .unwrap();
        let lines = [
            "NAME     AVAILABLE  ARCHITECTURE  THREADS  MEMORY   \
             DISKS                                CPU  PRODUCT  STANDBY  HAND-OVER  ROOT DISK",
            "storage  2          x86_64        32       128 GiB  \
             2 x 480 GiB SSD + 12 x 8000 GiB HDD  -    -        no       try_kexec  rotational=false",
        ];
        assert_eq!(flavors(&[&flavor]), lines.join("\n"));
    }
}
