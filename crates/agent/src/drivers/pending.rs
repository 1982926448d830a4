//! Disks that are on their way: their driver is there, and they are not.
//!
//! Drivers of storage answer before their disks can be used: an NVMe controller takes up to seconds to
//! become ready, a SCSI disk that stands still up to minutes to spin up, and neither announces
//! anything meanwhile. Whoever took that silence for the end would inspect, or erase, a machine with
//! disks missing.

use crate::machine::Machine;

/// SCSI's peripheral device type of disks (SPC-4, 6.6.2).
const DISK: &str = "0";

/// What is on its way, in the kernel's names.
pub(super) fn pending(machine: &Machine) -> Vec<String> {
    let mut names = nvme_controllers(machine);
    names.extend(scsi_disks(machine));
    names
}

/// NVMe controllers that are neither live nor given up (`state` in sysfs, kernel's
/// `nvme_sysfs_show_state`).
fn nvme_controllers(machine: &Machine) -> Vec<String> {
    let is_starting = |name: &String| {
        let state = machine.text(format!("sys/class/nvme/{name}/state"));
        matches!(state.as_deref(), Some("new" | "resetting" | "connecting"))
    };
    let names = machine.names("sys/class/nvme");
    names.into_iter().filter(is_starting).collect()
}

/// SCSI disks that a driver is looking at and that have no block device yet.
fn scsi_disks(machine: &Machine) -> Vec<String> {
    let is_starting = |name: &String| {
        let folder = format!("sys/bus/scsi/devices/{name}");
        machine.text(format!("{folder}/type")).as_deref() == Some(DISK)
            && machine.path(format!("{folder}/driver")).exists()
            && machine.names(format!("{folder}/block")).is_empty()
    };
    let names = machine.names("sys/bus/scsi/devices");
    names.into_iter().filter(is_starting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_that_are_not_ready_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sys/class/nvme/nvme0/state", "live\n");
        write("sys/class/nvme/nvme1/state", "connecting\n");
        write("sys/class/nvme/nvme2/state", "dead\n");
        let scsi = "sys/bus/scsi/devices";
        for (disk, kind, block) in [
            ("0:0:0:0", "0\n", Some("sda")),
            ("0:0:1:0", "0\n", None),
            ("0:0:2:0", "5\n", None),
        ] {
            write(&format!("{scsi}/{disk}/type"), kind);
            write(&format!("{scsi}/{disk}/driver/bind"), "");
            if let Some(name) = block {
                write(&format!("{scsi}/{disk}/block/{name}/size"), "8\n");
            }
        }
        // A disk that belongs to a RAID volume, for which no driver wants to make a block device.
        write(&format!("{scsi}/0:1:0:0/type"), "0\n");
        let machine = Machine::under(folder.path());
        assert_eq!(pending(&machine), ["nvme1", "0:0:1:0"]);
    }
}
