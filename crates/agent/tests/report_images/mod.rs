//! Real file systems in files, behind loop devices.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Bytes of the machine's disk, which has only a partition table.
pub(crate) const DISK: u64 = 16 << 20;

/// Bytes of a file system: XFS has no smaller ones.
const SIZE: u64 = 300 << 20;

/// A file system in a file; its loop device and its folder go with it.
pub(crate) struct Image {
    kind: String,
    folder: tempfile::TempDir,
    device: String,
}

/// Whether the kernel has such file systems.
pub(crate) fn has_kind(kind: &str) -> bool {
    // Loads the module, where it is one.
    let _ = Command::new("modprobe").arg(kind).output();
    let kinds = std::fs::read_to_string("/proc/filesystems").unwrap();
    kinds
        .lines()
        .any(|line| line.ends_with(&format!("\t{kind}")))
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Image {
    /// A new file system with this content.
    pub(crate) fn new(kind: &str, fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        File::create(&file).unwrap().set_len(SIZE).unwrap();
        let file = file.to_str().unwrap();
        let options: &[&str] = match kind {
            // Few inodes, so that they can be used up; none of the blocks are root's alone.
            "ext4" | "ext2" => &["-q", "-F", "-m", "0", "-N", "200"],
            _ => &["-q", "-f"],
        };
        run(&format!("mkfs.{kind}"), &[options, &[file]].concat());
        let image = Self {
            kind: kind.to_owned(),
            device: attach(file),
            folder,
        };
        image.look(fill);
        image
    }

    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Looks into it, or changes it.
    pub(crate) fn look(&self, with: impl FnOnce(&Path)) {
        let target = self.mounted();
        with(&target);
        umount2(&target, MntFlags::empty()).unwrap();
    }

    fn mounted(&self) -> PathBuf {
        let target = self.folder.path().join("root");
        std::fs::create_dir_all(&target).unwrap();
        let (device, kind) = (self.device.as_str(), self.kind.as_str());
        let none = None::<&str>;
        mount(Some(device), &target, Some(kind), MsFlags::empty(), none).unwrap();
        target
    }

    /// The same as it is when the power goes while it is mounted and has just been written to.
    pub(crate) fn torn_off(self) -> Self {
        let target = self.mounted();
        let late = target.join("etc/late");
        let mut file = File::create(late).unwrap();
        file.write_all(b"written just before").unwrap();
        file.sync_all().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("image");
        let copy = copy.to_str().unwrap();
        run(
            "cp",
            &["--sparse=always", self.file().to_str().unwrap(), copy],
        );
        drop(file);
        umount2(&target, MntFlags::empty()).unwrap();
        Self {
            kind: self.kind.clone(),
            device: attach(copy),
            folder,
        }
    }

    /// Fails unless the file system is sound and clean.
    pub(crate) fn check(&self) {
        match self.kind.as_str() {
            "ext4" | "ext2" => {
                let state = run("dumpe2fs", &["-h", &self.device]);
                assert!(!state.contains("needs_recovery"), "{state}");
                run("e2fsck", &["-f", "-n", &self.device])
            }
            "xfs" => run("xfs_repair", &["-n", &self.device]),
            _ => run("btrfs", &["check", "--readonly", &self.device]),
        };
    }

    /// Leaves of the superblock what it is known by.
    pub(crate) fn damage(&self) {
        let file = OpenOptions::new().write(true).open(self.file()).unwrap();
        file.write_all_at(&[0xff; 0x38], 1024).unwrap();
        file.write_all_at(&[0xa5; 4096], 2048).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = umount2(&self.folder.path().join("root"), MntFlags::MNT_DETACH);
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

fn attach(file: &str) -> String {
    run("losetup", &["--find", "--show", file])
}

/// As much of an operating system as tells that it starts systemd.
pub(crate) fn make_system(root: &Path) {
    for folder in ["etc/systemd/system", "usr/lib/systemd", "usr/sbin"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("usr/lib/systemd/systemd"), "systemd").unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("usr/sbin", root.join("sbin")).unwrap();
    symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
}

/// Writes a file until there is no room left for another byte.
pub(crate) fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let piece = vec![0x5a; size];
        while file
            .write_all(&piece)
            .and_then(|()| file.sync_all())
            .is_ok()
        {}
    }
}

/// Gives a file a label of SELinux, as far as a kernel without it is concerned.
pub(crate) fn label(path: &Path, label: &str) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = c"security.selinux".as_ptr();
    // SAFETY: path and name are NUL-terminated, and the label is as long as said.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name, label.as_ptr().cast(), label.len(), 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn label_of(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = c"security.selinux".as_ptr();
    let mut label = vec![0_u8; 256];
    // SAFETY: path and name are NUL-terminated, and the buffer is as long as said.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name, label.as_mut_ptr().cast(), label.len()) };
    let length = usize::try_from(length).expect("it has no label");
    label.truncate(length);
    String::from_utf8(label).unwrap()
}
