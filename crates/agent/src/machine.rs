//! Where the machine is: the folders through which the kernel shows it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The largest file of sysfs or procfs that is read, in bytes.
const MAX_TEXT: u64 = 4 << 20;

/// A machine as the kernel shows it below one root folder: `/` in a RAM disk, a folder with the
/// same tree in a test.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn this() -> Self {
        Self::under(Path::new("/"))
    }

    /// The machine below `root`.
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// A path of the machine, given without the leading slash.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The device node of a disk, given its kernel name.
    pub fn device(&self, name: &str) -> PathBuf {
        // The kernel writes a slash in a device's name as `!` in sysfs (`cciss!c0d0`).
        self.path("dev").join(name.replace('!', "/"))
    }

    /// What a file of sysfs or procfs says, without space around it; `None` where there is no
    /// such file, or the device does not answer.
    pub fn text(&self, relative: impl AsRef<Path>) -> Option<String> {
        let bytes = self.bytes(relative)?;
        Some(
            String::from_utf8_lossy(&bytes)
                .trim_matches(['\0', '\n', ' ', '\t'])
                .to_owned(),
        )
    }

    /// The content of a file of sysfs or procfs; `None` where it cannot be read.
    pub fn bytes(&self, relative: impl AsRef<Path>) -> Option<Vec<u8>> {
        read_bounded(&self.path(relative), MAX_TEXT).ok()
    }

    /// The names in a folder, sorted; empty where there is no such folder.
    pub fn names(&self, relative: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(relative))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// Reads a file of at most `limit` bytes; a longer one is an error.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(std::io::Error::other(format!(
            "it is larger than {limit} bytes"
        ))));
    }
    Ok(bytes)
}
