//! The RAM disk for real servers on a machine with many kinds of disks: QEMU's NVMe drive with two
//! namespaces, SATA, a MegaRAID controller, virtio and USB, behind an Intel NIC. The drivers are found, the
//! removable disk is left alone, an I/O error of one disk is told with its serial number, and in
//! the end every byte of the others is zero, read from outside.
//!
//! `make ramdisk-test` runs this with the RAM disk that it has built.

mod rig;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bessemer_boot::parameters::{Parameters, Token};
use bessemer_core::reason::FailureClass;
use bessemer_wire::agent::{AgentStatus, CommandResult, Work};
use rig::{Conductor, TOKEN, command};

/// Without KVM, on a host that does other things as well.
const LIMIT: Duration = Duration::from_secs(300);

const SIZE: u64 = 64 << 20;

/// The sector that fails once: in what is read back of an erased disk, and in nothing else.
const BAD_SECTOR: u64 = (10 << 20) / 512;

const MAC: &str = "52:54:00:77:00:01";

/// Node name, and the device that QEMU puts it on.
const DISKS: [(&str, &str); 7] = [
    ("nvme-one", "nvme-ns,bus=nvme0,nsid=1"),
    ("nvme-two", "nvme-ns,bus=nvme0,nsid=2"),
    ("sata", "ide-hd,bus=ahci0.0,serial=SATA"),
    ("megaraid", "scsi-hd,bus=megaraid0.0,serial=MEGARAID"),
    ("virtio", "scsi-hd,bus=virtio0.0,serial=VIRTIO"),
    // The kernel tries again by itself what a SCSI disk fails to do; not so with this one.
    ("faulty", "virtio-blk-pci,serial=FAULTY"),
    ("stick", "usb-storage,removable=on,serial=STICK"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU and the RAM disk for hardware: `make ramdisk-test`"]
async fn every_disk_of_a_server_is_found_and_erased() {
    let ramdisk = std::env::var_os("BESSEMER_RAMDISK").expect("the folder of the RAM disk");
    let conductor = Conductor::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in DISKS {
        let file = File::create(folder.path().join(name)).unwrap();
        file.write_all_at(&vec![0xa5; SIZE as usize], 0).unwrap();
    }
    let _machine = Machine::start(Path::new(&ramdisk), folder.path(), &conductor);

    let inspected = conductor
        .command_within(LIMIT, command("inspect", 1, Work::Inspect))
        .await;
    let AgentStatus::Done {
        result: CommandResult::Inspected { inventory },
        ..
    } = inspected
    else {
        panic!("{inspected:?}")
    };
    let mut serials: Vec<&str> = inventory
        .disks
        .iter()
        .map(|disk| disk.serial.as_str())
        .collect();
    serials.sort_unstable();
    let expected = ["FAULTY", "MEGARAID", "NVME", "NVME", "SATA", "VIRTIO"];
    assert_eq!(serials, expected);
    assert_eq!(inventory.nics[0].driver, "e1000e");

    let failed = conductor
        .command_within(LIMIT, command("erase", 1, Work::Erase))
        .await;
    let AgentStatus::Failed { failure, .. } = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(failure.class, FailureClass::Transient);
    for part in ["(serial number FAULTY)", "cannot read"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }

    let erased = conductor
        .command_within(LIMIT, command("again", 1, Work::Erase))
        .await;
    let AgentStatus::Done {
        result: CommandResult::Erased { disks },
        ..
    } = erased
    else {
        panic!("{erased:?}")
    };
    for disk in &disks {
        let formatted = disk.method == "nvme format, user data erase";
        assert_eq!(formatted, disk.serial == "NVME", "{disk:?}");
    }
    assert_eq!(disks.len(), 6);
    for (name, _) in DISKS {
        let content = std::fs::read(folder.path().join(name)).unwrap();
        let expected = if name == "stick" { 0xa5 } else { 0 };
        assert!(content.iter().all(|byte| *byte == expected), "{name}");
    }
}

/// A machine that ends with the test.
struct Machine {
    process: Child,
    console: PathBuf,
}

impl Machine {
    fn start(ramdisk: &Path, folder: &Path, conductor: &Conductor) -> Self {
        let console = folder.join("console");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max"])
            .args(["-m", "768", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-smbios", "type=1,serial=S1"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-kernel")
            .arg(ramdisk.join("vmlinuz"))
            .arg("-initrd")
            .arg(ramdisk.join("initramfs.zst"))
            .args(["-append", &command_line(conductor)])
            .args(["-netdev", "user,id=net0,restrict=off"])
            .args(["-device", &format!("e1000e,netdev=net0,mac={MAC}")])
            .args(["-device", "nvme,id=nvme0,serial=NVME"])
            .args(["-device", "ahci,id=ahci0"])
            .args(["-device", "megasas,id=megaraid0"])
            .args(["-device", "virtio-scsi-pci,id=virtio0"])
            .args(["-device", "qemu-xhci"]);
        for (name, device) in DISKS {
            let file = folder.join(name);
            qemu.arg("-blockdev").arg(block_device(name, &file));
            qemu.args(["-device", &format!("{device},drive={name}")]);
        }
        let process = qemu
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        Self { process, console }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let console = std::fs::read(&self.console).unwrap_or_default();
            eprintln!("{}", String::from_utf8_lossy(&console));
        }
    }
}

fn block_device(name: &str, file: &Path) -> String {
    let file = serde_json::json!({ "driver": "file", "filename": file, "discard": "unmap" });
    let device = if name == "faulty" {
        serde_json::json!({
            "driver": "blkdebug", "node-name": name, "image": file,
            "inject-error": [{ "event": "none", "iotype": "read", "sector": BAD_SECTOR, "once": true }],
        })
    } else {
        serde_json::json!({ "driver": "raw", "node-name": name, "file": file, "discard": "unmap" })
    };
    device.to_string()
}

/// What the firmware would be given; QEMU's own network puts the host at 10.0.2.2.
fn command_line(conductor: &Conductor) -> String {
    let digits = conductor.pin.to_string();
    let hexadecimal: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut pin = [0; 32];
    for (byte, digits) in pin.iter_mut().zip(hexadecimal.chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap();
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    let parameters = Parameters {
        conductors: vec![format!("https://10.0.2.2:{}", conductor.address.port())],
        pin,
        boot: bessemer_core::id::BootId(uuid::Uuid::from_u128(1)),
        token: Token::new(TOKEN).unwrap(),
        mac: MAC.parse().unwrap(),
        address: [10, 0, 2, 15].into(),
        prefix: 24,
        gateway: None,
    };
    parameters.render(["console=ttyS0,115200"]).unwrap()
}
