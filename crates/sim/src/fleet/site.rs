//! A server's configuration for a fleet, and a RAM disk for it.
//!
//! Simulated machines run no kernel: what is booted here is an EFI program without instructions, a
//! kernel and an initramfs of some bytes. A real RAM disk does as well, since simulated firmware
//! reads no further than the command line; it only has to be built first.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::Error;

/// Ports of a server on loopback.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The API.
    pub api: u16,
    /// Agents.
    pub agents: u16,
    /// Boot files.
    pub boot: u16,
    /// Boot media.
    pub media: u16,
    /// Phone-home.
    pub phone_home: u16,
}

impl Default for Ports {
    /// What the documents say.
    fn default() -> Self {
        Self {
            api: 8480,
            agents: 8443,
            boot: 8481,
            media: 8482,
            phone_home: 8483,
        }
    }
}

/// The agents' addresses: every address of 127.0.0.0/8 is this host's.
const POOL: [Ipv4Addr; 2] = [
    Ipv4Addr::new(127, 78, 0, 1),
    Ipv4Addr::new(127, 78, 255, 254),
];

/// The configuration of a server whose data is in `folder`, beside the RAM disk that
/// [`make_ramdisk`] makes there. With `database_url`, on PostgreSQL.
pub fn configuration(folder: &Path, ports: Ports, database_url: Option<&str>) -> String {
    let Ports {
        api,
        agents,
        boot,
        media,
        phone_home,
    } = ports;
    let folder = folder.display();
    let [first, last] = POOL;
    let database = database_url
        .map(|url| format!("database_url = '{url}'\n"))
        .unwrap_or_default();
    format!(
        "# A server for the machines of `bessemer-lab fleet`, all on loopback.\n\
         data = '{folder}/data'\n\
         {database}\n\
         [api]\n\
         listen = '127.0.0.1:{api}'\n\
         \n\
         [provisioning]\n\
         address = '127.0.0.1'\n\
         subnet = '127.0.0.0/8'\n\
         pool_first = '{first}'\n\
         pool_last = '{last}'\n\
         agent_port = {agents}\n\
         boot_port = {boot}\n\
         dhcp = 'off'\n\
         # Nothing that a real machine could boot.\n\
         ramdisk = '{folder}/ramdisk'\n\
         \n\
         [boot_media]\n\
         listen = '127.0.0.1:{media}'\n\
         \n\
         [phone_home]\n\
         listen = '127.0.0.1:{phone_home}'\n"
    )
}

/// Makes the folder with configuration and RAM disk; files that are there are written anew.
///
/// # Errors
/// When it cannot be written.
pub fn prepare(folder: &Path, ports: Ports) -> Result<(), Error> {
    make_ramdisk(&folder.join("ramdisk"))?;
    write(
        &folder.join("bessemer.toml"),
        configuration(folder, ports, None).as_bytes(),
    )
}

/// Makes the folder with `vmlinuz`, `initramfs.zst` and `linuxx64.efi.stub`.
///
/// # Errors
/// When it cannot be written.
pub fn make_ramdisk(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    write(&folder.join("vmlinuz"), b"MZ, but nothing to start")?;
    write(&folder.join("initramfs.zst"), b"nothing to unpack")?;
    write(&folder.join("linuxx64.efi.stub"), &stub())
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    std::fs::write(path, content).map_err(Error::file("write", path))
}

/// Offsets in the smallest PE32+ image that is an EFI program (Microsoft PE Format).
const SIGNATURE: usize = 64;
const OPTIONAL: usize = SIGNATURE + 24;
const OPTIONAL_LENGTH: usize = 240;
const SECTIONS: usize = OPTIONAL + OPTIONAL_LENGTH;
const HEADERS: usize = 1024;
const FILE_ALIGNMENT: usize = 512;

/// An EFI program for x86-64 with one section, which is empty but for its place.
fn stub() -> Vec<u8> {
    let mut file = vec![0; HEADERS + FILE_ALIGNMENT];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let word = |value: usize| (value as u32).to_le_bytes();
    put(0, b"MZ");
    put(60, &word(SIGNATURE));
    put(SIGNATURE, b"PE\0\0");
    put(SIGNATURE + 4, &0x8664_u16.to_le_bytes());
    put(SIGNATURE + 6, &1_u16.to_le_bytes());
    put(SIGNATURE + 20, &(OPTIONAL_LENGTH as u16).to_le_bytes());
    put(OPTIONAL, &0x20b_u16.to_le_bytes());
    put(OPTIONAL + 32, &word(4096));
    put(OPTIONAL + 36, &word(FILE_ALIGNMENT));
    put(OPTIONAL + 56, &word(8192));
    put(OPTIONAL + 60, &word(HEADERS));
    // An EFI application.
    put(OPTIONAL + 68, &10_u16.to_le_bytes());
    put(OPTIONAL + 108, &word(16));
    put(SECTIONS, b".text\0\0\0");
    put(SECTIONS + 8, &word(FILE_ALIGNMENT));
    put(SECTIONS + 12, &word(4096));
    put(SECTIONS + 16, &word(FILE_ALIGNMENT));
    put(SECTIONS + 20, &word(HEADERS));
    file
}

#[cfg(test)]
mod tests {
    use bessemer_boot::medium::MediumTemplate;
    use bessemer_boot::uki::UkiTemplate;
    use bytes::Bytes;

    use super::*;
    use crate::machine::command_line;

    #[test]
    fn a_server_makes_media_of_it_whose_command_line_firmware_finds() {
        let folder = tempfile::tempdir().unwrap();
        make_ramdisk(folder.path()).unwrap();
        let read = |name: &str| Bytes::from(std::fs::read(folder.path().join(name)).unwrap());
        let stub = read("linuxx64.efi.stub");
        let uki = UkiTemplate::new(stub, read("vmlinuz"), read("initramfs.zst")).unwrap();
        let medium = MediumTemplate::new(uki.file_length()).unwrap();
        let medium = medium.compose(&uki.compose("a=b c").unwrap()).unwrap();
        let medium: Vec<u8> = medium.pieces().concat();
        assert_eq!(command_line(&medium).as_deref(), Some("a=b c"));
    }
}
