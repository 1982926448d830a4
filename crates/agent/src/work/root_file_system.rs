//! Files of ours in the root file system of a written image.
//!
//! The image is anybody's: its links are followed inside of it only, nothing that exists is opened
//! for writing, and nothing in it is executed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use bessemer_core::hardware::DiskIdentity;
use bessemer_image::{gpt, write::Disk};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::device;
use super::filesystem::{self, Kind, Mounted, Tree};
use crate::console::{causes, say};
use crate::inventory::disks;
use crate::machine::Machine;
use crate::{Error, Result};

/// Where systemd itself may be, and the name by which kernels start it.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
const INIT: [&str; 2] = ["/sbin/init", "/usr/sbin/init"];

/// Folders of a btrfs that installers make subvolumes for the root of, beside the default one.
const BTRFS_ROOTS: [&str; 4] = ["/", "/@", "/root", "/@rootfs"];

/// The largest label of SELinux that is copied, in bytes.
const MAX_LABEL: usize = 512;

/// What is written: path, content, mode.
pub(super) type Files<'a> = [(&'a str, &'a [u8], u32)];

/// A root file system that systemd starts from.
pub(super) struct Root {
    /// The partition that it is on.
    pub(super) partition: String,
    kind: Kind,
    /// The folder in it that becomes `/`.
    folder: &'static str,
}

/// The one on this disk.
pub(super) fn find(machine: &Machine, selector: &DiskIdentity) -> Result<Root> {
    let disk = disks::select(machine, selector)?.name;
    let path = machine.device(&disk);
    device::reread_partition_table(&path)?;
    if gpt::has_verity_root(&Disk::open(&path)?)? {
        let message = "dm-verity protects the root file system, so it must stay as it is";
        return Err(not_placed(disk, message));
    }
    find_on(machine, disk)
}

fn not_placed(disk: String, message: impl Into<String>) -> Error {
    let message = message.into();
    Error::NotPlaced { disk, message }
}

/// Where there are several, who knows which one will be started.
fn find_on(machine: &Machine, disk: String) -> Result<Root> {
    let mut looked_at = Vec::new();
    let mut roots = Vec::new();
    for partition in disks::partitions(machine, &disk) {
        let Some((kind, _)) = filesystem::identify(&machine.device(&partition)) else {
            continue;
        };
        looked_at.push(format!("{partition} ({})", kind.name()));
        match root_folder(machine, &partition, kind) {
            Ok(Some(folder)) => roots.push(Root {
                partition,
                kind,
                folder,
            }),
            Ok(None) => {}
            Err(error) => say(causes(&error)),
        }
    }
    let names: Vec<&str> = roots.iter().map(|root| root.partition.as_str()).collect();
    let message = match (&names[..], &looked_at[..]) {
        ([_], _) => return Ok(roots.remove(0)),
        ([], []) => "it has no partition with an ext4, xfs or btrfs file system".into(),
        ([], _) => format!("none of {} starts systemd", looked_at.join(", ")),
        _ => format!("several of its partitions have one ({})", names.join(", ")),
    };
    Err(not_placed(disk, message))
}

/// The folder of a partition's file system that systemd starts from, if there is one.
fn root_folder(machine: &Machine, partition: &str, kind: Kind) -> Result<Option<&'static str>> {
    let device = machine.device(partition);
    let mounted = Mounted::new(kind, &device, &machine.path("mnt"))?;
    let tree = mounted.tree()?;
    let folders = match kind {
        Kind::Btrfs => &BTRFS_ROOTS[..],
        Kind::Ext4 | Kind::Xfs => &BTRFS_ROOTS[..1],
    };
    let mut folders = folders.iter().copied();
    Ok(folders.find(|folder| tree.below(folder).is_ok_and(|root| starts_systemd(&root))))
}

/// Whether what the kernel would start is systemd, which is there.
fn starts_systemd(root: &Tree) -> bool {
    let first = |paths: [&str; 2]| paths.into_iter().find_map(|path| root.identity(path));
    let init = first(INIT);
    init.is_some() && init == first(SYSTEMD)
}

impl Root {
    /// Writes all of the files, or none, and reads them back.
    pub(super) fn place(&self, machine: &Machine, files: &Files<'_>) -> Result<()> {
        self.write(machine, files)?;
        self.read_back(machine, files)
    }

