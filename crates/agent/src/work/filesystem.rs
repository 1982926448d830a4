//! File systems of an image: told apart by their superblocks, mounted, without changing a byte where
//! they are only looked at, and read without following a link out of them.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use uuid::Uuid;

use crate::{Error, Result};

/// A kind of file system that an operating system may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ext2, ext3, ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl Kind {
    /// The kernel's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Mount options that keep the journal from being replayed, which would write to the disk.
    fn without_replay(self) -> &'static str {
        match self {
            Self::Ext4 => "noload",
            Self::Xfs => "norecovery",
            Self::Btrfs => "rescue=nologreplay",
        }
    }

    /// Mount options for writing. An image may say of its ext4 that errors are to end in a panic:
    /// that is for the machine that it is made for, and not for this one.
    fn for_writing(self) -> Option<&'static str> {
        match self {
            Self::Ext4 => Some("errors=remount-ro"),
            Self::Xfs | Self::Btrfs => None,
        }
    }
}

/// What is on a partition, by its superblock: kind and UUID.
pub(super) fn identify(device: &Path) -> Option<(Kind, Uuid)> {
    let file = File::open(device).ok()?;
    let mut block = [0; 2048];
    file.read_exact_at(&mut block, 0).ok()?;
    superblock(&block).or_else(|| {
        file.read_exact_at(&mut block, BTRFS_SUPERBLOCK).ok()?;
        btrfs_superblock(&block)
    })
}

/// Where the superblock of a btrfs is, in bytes.
const BTRFS_SUPERBLOCK: u64 = 64 << 10;

/// Btrfs: UUID at 32, magic at 64 (kernel, include/uapi/linux/btrfs_tree.h, `btrfs_super_block`).
fn btrfs_superblock(block: &[u8; 2048]) -> Option<(Kind, Uuid)> {
    let uuid = Uuid::from_slice(&block[32..48]).ok()?;
    (block[64..72] == *b"_BHRfS_M").then_some((Kind::Btrfs, uuid))
}

/// ext4: the superblock is at 1024, its magic at 0x38 and its UUID at 0x68 (kernel
/// documentation, filesystems/ext4). XFS: magic at 0, UUID at 32.
fn superblock(block: &[u8; 2048]) -> Option<(Kind, Uuid)> {
    let uuid = |at: usize| Uuid::from_slice(&block[at..at + 16]).ok();
    if block[1024 + 0x38..1024 + 0x3a] == [0x53, 0xef] {
        return Some((Kind::Ext4, uuid(1024 + 0x68)?));
    }
    if block[..4] == *b"XFSB" {
        return Some((Kind::Xfs, uuid(32)?));
    }
    None
}

/// A mounted file system; dropping it unmounts.
#[derive(Debug)]
pub(super) struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// Mounts a partition read-only.
    pub(super) fn new(kind: Kind, device: &Path, target: &Path) -> Result<Self> {
        let options = Some(kind.without_replay());
        Self::with(kind, device, target, MsFlags::MS_RDONLY, options)
    }

    /// Mounts a partition for writing, after the kernel has replayed its journal. Fails where that
    /// is not allowed: by a feature that this kernel does not know, or by one that forbids it.
    pub(super) fn writable(kind: Kind, device: &Path, target: &Path) -> Result<Self> {
        let options = kind.for_writing();
        Self::with(kind, device, target, MsFlags::empty(), options)
    }

    fn with(
        kind: Kind,
        device: &Path,
        target: &Path,
        access: MsFlags,
        options: Option<&str>,
    ) -> Result<Self> {
        let failed = |source| Error::File {
            action: "mount",
            path: device.to_owned(),
            source,
        };
        std::fs::create_dir_all(target).map_err(failed)?;
        let flags = access | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(device), target, Some(kind.name()), flags, options)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// Its content.
    pub(super) fn tree(&self) -> Result<Tree> {
        Tree::open(&self.target)
    }

    /// Unmounts it and waits until all of it is on the disk. Nothing of it may be open any more.
    pub(super) fn finish(self, device: &Path) -> Result<()> {
        let failed = |action: &'static str| {
            move |source: std::io::Error| Error::File {
                action,
                path: device.to_owned(),
                source,
            }
        };
        let target = self.target.clone();
        let folder = File::open(&target).map_err(failed("open"))?;
        // `umount2` would write everything, too, and say nothing where that fails.
        nix::unistd::syncfs(&folder).map_err(|errno| failed("flush")(errno.into()))?;
        drop(folder);
        std::mem::forget(self);
        umount2(&target, MntFlags::empty()).map_err(|errno| failed("unmount")(errno.into()))?;
        // The disk's own cache, as its power may be the next thing to go.
        let device = File::open(device).map_err(failed("open"))?;
        device.sync_all().map_err(failed("flush"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detaching cannot fail for a file system that is mounted here.
        let _ = umount2(&self.target, MntFlags::MNT_DETACH);
    }
}

