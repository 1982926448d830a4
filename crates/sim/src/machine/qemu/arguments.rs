//! QEMU's command line: the hardware of a rack server.

use std::ffi::OsString;
use std::path::Path;

use crate::machine::{BootMode, BootTarget, Inventory};

use super::QemuSettings;

/// Object id of the NIC, by which its boot index is changed later.
pub(super) const NIC: &str = "nic0";
/// Object id of the CD drive, by which its boot index and its medium are changed later.
pub(super) const CD: &str = "cd0";
/// Boot index of a device that is not booted from.
pub(super) const NOT_BOOTED: i32 = -1;
/// Boot indexes while an override puts a device before the disk. QEMU takes each once only.
const NIC_FIRST: i32 = 0;
const CD_FIRST: i32 = 1;
/// Boot index of the disk, always.
const DISK_INDEX: i32 = 2;
/// What the hardware clock shows at every power-on: that of a server whose battery is flat, so that
/// nothing in the whole path can come to depend on it.
const WRONG_TIME: &str = "2011-11-11T11:11:11";
/// The most data of one NVMe command: so many times doubled pages of 4 KiB (MDTS of the NVM Express
/// Base Specification).
const LARGEST_COMMAND: u32 = 10;

/// The boot indexes that depend on what is booted from, by object id.
pub(super) fn boot_order(target: BootTarget) -> [(&'static str, i32); 2] {
    let first_if = |first: bool, index| if first { index } else { NOT_BOOTED };
    let from_network = matches!(target, BootTarget::UefiHttp | BootTarget::Pxe);
    [
        (NIC, first_if(from_network, NIC_FIRST)),
        (CD, first_if(target == BootTarget::Cd, CD_FIRST)),
    ]
}

/// Debian's iPXE in the form of a Linux kernel, which a BIOS starts with a script of ours.
const IPXE_KERNEL: &str = "/usr/lib/ipxe/ipxe.lkrn";

/// The firmware of one process: fixed when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Firmware {
    mode: BootMode,
    /// Whether UEFI tries PXE: it would, over both address families, before every HTTP boot.
    pxe: bool,
}

impl Firmware {
    /// What a boot from `target` needs.
    pub(super) fn for_boot(mode: BootMode, target: BootTarget) -> Self {
        Self {
            mode,
            pxe: target == BootTarget::Pxe,
        }
    }
}

/// How the machine starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) firmware: Firmware,
    pub(super) target: BootTarget,
    /// The image in the CD drive.
    pub(super) medium: Option<&'a Path>,
    /// What stands in for the NIC's boot ROM ([`QemuSettings::pxe_script`]).
    pub(super) pxe_script: Option<&'a Path>,
}

impl Start<'_> {
    /// The boot indexes at the start: what QEMU starts itself comes before all of them.
    pub(super) fn boot_order(&self) -> [(&'static str, i32); 2] {
        match self.pxe_script {
            Some(_) => boot_order(BootTarget::None),
            None => boot_order(self.target),
        }
    }

    fn index_of(&self, device: &str) -> i32 {
        let order = self.boot_order();
        let index = order.iter().find(|(id, _)| *id == device);
        index.map_or(NOT_BOOTED, |(_, index)| *index)
    }
}

/// The arguments that start the machine.
pub(super) fn arguments(
    settings: &QemuSettings,
    inventory: &Inventory,
    start: &Start<'_>,
) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    platform(&mut line, settings, inventory);
    firmware(&mut line, settings, start.firmware);
    if let Some(script) = start.pxe_script {
        line.option("-kernel", IPXE_KERNEL);
        line.option("-initrd", script);
    }
    identity(&mut line, inventory);
    consoles(&mut line, settings);
    disk(&mut line, settings, inventory);
    cd_drive(&mut line, start);
    network(&mut line, settings, inventory, start);
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
    // Without graphics, a PC BIOS and its boot ROMs write to the serial console.
    line.option("-machine", "q35,graphics=off");
    line.option("-accel", settings.accelerator.name());
    line.option("-cpu", "max");
    line.option("-smp", inventory.processor_cores.to_string());
    line.option("-m", inventory.memory_mib.to_string());
    line.0.push("-nodefaults".into());
    line.option("-rtc", format!("base={WRONG_TIME}"));
    line.option("-display", "none");
    line.option("-boot", "strict=on");
}

/// UEFI from its flash chips, or else the PC BIOS that QEMU comes with.
fn firmware(line: &mut Line, settings: &QemuSettings, firmware: Firmware) {
    if firmware.mode == BootMode::Legacy {
        return;
    }
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
            if firmware.pxe {
                &settings.pxe_firmware_variables
            } else {
                &settings.firmware_variables
            },
        ),
    );
    for name in ["IPv4PXESupport", "IPv6PXESupport"] {
        let wanted = if firmware.pxe && name.starts_with("IPv4") {
            'y'
        } else {
            'n'
        };
        line.option(
            "-fw_cfg",
            format!("name=opt/org.tianocore/{name},string={wanted}"),
        );
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

/// The CD drive that the controller imitates, on the chipset's SATA controller.
fn cd_drive(line: &mut Line, start: &Start<'_>) {
    let index = start.index_of(CD);
    let mut device = format!("ide-cd,id={CD},bus=ide.0,bootindex={index}");
    if let Some(medium) = start.medium {
        line.option(
            "-blockdev",
            with_path(
                "driver=file,node-name=medium0-file,read-only=on,filename=",
                medium,
            ),
        );
        line.option(
            "-blockdev",
            "driver=raw,node-name=medium0,file=medium0-file,read-only=on",
        );
        device.push_str(",drive=medium0");
    }
    line.option("-device", device);
}

/// The NICs, of which the first one boots. Without speed and duplex LACP never forms; partial checksums
/// would not survive the userspace switch. An empty ROM file selects UEFI's own driver; a PC BIOS has
/// none and needs the ROM.
fn network(line: &mut Line, settings: &QemuSettings, inventory: &Inventory, start: &Start<'_>) {
    for (index, (nic, tap)) in inventory.nics.iter().zip(&settings.taps).enumerate() {
        line.option(
            "-netdev",
            format!("tap,id=net{index},ifname={tap},script=no,downscript=no,vnet_hdr=off"),
        );
        let boots = index == 0;
        let needs_rom =
            boots && start.firmware.mode == BootMode::Legacy && start.pxe_script.is_none();
        let mut device = format!(
            "virtio-net-pci,id=nic{index},netdev=net{index},mac={},speed={},duplex=full",
            nic.mac, nic.speed_mbps
        );
        if boots {
            device.push_str(&format!(",bootindex={}", start.index_of(NIC)));
        }
        if !needs_rom {
            device.push_str(",romfile=");
        }
        line.option("-device", device);
    }
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
    fn what_is_booted_from_comes_before_the_disk_and_nothing_else_does() {
        let first = |target| {
            let order = boot_order(target).into_iter();
            let before_disk = order.filter(|(_, index)| (0..DISK_INDEX).contains(index));
            before_disk.map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(first(BootTarget::UefiHttp), [NIC]);
        assert_eq!(first(BootTarget::Pxe), [NIC]);
        assert_eq!(first(BootTarget::Cd), [CD]);
        for target in [BootTarget::None, BootTarget::Hdd] {
            assert!(
                boot_order(target)
                    .iter()
                    .all(|(_, index)| *index == NOT_BOOTED)
            );
        }
    }
}
