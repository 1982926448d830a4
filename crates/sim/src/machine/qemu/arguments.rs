//! QEMU's command line: the hardware of a rack server.

use std::ffi::OsString;
use std::path::Path;

use crate::machine::{BootTarget, Inventory};

use super::QemuSettings;

/// Object id of the NIC, by which its boot index is changed later.
pub(super) const NIC: &str = "nic0";
/// Boot index of the NIC while an override puts it before the disk.
pub(super) const NIC_FIRST: i32 = 0;
/// Boot index of a device that is not booted from.
pub(super) const NOT_BOOTED: i32 = -1;
/// Boot index of the disk, always.
const DISK_INDEX: i32 = 1;

/// The most data of one NVMe command: so many times doubled pages of 4 KiB (MDTS of the NVM Express
/// Base Specification).
const LARGEST_COMMAND: u32 = 10;

/// The NIC's boot index for a boot from `target`.
pub(super) fn nic_boot_index(target: BootTarget) -> i32 {
    match target {
        BootTarget::UefiHttp | BootTarget::Pxe => NIC_FIRST,
        BootTarget::None | BootTarget::Hdd => NOT_BOOTED,
    }
}

/// The arguments that start the machine and boot it from `target`.
pub(super) fn arguments(
    settings: &QemuSettings,
    inventory: &Inventory,
    target: BootTarget,
) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    platform(&mut line, settings, inventory);
    identity(&mut line, inventory);
    consoles(&mut line, settings);
    disk(&mut line, settings, inventory);
    network(&mut line, settings, inventory, target);
    line.0
}

struct Line(Vec<OsString>);

impl Line {
    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

/// Joins a comma-separated option whose last part is a path. QEMU reads a doubled comma as one.
fn with_path(prefix: &str, path: &Path) -> OsString {
    let mut value = OsString::from(prefix);
    value.push(path.to_string_lossy().replace(',', ",,"));
    value
}

fn platform(line: &mut Line, settings: &QemuSettings, inventory: &Inventory) {
    line.option("-name", format!("bessemer-{}", settings.name));
    line.option("-machine", "q35");
    line.option("-accel", settings.accelerator.name());
    line.option("-cpu", "max");
    line.option("-smp", inventory.processor_cores.to_string());
    line.option("-m", inventory.memory_mib.to_string());
    line.0.push("-nodefaults".into());
    line.option("-display", "none");
    line.option("-boot", "strict=on");
    line.option(
        "-drive",
        with_path(
            "if=pflash,format=raw,unit=0,readonly=on,file=",
            &settings.firmware_code,
        ),
    );
    line.option(
        "-drive",
        with_path(
            "if=pflash,format=raw,unit=1,file=",
            &settings.firmware_variables,
        ),
    );
    // The firmware would try PXE, over both address families, before every HTTP boot.
    for name in ["IPv4PXESupport", "IPv6PXESupport"] {
        line.option("-fw_cfg", format!("name=opt/org.tianocore/{name},string=n"));
    }
}

/// SMBIOS types 0 to 3, the identity a system running on the machine reads.
fn identity(line: &mut Line, inventory: &Inventory) {
    let Inventory {
        manufacturer,
        model,
        serial_number,
        uuid,
        bios_version,
        ..
    } = inventory;
    line.option(
        "-smbios",
        format!("type=0,vendor={manufacturer},version={bios_version},uefi=on"),
    );
    line.option(
        "-smbios",
        format!(
            "type=1,manufacturer={manufacturer},product={model},version=1,serial={serial_number},\
             uuid={uuid}"
        ),
    );
    for kind in [2, 3] {
        line.option(
            "-smbios",
            format!("type={kind},manufacturer={manufacturer},serial={serial_number}"),
        );
    }
}

/// The serial console, to a file and a socket at once, and the control connection.
fn consoles(line: &mut Line, settings: &QemuSettings) {
    let mut serial = with_path(
        "socket,id=serial0,server=on,wait=off,logappend=on,path=",
        &settings.serial_socket,
    );
    serial.push(with_path(",logfile=", &settings.serial_log));
    line.option("-chardev", serial);
    line.option("-serial", "chardev:serial0");
    line.option(
        "-chardev",
        with_path("socket,id=control,path=", &settings.control_socket),
    );
    line.option("-mon", "chardev=control,mode=control");
}

/// One NVMe drive. Unmapping makes an erase punch holes into the image, so that it really frees
/// what it claims to; flushes are left to the host, which survives its guests. A hole waits for the
/// journal of the host's file system, so few large ones are asked for instead of many small ones:
/// commands of up to 4 MiB ([`LARGEST_COMMAND`]), where 512 KiB is QEMU's default.
fn disk(line: &mut Line, settings: &QemuSettings, inventory: &Inventory) {
    line.option(
        "-blockdev",
        with_path(
            "driver=file,node-name=disk0-file,discard=unmap,cache.no-flush=on,filename=",
            &settings.disk,
        ),
    );
    line.option(
        "-blockdev",
        "driver=raw,node-name=disk0,file=disk0-file,discard=unmap,detect-zeroes=unmap,\
         cache.no-flush=on",
    );
    let serial = inventory
        .drives
        .first()
        .map_or("none", |drive| drive.serial_number.as_str());
    line.option(
        "-device",
        format!(
            "nvme,id=nvme0,drive=disk0,serial={serial},mdts={LARGEST_COMMAND},bootindex={DISK_INDEX}"
        ),
    );
}

/// One NIC. The empty ROM file selects the firmware's own driver; without speed and duplex LACP
/// never forms; partial checksums would not survive the userspace switch.
fn network(line: &mut Line, settings: &QemuSettings, inventory: &Inventory, target: BootTarget) {
    line.option(
        "-netdev",
        format!(
            "tap,id=net0,ifname={},script=no,downscript=no,vnet_hdr=off",
            settings.tap
        ),
    );
    let Some(nic) = inventory.nics.first() else {
        return;
    };
    line.option(
        "-device",
        format!(
            "virtio-net-pci,id={NIC},netdev=net0,mac={},romfile=,speed={},duplex=full,bootindex={}",
            nic.mac,
            nic.speed_mbps,
            nic_boot_index(target)
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_file_name_stays_in_the_name() {
        let value = with_path("driver=file,filename=", Path::new("/srv/a,b"));
        assert_eq!(value, "driver=file,filename=/srv/a,,b");
    }

    #[test]
    fn only_network_targets_put_the_nic_before_the_disk() {
        assert!((0..DISK_INDEX).contains(&nic_boot_index(BootTarget::UefiHttp)));
        assert_eq!(nic_boot_index(BootTarget::None), NOT_BOOTED);
        assert_eq!(nic_boot_index(BootTarget::Hdd), NOT_BOOTED);
    }
}