/// A folder tree that an image brought: links in it lead nowhere but into the tree itself.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// The tree below a folder.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let failed = |source| Error::File {
            action: "open",
            path: folder.to_owned(),
            source,
        };
        Ok(Self {
            root: File::open(folder).map_err(failed)?.into(),
        })
    }

    /// The tree below a folder of this one, such as a subvolume: links in it do not lead out of it.
    pub(super) fn below(&self, path: &str) -> std::io::Result<Self> {
        Ok(Self {
            root: self.folder(path)?,
        })
    }

    /// Opens a folder.
    pub(super) fn folder(&self, path: &str) -> std::io::Result<OwnedFd> {
        self.open_with(path, OFlag::O_DIRECTORY)
    }

    /// Which file a path leads to: device and inode; `None` unless it is a regular file.
    pub(super) fn identity(&self, path: &str) -> Option<(u64, u64)> {
        let metadata = self.file(path).ok()?.metadata().ok()?;
        let identity = (metadata.dev(), metadata.ino());
        metadata.is_file().then_some(identity)
    }

    /// Opens a file for reading, or a folder for listing.
    pub(super) fn file(&self, path: &str) -> std::io::Result<File> {
        Ok(File::from(self.open_with(path, OFlag::empty())?))
    }

    fn open_with(&self, path: &str, flags: OFlag) -> std::io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(&self.root, path, how)?)
    }

    /// Reads a text of at most `limit` bytes; `None` where there is none.
    pub(super) fn text(&self, path: &str, limit: u64) -> Option<String> {
        let mut bytes = Vec::new();
        self.file(path)
            .ok()?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        (bytes.len() as u64 <= limit).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, sorted; empty where there is none.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(folder) = self.file(path) else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn superblocks_are_told_apart() {
        let mut block = [0; 2048];
        assert_eq!(superblock(&block), None);
        block[..4].copy_from_slice(b"XFSB");
        block[32] = 0xaa;
        assert!(
            matches!(superblock(&block), Some((Kind::Xfs, uuid)) if uuid.as_bytes()[0] == 0xaa)
        );
        assert_eq!(btrfs_superblock(&block), None);
        block[64..72].copy_from_slice(b"_BHRfS_M");
        assert!(
            matches!(btrfs_superblock(&block), Some((Kind::Btrfs, uuid)) if uuid.as_bytes()[0] == 0xaa)
        );
        block[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        block[1024 + 0x68] = 0xbb;
        assert!(
            matches!(superblock(&block), Some((Kind::Ext4, uuid)) if uuid.as_bytes()[0] == 0xbb)
        );
    }

    #[test]
    fn links_stay_inside_of_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("boot")).unwrap();
        std::fs::write(folder.path().join("boot/kernel"), "kernel").unwrap();
        symlink("/boot/kernel", folder.path().join("vmlinuz")).unwrap();
        symlink(outside.path().join("secret"), folder.path().join("leak")).unwrap();
        symlink("../../../../../../etc/passwd", folder.path().join("climb")).unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        assert_eq!(tree.text("/vmlinuz", 100).as_deref(), Some("kernel"));
        assert_eq!(tree.text("/vmlinuz", 5), None);
        assert_eq!(tree.text("/leak", 100), None);
        assert_eq!(tree.text("/climb", 1 << 20), None);
        assert_eq!(tree.names("/boot"), ["kernel"]);
        assert!(tree.names("/nothing").is_empty());
    }
}
