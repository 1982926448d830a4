//! The disks of a machine, and the one that a command means.

use std::path::Path;

use bessemer_core::hardware::{Disk, DiskIdentity, Transport};

use crate::machine::Machine;
use crate::{Error, Result};

/// sysfs counts sizes in these, whatever the disk's own sectors are.
const SYSFS_SECTOR: u64 = 512;

/// Names of block devices that are made of software or of other block devices.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// Every disk, sorted by kernel name. A disk that is seen over several paths is listed once, by the
/// first of them.
pub fn all(machine: &Machine) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for name in machine.names("sys/block") {
        if let Some(disk) = disk(machine, name)
            && !disks.iter().any(|known| is_same(known, &disk))
        {
            disks.push(disk);
        }
    }
    disks
}

/// Whether these are two paths to one disk. A world-wide name alone is no proof: makers have given
/// one to a whole series.
fn is_same(one: &Disk, other: &Disk) -> bool {
    one.wwn.is_some()
        && !one.serial.is_empty()
        && (&one.wwn, &one.serial, one.size_bytes) == (&other.wwn, &other.serial, other.size_bytes)
}

/// The disk that is meant, whatever its kernel name is now.
pub fn select(machine: &Machine, selector: &DiskIdentity) -> Result<Disk> {
    let disks = all(machine);
    let meant: Vec<&Disk> = disks.iter().filter(|disk| selector.is(disk)).collect();
    match meant[..] {
        [disk] => Ok(disk.clone()),
        [] => Err(Error::NoSuchDisk {
            wanted: describe(&selector.name, &selector.serial, selector.size_bytes),
            found: describe_all(disks.iter()),
        }),
        _ => Err(Error::AmbiguousDisk {
            wanted: describe(&selector.name, &selector.serial, selector.size_bytes),
            found: describe_all(meant.into_iter()),
        }),
    }
}

fn describe(name: &str, serial: &str, size: u64) -> String {
    let serial = if serial.is_empty() { "none" } else { serial };
    format!("{name} with serial number {serial} and {size} bytes")
}

fn describe_all<'a>(disks: impl Iterator<Item = &'a Disk>) -> String {
    let texts: Vec<String> = disks
        .map(|disk| describe(&disk.name, &disk.serial, disk.size_bytes))
        .collect();
    if texts.is_empty() {
        "none".into()
    } else {
        texts.join(", ")
    }
}

fn disk(machine: &Machine, name: String) -> Option<Disk> {
    let folder = format!("sys/block/{name}");
    let text = |file: &str| {
        machine
            .text(format!("{folder}/{file}"))
            .filter(|text| !text.is_empty())
    };
    let is_set = |file: &str| text(file).as_deref() == Some("1");
    let device = machine.path(format!("{folder}/device"));
    if NOT_DISKS.iter().any(|prefix| name.starts_with(prefix))
        || is_boot_area(&name)
        || !device.exists()
        || is_set("removable")
        || is_set("hidden")
    {
        return None;
    }
    let size_bytes = size_bytes(machine, &name)?;
    let serial = text("serial").or_else(|| text("device/serial"));
    Some(Disk {
        size_bytes: Some(size_bytes).filter(|size| *size > 0)?,
        model: text("device/model").unwrap_or_default(),
        serial: serial
            .or_else(|| scsi_serial(machine, &folder))
            .unwrap_or_default(),
        wwn: text("wwid")
            .or_else(|| text("device/wwid"))
            .filter(|id| is_world_wide(id)),
        rotational: is_set("queue/rotational"),
        transport: transport(&name, &device),
        name,
    })
}

/// The hardware partitions of an eMMC: a few MiB for firmware, write-protected or behind a key.
fn is_boot_area(name: &str) -> bool {
    name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"))
}

/// How large the kernel takes a disk to be now.
pub fn size_bytes(machine: &Machine, name: &str) -> Option<u64> {
    let sectors: u64 = machine
        .text(format!("sys/block/{name}/size"))?
        .parse()
        .ok()?;
    sectors.checked_mul(SYSFS_SECTOR)
}

/// What a disk hangs on, as a name: its controller for a namespace of an NVMe drive, whose
/// commands may concern all of them; the disk itself otherwise.
pub fn controller(machine: &Machine, disk: &Disk) -> String {
    let link = machine.path(format!("sys/block/{}/device", disk.name));
    let controller = std::fs::canonicalize(link)
        .ok()
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    match controller {
        Some(name) if disk.transport == Transport::Nvme => name,
        _ => disk.name.clone(),
    }
}

/// The unit serial number of SCSI and SATA disks: vital product data page 0x80 (SPC-4, 7.8.18),
/// four bytes of header, then text.
fn scsi_serial(machine: &Machine, folder: &str) -> Option<String> {
    let page = machine.bytes(format!("{folder}/device/vpd_pg80"))?;
    let serial = String::from_utf8_lossy(page.get(4..)?)
        .trim_matches(['\0', ' '])
        .to_owned();
    Some(serial).filter(|serial| !serial.is_empty())
}

