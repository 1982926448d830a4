//! Loading the kernel of a written image, so that the tenant's operating system starts without
//! the firmware's minutes.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use bessemer_core::hardware::DiskIdentity;

use super::boot_entry::{self, BootEntry};
use super::device;
use super::filesystem::{self, Kind, Mounted, Tree};
use crate::console::{causes, printable, say};
use crate::inventory::disks;
use crate::machine::Machine;
use crate::{Error, Result};

/// The largest configuration file that is read, in bytes.
const MAX_CONFIGURATION: u64 = 1 << 20;

/// Boot Loader Specification entries that are looked at.
const MAX_ENTRIES: usize = 100;

/// The largest initial RAM disk, in bytes.
const MAX_INITRD: u64 = 1 << 30;

/// The longest release of a kernel that is told, in bytes.
const MAX_RELEASE: usize = 128;

/// Folders in which a boot loader's configuration may be: with `/boot` in the root file system,
/// or as a file system of its own.
const BOOT_FOLDERS: [&str; 2] = ["/boot", ""];

/// Finds the operating system on the disk and loads its kernel; gives the kernel's release.
pub(super) fn load(machine: &Machine, selector: &DiskIdentity) -> Result<String> {
    let disk = disks::select(machine, selector)?.name;
    device::reread_partition_table(&machine.device(&disk))?;
    let mut looked_at = Vec::new();
    // What the image's own boot loader would start, on any partition, is better than a guess.
    for finder in [configured as Finder, guessed as Finder] {
        looked_at.clear();
        for partition in disks::partitions(machine, &disk) {
            let path = machine.device(&partition);
            // Which subvolume of a btrfs a loader would look into is more than its files say.
            let found = filesystem::identify(&path).filter(|(kind, _)| *kind != Kind::Btrfs);
            let Some((kind, uuid)) = found else {
                continue;
            };
            looked_at.push(format!("{partition} ({})", kind.name()));
            let mounted = match Mounted::new(kind, &path, &machine.path("mnt")) {
                Ok(mounted) => mounted,
                Err(error) => {
                    say(causes(&error));
                    continue;
                }
            };
            let tree = mounted.tree()?;
            if let Some(entry) = finder(&tree, &uuid.to_string()) {
                say(format_args!(
                    "{partition}: {} {}",
                    entry.kernel,
                    printable(&entry.command_line)
                ));
                return load_entry(&tree, &entry);
            }
        }
    }
    let message = match &looked_at[..] {
        [] => "it has no partition with an ext4 or xfs file system".into(),
        partitions => format!("there is none on {}", partitions.join(", ")),
    };
    Err(Error::NoKernel { disk, message })
}

type Finder = fn(&Tree, &str) -> Option<BootEntry>;

/// What a boot loader's configuration says.
fn configured(tree: &Tree, _uuid: &str) -> Option<BootEntry> {
    let found = BOOT_FOLDERS.iter().find_map(|folder| {
        ["grub", "grub2"]
            .iter()
            .find_map(|grub| from_grub_folder(tree, folder, grub))
    });
    found.filter(|entry| tree.file(&entry.kernel).is_ok())
}

fn from_grub_folder(tree: &Tree, folder: &str, grub: &str) -> Option<BootEntry> {
    let text = |path: String| tree.text(&path, MAX_CONFIGURATION);
    let entries: Vec<(String, String)> = tree
        .names(&format!("{folder}/loader/entries"))
        .into_iter()
        .filter(|name| name.ends_with(".conf"))
        .take(MAX_ENTRIES)
        .filter_map(|name| {
            Some((
                name.clone(),
                text(format!("{folder}/loader/entries/{name}"))?,
            ))
        })
        .collect();
    let variables = text(format!("{folder}/{grub}/grubenv")).unwrap_or_default();
    let configuration = text(format!("{folder}/{grub}/grub.cfg"));
    configuration
        .and_then(|text| boot_entry::from_grub(&text))
        .or_else(|| boot_entry::from_loader_entries(&entries, &variables))
}

/// The newest kernel in the root file system.
fn guessed(tree: &Tree, uuid: &str) -> Option<BootEntry> {
    tree.file("/etc/os-release").ok()?;
    boot_entry::from_file_names("/boot", &tree.names("/boot"), uuid)
}

