//! File systems of an image: told apart by their superblocks, mounted without changing a byte,
//! and read without following a link out of them.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
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
}

impl Kind {
    /// The kernel's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Mount options that keep the journal from being replayed, which would write to the disk.
    fn without_replay(self) -> &'static str {
        match self {
            Self::Ext4 => "noload",
            Self::Xfs => "norecovery",
        }
    }
}

/// What is on a partition, by its superblock: kind and UUID.
pub(super) fn identify(device: &Path) -> Option<(Kind, Uuid)> {
    let file = File::open(device).ok()?;
    let mut block = [0; 2048];
    file.read_exact_at(&mut block, 0).ok()?;
    superblock(&block)
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
        let failed = |source| Error::File {
            action: "mount",
            path: device.to_owned(),
            source,
        };
        std::fs::create_dir_all(target).map_err(failed)?;
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(
            Some(device),
            target,
            Some(kind.name()),
            flags,
            Some(kind.without_replay()),
        )
        .map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// Its content.
    pub(super) fn tree(&self) -> Result<Tree> {
        Tree::open(&self.target)
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

    /// Opens a file for reading, or a folder for listing.
    pub(super) fn file(&self, path: &str) -> std::io::Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(File::from(openat2(&self.root, path, how)?))
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