/// Whether an identifier is unique in the world rather than made up of model and serial number.
fn is_world_wide(id: &str) -> bool {
    ["naa.", "eui.", "uuid.", "0x"]
        .iter()
        .any(|prefix| id.starts_with(prefix))
}

/// How a disk is attached: by its name, and by what lies between it and the PCI bus.
fn transport(name: &str, device: &Path) -> Transport {
    if name.starts_with("nvme") {
        return Transport::Nvme;
    }
    if name.starts_with("vd") {
        return Transport::Virtio;
    }
    if !name.starts_with("sd") {
        return Transport::Other;
    }
    let path = std::fs::canonicalize(device).unwrap_or_default();
    let passes = |prefix: &str| {
        path.iter().any(|part| {
            let digits = part.to_str().and_then(|part| part.strip_prefix(prefix));
            digits.is_some_and(|rest| {
                rest.bytes()
                    .next()
                    .is_some_and(|byte| byte.is_ascii_digit())
            })
        })
    };
    if passes("ata") {
        Transport::Sata
    } else if passes("usb") {
        Transport::Other
    } else {
        Transport::Scsi
    }
}

/// The partitions of a disk, in the order of their numbers.
pub(crate) fn partitions(machine: &Machine, disk: &str) -> Vec<String> {
    let folder = format!("sys/block/{disk}");
    let number = |name: &str| {
        machine
            .text(format!("{folder}/{name}/partition"))?
            .parse::<u32>()
            .ok()
    };
    let mut numbered: Vec<(u32, String)> = machine
        .names(&folder)
        .into_iter()
        .filter_map(|name| Some((number(&name)?, name)))
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// sysfs as it is: block folders link to the device's own.
    fn fixture() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(
            root,
            "sys/devices/pci0/ata1/host0/target0/0:0:0:0/model",
            "QEMU HARDDISK   \n",
        );
        write(
            root,
            "sys/devices/pci0/ata1/host0/target0/0:0:0:0/vpd_pg80",
            b"\0\x80\0\x08  SATA-1",
        );
        write(
            root,
            "sys/devices/pci0/ata1/host0/target0/0:0:0:0/wwid",
            "naa.5000c50015ea71ac\n",
        );
        write(root, "sys/block/sda/size", "2048\n");
        write(root, "sys/block/sda/queue/rotational", "1\n");
        std::os::unix::fs::symlink(
            "../../devices/pci0/ata1/host0/target0/0:0:0:0",
            root.join("sys/block/sda/device"),
        )
        .unwrap();
        write(root, "sys/block/nvme0n1/device/model", "Fast\n");
        write(root, "sys/block/nvme0n1/device/serial", "NV-1 \n");
        write(root, "sys/block/nvme0n1/wwid", "nvme.1b36-6e7631\n");
        write(root, "sys/block/nvme0n1/size", "4096\n");
        write(root, "sys/block/vda/device/vendor", "");
        write(root, "sys/block/vda/serial", "V-1");
        write(root, "sys/block/vda/size", "4096\n");
        for name in ["loop0", "sr0", "dm-0", "md127"] {
            write(root, &format!("sys/block/{name}/device/vendor"), "");
            write(root, &format!("sys/block/{name}/size"), "8\n");
        }
        write(root, "sys/block/sdb/device/vendor", "virtual medium");
        write(root, "sys/block/sdb/size", "8\n");
        write(root, "sys/block/sdb/removable", "1\n");
        write(root, "sys/block/mmcblk0boot0/device/type", "MMC\n");
        write(root, "sys/block/mmcblk0boot0/size", "8192\n");
        write(root, "sys/block/sdc/device/vendor", "empty card reader");
        write(root, "sys/block/sdc/size", "0\n");
        folder
    }

    #[test]
    fn only_real_disks_are_listed() {
        let root = fixture();
        let disks = all(&Machine::under(root.path()));
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "sda", "vda"]);
        let [nvme, sata, virtio] = &disks[..] else {
            panic!()
        };
        assert_eq!(
            (nvme.transport, nvme.serial.as_str()),
            (Transport::Nvme, "NV-1")
        );
        assert_eq!((nvme.size_bytes, &nvme.wwn), (2 << 20, &None));
        assert_eq!(
            (sata.transport, sata.serial.as_str()),
            (Transport::Sata, "SATA-1")
        );
        assert_eq!(sata.wwn.as_deref(), Some("naa.5000c50015ea71ac"));
        assert!(sata.rotational && !virtio.rotational);
        assert_eq!(
            (virtio.transport, virtio.serial.as_str()),
            (Transport::Virtio, "V-1")
        );
    }

    /// A SCSI disk with this serial number and world-wide name, of 1 MiB.
    fn scsi(root: &Path, name: &str, serial: &str, wwn: &str) {
        write(root, &format!("sys/block/{name}/size"), "2048\n");
        write(root, &format!("sys/block/{name}/serial"), serial);
        write(root, &format!("sys/block/{name}/device/wwid"), wwn);
    }

    fn selector(name: &str, serial: &str, wwn: Option<&str>) -> DiskIdentity {
        DiskIdentity {
            name: name.into(),
            serial: serial.into(),
            size_bytes: 1 << 20,
            wwn: wwn.map(String::from),
        }
    }

    #[test]
    fn one_disk_over_two_paths_is_one_disk() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::under(folder.path());
        scsi(folder.path(), "sda", "A", "naa.1");
        scsi(folder.path(), "sdb", "B", "naa.2");
        scsi(folder.path(), "sdc", "A", "naa.1");
        // Two disks of a careless maker.
        scsi(folder.path(), "sdd", "D", "naa.3");
        scsi(folder.path(), "sde", "E", "naa.3");
        let names: Vec<String> = all(&machine).into_iter().map(|disk| disk.name).collect();
        assert_eq!(names, ["sda", "sdb", "sdd", "sde"]);
        // It was `sdc` when it was inspected.
        let found = select(&machine, &selector("sdc", "A", Some("naa.1"))).unwrap();
        assert_eq!(found.name, "sda");
    }

    #[test]
    fn two_disks_that_cannot_be_told_apart_are_not_guessed_between() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::under(folder.path());
        scsi(folder.path(), "sda", "SAME", "t10.unusable");
        scsi(folder.path(), "sdb", "SAME", "t10.unusable");
        let error = select(&machine, &selector("sda", "SAME", None)).unwrap_err();
        let failure = error.failure();
        assert_eq!(failure.class, bessemer_core::reason::FailureClass::Operator);
        for part in [
            "several",
            "sda with serial number SAME",
            "sdb with serial number SAME",
        ] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        // A world-wide name tells them apart.
        scsi(folder.path(), "sdb", "SAME", "naa.7");
        let found = select(&machine, &selector("sda", "SAME", Some("naa.7")));
        assert!(found.is_err(), "sda has no such name, and may still be it");
        scsi(folder.path(), "sda", "SAME", "naa.6");
        let found = select(&machine, &selector("sda", "SAME", Some("naa.7"))).unwrap();
        assert_eq!(found.name, "sdb");
    }

    #[test]
    fn a_disk_without_a_serial_number_is_not_taken_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::under(folder.path());
        scsi(folder.path(), "sda", "OTHER", "naa.1");
        scsi(folder.path(), "sdb", "", "t10.unusable");
        let found = select(&machine, &selector("sda", "", None)).unwrap();
        assert_eq!(found.name, "sdb", "the one that has none either");
        scsi(folder.path(), "sdc", "", "t10.unusable");
        let error = select(&machine, &selector("sdb", "", None)).unwrap_err();
        assert!(matches!(error, Error::AmbiguousDisk { .. }), "{error}");
    }

    #[test]
    fn namespaces_of_one_controller_are_told_apart_by_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::under(folder.path());
        for name in ["nvme1n1", "nvme1n2"] {
            write(
                folder.path(),
                &format!("sys/block/{name}/device/serial"),
                "NV",
            );
            write(folder.path(), &format!("sys/block/{name}/size"), "2048\n");
        }
        let found = select(&machine, &selector("nvme0n2", "NV", None)).unwrap();
        assert_eq!(found.name, "nvme1n2");
    }

    #[test]
    fn the_serial_number_decides_and_the_size_must_agree() {
        let root = fixture();
        let machine = Machine::under(root.path());
        let wanted = |name: &str, serial: &str, size_bytes| {
            let selector = DiskIdentity {
                name: name.into(),
                serial: serial.into(),
                size_bytes,
                wwn: None,
            };
            select(&machine, &selector).map(|disk| disk.name)
        };
        assert_eq!(wanted("sdz", "V-1", 2 << 20).unwrap(), "vda");
        for error in [
            wanted("vda", "", 2 << 20),
            wanted("vda", "V-1", 1),
            wanted("vda", "V-2", 2 << 20),
            wanted("sdz", "", 2 << 20),
        ] {
            let text = error.unwrap_err().to_string();
            assert!(text.contains("nvme0n1 with serial number NV-1"), "{text}");
        }
    }

    #[test]
    fn partitions_are_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for (name, number) in [("vda10", "10"), ("vda2", "2"), ("vda1", "1")] {
            fs::create_dir_all(folder.path().join("sys/block/vda").join(name)).unwrap();
            fs::write(
                folder
                    .path()
                    .join(format!("sys/block/vda/{name}/partition")),
                number,
            )
            .unwrap();
        }
        fs::create_dir_all(folder.path().join("sys/block/vda/queue")).unwrap();
        assert_eq!(
            partitions(&Machine::under(folder.path()), "vda"),
            ["vda1", "vda2", "vda10"]
        );
    }
}