fn load_entry(tree: &Tree, entry: &BootEntry) -> Result<String> {
    let open = |path: &str| {
        tree.file(path).map_err(|source| Error::File {
            action: "open",
            path: path.into(),
            source,
        })
    };
    let kernel = open(&entry.kernel)?;
    let initrds = entry
        .initrds
        .iter()
        .map(|path| open(path))
        .collect::<Result<Vec<_>>>()?;
    let initrd = join(initrds).map_err(Error::LoadKernel)?;
    let command_line = CString::new(entry.command_line.as_str())
        .map_err(|error| Error::LoadKernel(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    kexec_file_load(&kernel, initrd.as_ref(), &command_line).map_err(Error::LoadKernel)?;
    Ok(release(&kernel).unwrap_or_else(|| release_by_name(&entry.kernel)))
}

/// The release that a kernel says it is, up to the first blank: a text that its setup header points
/// to (Linux, Documentation/arch/x86/boot.rst, `kernel_version`).
fn release(kernel: &File) -> Option<String> {
    let mut header = [0; 16];
    kernel.read_exact_at(&mut header, 0x200).ok()?;
    if &header[2..6] != b"HdrS" {
        return None;
    }
    let pointer = u16::from_le_bytes([header[14], header[15]]);
    let mut text = vec![0; MAX_RELEASE];
    let read = kernel.read_at(&mut text, u64::from(pointer) + 0x200).ok()?;
    text.truncate(read);
    let words = text.split(|byte| *byte == 0).next()?;
    let release = std::str::from_utf8(words).ok()?.split_whitespace().next()?;
    let is_plain = release.bytes().all(|byte| byte.is_ascii_graphic());
    (pointer > 0 && is_plain).then(|| release.to_owned())
}

/// The same by the file's name, which by custom is the release behind a dash.
fn release_by_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let release = name.split_once('-').map_or(name, |(_, release)| release);
    printable(release).chars().take(MAX_RELEASE).collect()
}

/// Several initial RAM disks as one file; the kernel unpacks archives that follow each other.
fn join(mut files: Vec<File>) -> io::Result<Option<File>> {
    if files.len() <= 1 {
        return Ok(files.pop());
    }
    let mut joined = unnamed_file()?;
    for file in files {
        let copied = io::copy(&mut file.take(MAX_INITRD), &mut joined)?;
        // Each begins at a multiple of four bytes.
        let padding = [0; 3];
        io::Write::write_all(&mut joined, &padding[..(4 - copied % 4) as usize % 4])?;
    }
    joined.rewind()?;
    Ok(Some(joined))
}

fn unnamed_file() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a NUL-terminated string.
    let number = unsafe { libc::memfd_create(c"initrd".as_ptr(), libc::MFD_CLOEXEC) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// `kexec_file_load(2)`.
fn kexec_file_load(kernel: &File, initrd: Option<&File>, command_line: &CString) -> io::Result<()> {
    const NO_INITRAMFS: libc::c_ulong = 4;
    let flags = if initrd.is_some() { 0 } else { NO_INITRAMFS };
    let bytes = command_line.as_bytes_with_nul();
    // SAFETY: the descriptors are open, and the command line with its NUL is as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.map_or(-1, AsRawFd::as_raw_fd),
            bytes.len(),
            bytes.as_ptr(),
            flags,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        (folder, tree)
    }

    const GRUB: &str = "menuentry 'x' {\nlinux /boot/vmlinuz-1 root=/dev/x\ninitrd /boot/i-1\n}\n";

    #[test]
    fn a_configured_kernel_must_exist() {
        let (_folder, with) = tree(&[("boot/grub/grub.cfg", GRUB), ("boot/vmlinuz-1", "k")]);
        assert_eq!(configured(&with, "").unwrap().kernel, "/boot/vmlinuz-1");
        let (_folder, without) = tree(&[("boot/grub/grub.cfg", GRUB)]);
        assert_eq!(configured(&without, ""), None);
    }

    #[test]
    fn a_boot_partition_of_its_own_is_understood() {
        let entry = "version 6\nlinux /vmlinuz-6\noptions root=/dev/mapper/root\n";
        let (_folder, boot) = tree(&[("loader/entries/a.conf", entry), ("vmlinuz-6", "k")]);
        assert_eq!(
            configured(&boot, "").unwrap().command_line,
            "root=/dev/mapper/root"
        );
    }

    #[test]
    fn only_an_operating_system_is_guessed_at() {
        let (_folder, system) = tree(&[("etc/os-release", ""), ("boot/vmlinuz-1", "k")]);
        assert_eq!(guessed(&system, "u").unwrap().kernel, "/boot/vmlinuz-1");
        let (_folder, data) = tree(&[("boot/vmlinuz-1", "k")]);
        assert_eq!(guessed(&data, "u"), None);
    }

    #[test]
    fn initial_ram_disks_are_joined_at_multiples_of_four() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            File::open(folder.path().join(name)).unwrap()
        };
        let mut joined = join(vec![file("a", "12345"), file("b", "678")])
            .unwrap()
            .unwrap();
        let mut text = Vec::new();
        joined.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"12345\0\0\x00678\0");
        assert!(join(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_kernel_says_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = |content: &[u8]| {
            let path = folder.path().join("kernel");
            fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        };
        let mut image = vec![0; 0x1000];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        let text = b"6.1.0-25-amd64 (builder) #1 SMP\0";
        image[0x500..0x500 + text.len()].copy_from_slice(text);
        assert_eq!(release(&kernel(&image)).unwrap(), "6.1.0-25-amd64");
        image[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(release(&kernel(&image)), None, "points beyond its end");
        image[0x202] = 0;
        assert_eq!(release(&kernel(&image)), None);
        assert_eq!(release(&kernel(b"")), None);
        assert_eq!(
            release_by_name("/boot/vmlinuz-6.1.0-25-amd64"),
            "6.1.0-25-amd64"
        );
        assert_eq!(release_by_name("/vmlinuz"), "vmlinuz");
    }
}