    /// The text of a file, of at most `limit` bytes; empty if there is none.
    pub(super) fn text(&self, machine: &Machine, path: &str, limit: u64) -> Result<String> {
        let device = machine.device(&self.partition);
        let mounted = Mounted::new(self.kind, &device, &machine.path("mnt"))?;
        let tree = self.tree(&mounted)?;
        match (tree.text(path, limit), tree.file(path)) {
            (Some(text), _) => Ok(text),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            (None, _) => {
                let message = format!("{path} is there and cannot be read");
                Err(not_placed(self.partition.clone(), message))
            }
        }
    }

    fn write(&self, machine: &Machine, files: &Files<'_>) -> Result<()> {
        let device = machine.device(&self.partition);
        let mounted = Mounted::writable(self.kind, &device, &machine.path("mnt"))?;
        let tree = self.tree(&mounted)?;
        let mut placement = Placement {
            tree: &tree,
            made: Vec::new(),
        };
        for (path, content, mode) in files {
            if let Err(source) = placement.file(path, content, *mode) {
                placement.undo();
                return Err(Error::File {
                    action: "write",
                    path: path.into(),
                    source,
                });
            }
        }
        drop(placement);
        drop(tree);
        mounted.finish(&device)
    }

    /// What the disk gives back is what was written.
    fn read_back(&self, machine: &Machine, files: &Files<'_>) -> Result<()> {
        let device = machine.device(&self.partition);
        device::forget_cache(&device);
        let mounted = Mounted::new(self.kind, &device, &machine.path("mnt"))?;
        let tree = self.tree(&mounted)?;
        for (path, content, _) in files {
            let found = tree.text(path, content.len() as u64);
            if found.as_ref().map(String::as_bytes) != Some(content) {
                let message = format!("{path} does not read as it was written");
                return Err(not_placed(self.partition.clone(), message));
            }
        }
        Ok(())
    }

    fn tree(&self, mounted: &Mounted) -> Result<Tree> {
        let tree = mounted.tree()?.below(self.folder);
        tree.map_err(|source| Error::File {
            action: "open",
            path: self.folder.into(),
            source,
        })
    }
}

/// Files being written, all or none.
struct Placement<'a> {
    tree: &'a Tree,
    /// What was made so far: the folder it is in, its name, and how it is removed.
    made: Vec<(OwnedFd, String, UnlinkatFlags)>,
}

impl Placement<'_> {
    /// A file of root's; one of that name is replaced, and never written into: it may be a link.
    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(folder)?;
        match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&folder, name, flags, Mode::S_IRUSR)?);
        copy_label(&folder, &file)?;
        // Whatever the mask of this program is, and the group of the folder.
        fchown(&file, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))?;
        self.made
            .push((folder, name.to_owned(), UnlinkatFlags::NoRemoveDir));
        file.write_all(content)?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        file.sync_all()
    }

    /// A folder, made if it is missing.
    fn folder(&mut self, path: &str) -> io::Result<OwnedFd> {
        let mut walked = String::new();
        let mut folder = self.tree.folder("/")?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            walked.push('/');
            walked.push_str(name);
            folder = match self.tree.folder(&walked) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Fails for a link that leads nowhere, which is as it should be.
                    mkdirat(&folder, name, Mode::from_bits_truncate(0o755))?;
                    let made = self.tree.folder(&walked)?;
                    copy_label(&folder, &made)?;
                    self.made
                        .push((folder, name.to_owned(), UnlinkatFlags::RemoveDir));
                    made
                }
                found => found?,
            };
        }
        Ok(folder)
    }

    /// Removes what was made, the last first.
    fn undo(self) {
        for (folder, name, how) in self.made.into_iter().rev() {
            if let Err(errno) = unlinkat(&folder, name.as_str(), how) {
                say(format_args!("{name} stays behind: {errno}"));
            }
        }
    }
}

/// Gives a file the SELinux label of its folder, as that system's own kernel would have done: this
/// one has no policy, and what has no label may not be read under one that is enforced.
fn copy_label(folder: &impl AsFd, file: &impl AsFd) -> io::Result<()> {
    let name = c"security.selinux";
    let (folder, file) = (folder.as_fd().as_raw_fd(), file.as_fd().as_raw_fd());
    let mut label = [0_u8; MAX_LABEL];
    // SAFETY: the name is NUL-terminated, and the buffer as long as said.
    let length =
        unsafe { libc::fgetxattr(folder, name.as_ptr(), label.as_mut_ptr().cast(), MAX_LABEL) };
    let Ok(length) = usize::try_from(length) else {
        // No label, no room for labels, or one that is too long to be one.
        return Ok(());
    };
    // SAFETY: the name is NUL-terminated, and the buffer at least as long as said.
    let result = unsafe { libc::fsetxattr(file, name.as_ptr(), label.as_ptr().cast(), length, 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
