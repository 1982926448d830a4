//! The rack's folder: what is kept and what is not.
//!
//! ```text
//! rack.json        description of the running rack     removed by `down`
//! run/             sockets, pid files, OVSDB           removed by `down`
//! logs/            daemon, switch                      kept
//! nodes/node1/     disk, firmware variables,           kept; `reset` removes disk and variables
//!                  identity, certificate, logs
//! accelerator.json what the last probe found           kept
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// Unix socket addresses hold 108 bytes with the terminating zero.
const SOCKET_PATH_LIMIT: usize = 107;
/// The longest name of a socket below the folder, with room for node numbers.
const LONGEST_SOCKET: &str = "/run/node00.control";

/// The folder in which a rack keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// A folder, made absolute.
    ///
    /// # Errors
    /// When the current folder cannot be determined, or the name is too long for sockets.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let directory = std::path::absolute(path).map_err(Error::file("find", path))?;
        if directory.as_os_str().len() + LONGEST_SOCKET.len() > SOCKET_PATH_LIMIT {
            return Err(Error::DirectoryTooLong { directory });
        }
        Ok(Self(directory))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The description of the running rack.
    pub fn description(&self) -> PathBuf {
        self.0.join("rack.json")
    }

    /// Folder of what does not outlive a running rack.
    pub(super) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Folder of the logs of daemon and switch.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(super) fn daemon_log(&self) -> PathBuf {
        self.logs().join("daemon.log")
    }

    /// Folder of the switch of a rack.
    pub(super) fn ovs(&self, rack: u16) -> PathBuf {
        match rack {
            1 => self.run().join("ovs"),
            _ => self.run().join(format!("ovs{rack}")),
        }
    }

    pub(super) fn ovsdb_socket(&self, rack: u16) -> PathBuf {
        self.ovs(rack).join("db.sock")
    }

    pub(super) fn accelerator(&self) -> PathBuf {
        self.0.join("accelerator.json")
    }

    /// Folder of everything that belongs to one node.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.0.join("nodes").join(name)
    }

    /// Folder of all nodes.
    pub(super) fn nodes(&self) -> PathBuf {
        self.0.join("nodes")
    }

    pub(super) fn disk(&self, node: &str) -> PathBuf {
        self.node(node).join("disk.raw")
    }

    pub(super) fn firmware_variables(&self, node: &str) -> PathBuf {
        self.node(node).join("firmware-variables.fd")
    }

    pub(super) fn medium(&self, node: &str) -> PathBuf {
        self.node(node).join("medium.iso")
    }

    /// Boot options are kept in the variables in the order in which they were found, which would put
    /// HTTP before PXE for ever: PXE has variables of its own.
    pub(super) fn pxe_firmware_variables(&self, node: &str) -> PathBuf {
        self.node(node).join("firmware-variables-pxe.fd")
    }

    /// See `QemuSettings::pxe_script`.
    pub fn pxe_script(&self, node: &str) -> PathBuf {
        self.node(node).join("pxe.ipxe")
    }

    pub(super) fn serial_log(&self, node: &str) -> PathBuf {
        self.node(node).join("serial.log")
    }

    pub(super) fn serial_socket(&self, node: &str) -> PathBuf {
        self.run().join(format!("{node}.serial"))
    }

    pub(super) fn control_socket(&self, node: &str) -> PathBuf {
        self.run().join(format!("{node}.control"))
    }

    /// Makes the folders that are not there yet. Only root may look into them: they hold
    /// passwords, and later tenants' disks.
    pub(super) fn create(&self) -> Result<(), Error> {
        for folder in [self.0.clone(), self.run(), self.logs(), self.nodes()] {
            fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        for folder in [self.run(), self.nodes()] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .map_err(Error::file("restrict", &folder))?;
        }
        Ok(())
    }
}

/// Writes a file that only its owner may read, as a whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, path)
    };
    write().map_err(Error::file("write", path))
}

/// Removes a file or folder that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
