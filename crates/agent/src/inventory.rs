//! What the machine is made of, read from sysfs and procfs.
//!
//! Nothing here fails: a value that the machine does not tell is empty or absent in the inventory,
//! where a person can see that, and the conductor decides what it needs.

use std::collections::BTreeSet;

use bessemer_core::hardware::{Cpu, FirmwareMode, Inventory, MachineIdentity, Nic};

use crate::machine::Machine;
use crate::network::interface::{self, Control};
use crate::network::lldp::Neighbors;

pub mod disks;
pub mod smbios;

/// Takes the whole inventory.
pub fn take(machine: &Machine, neighbors: &Neighbors) -> Inventory {
    let dmi = |name: &str| {
        machine
            .text(format!("sys/class/dmi/id/{name}"))
            .unwrap_or_default()
    };
    Inventory {
        identity: identity(machine),
        manufacturer: dmi("sys_vendor"),
        product: dmi("product_name"),
        firmware_version: dmi("bios_version"),
        firmware_mode: firmware_mode(machine),
        cpu: cpu(&machine.text("proc/cpuinfo").unwrap_or_default()),
        memory_mib: memory_mib(machine),
        disks: disks::all(machine),
        nics: nics(machine, neighbors),
    }
}

/// Which machine this is: serial number and UUID of SMBIOS type 1.
pub fn identity(machine: &Machine) -> MachineIdentity {
    let uuid = machine
        .text("sys/class/dmi/id/product_uuid")
        .and_then(|text| text.parse().ok());
    MachineIdentity {
        serial: machine
            .text("sys/class/dmi/id/product_serial")
            .unwrap_or_default(),
        // All zeros and all ones mean "not set" (DSP0134, 7.2.1).
        uuid: uuid.filter(|uuid: &uuid::Uuid| !uuid.is_nil() && !uuid.is_max()),
    }
}

fn firmware_mode(machine: &Machine) -> FirmwareMode {
    if machine.path("sys/firmware/efi").exists() {
        FirmwareMode::Uefi
    } else {
        FirmwareMode::Bios
    }
}

/// The memory modules' sizes, since those are what a machine was bought with and do not change
/// with the kernel; where SMBIOS does not tell, what the kernel can use.
fn memory_mib(machine: &Machine) -> u64 {
    let tables = machine
        .bytes("sys/firmware/dmi/tables/DMI")
        .unwrap_or_default();
    smbios::memory_mib(&tables).unwrap_or_else(|| {
        let text = machine.text("proc/meminfo").unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    })
}

/// Reads `/proc/cpuinfo` as x86 kernels write it. Virtual machines leave sockets and cores out;
/// then every thread counts as a core of one socket.
fn cpu(text: &str) -> Cpu {
    let (mut threads, mut sockets, mut cores) = (0, BTreeSet::new(), BTreeSet::new());
    let (mut model, mut socket) = (String::new(), 0_u32);
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "processor" => threads += 1,
            "model name" => value.clone_into(&mut model),
            "physical id" => {
                socket = value.parse().unwrap_or_default();
                sockets.insert(socket);
            }
            "core id" => drop(cores.insert((socket, value.parse::<u32>().unwrap_or_default()))),
            _ => {}
        }
    }
    let count = |set: usize, otherwise: u32| {
        u32::try_from(set)
            .ok()
            .filter(|n| *n > 0)
            .unwrap_or(otherwise)
    };
    Cpu {
        model,
        architecture: std::env::consts::ARCH.into(),
        sockets: count(sockets.len(), 1),
        cores: count(cores.len(), threads),
        threads,
    }
}

fn nics(machine: &Machine, neighbors: &Neighbors) -> Vec<Nic> {
    let control = Control::open().ok();
    let nic = |name: String| {
        let permanent = control
            .as_ref()
            .and_then(|control| control.permanent_address(&name));
        let speed = machine.text(format!("sys/class/net/{name}/speed"));
        Some(Nic {
            mac: permanent.or_else(|| interface::address(machine, &name))?,
            link: interface::has_carrier(machine, &name),
            // -1 and 2^32 - 1 mean "unknown"; zero means nothing.
            speed_mbps: speed
                .and_then(|text| text.parse().ok())
                .filter(|speed| !matches!(*speed, 0 | u32::MAX)),
            driver: interface::driver(machine, &name),
            lldp: neighbors.of(&name),
            name,
        })
    };
    interface::physical(machine)
        .into_iter()
        .filter_map(nic)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn processors_are_counted() {
        let text =
            "processor\t: 0\nmodel name\t: Example 9000 @ 2.0GHz\nphysical id\t: 0\ncore id\t: 0\n
processor\t: 1\nmodel name\t: Example 9000 @ 2.0GHz\nphysical id\t: 0\ncore id\t: 0\n
processor\t: 2\nmodel name\t: Example 9000 @ 2.0GHz\nphysical id\t: 1\ncore id\t: 0\n
processor\t: 3\nmodel name\t: Example 9000 @ 2.0GHz\nphysical id\t: 1\ncore id\t: 0\n";
        let seen = cpu(text);
        assert_eq!((seen.sockets, seen.cores, seen.threads), (2, 2, 4));
        assert_eq!(seen.model, "Example 9000 @ 2.0GHz");
        let bare = cpu("processor : 0\n\nprocessor : 1\n");
        assert_eq!((bare.sockets, bare.cores, bare.threads), (1, 2, 2));
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn an_inventory_is_read_from_the_kernels_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "sys/class/dmi/id/product_serial", "SN-1\n");
        write(
            root,
            "sys/class/dmi/id/product_uuid",
            "4c4c4544-0000-2010-8020-80c04f202020\n",
        );
        write(root, "sys/class/dmi/id/sys_vendor", "Maker\n");
        write(root, "sys/class/dmi/id/product_name", "Box\n");
        write(root, "sys/class/dmi/id/bios_version", "1.2\n");
        write(root, "sys/firmware/efi/fw_platform_size", "64\n");
        write(
            root,
            "proc/meminfo",
            "MemTotal:        2097152 kB\nMemFree: 1 kB\n",
        );
        write(root, "sys/class/net/testnic0/device/vendor", "");
        write(
            root,
            "sys/class/net/testnic0/address",
            "52:54:00:77:00:01\n",
        );
        write(root, "sys/class/net/testnic0/carrier", "1\n");
        write(root, "sys/class/net/testnic0/speed", "-1\n");
        write(root, "sys/class/net/lo/address", "00:00:00:00:00:00\n");
        let inventory = take(&Machine::under(root), &Neighbors::default());
        assert_eq!(inventory.identity.serial, "SN-1");
        assert!(inventory.identity.uuid.is_some());
        assert_eq!(
            (inventory.manufacturer.as_str(), inventory.product.as_str()),
            ("Maker", "Box")
        );
        assert_eq!(inventory.firmware_mode, FirmwareMode::Uefi);
        assert_eq!(inventory.memory_mib, 2048);
        let [nic] = &inventory.nics[..] else {
            panic!("{:?}", inventory.nics)
        };
        assert_eq!(
            (nic.name.as_str(), nic.link, nic.speed_mbps),
            ("testnic0", true, None)
        );
    }

    #[test]
    fn a_uuid_that_is_not_set_is_none() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            "sys/class/dmi/id/product_uuid",
            "00000000-0000-0000-0000-000000000000\n",
        );
        assert_eq!(identity(&Machine::under(root.path())).uuid, None);
    }
}
