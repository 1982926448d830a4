//! What stands for an image's root file system: a place on the disk that test images leave empty,
//! inside of their first partition, where a placed report script lies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes from the start of the disk.
const PLACE: u64 = 2 << 20;

/// More than the script's length.
const ROOM: usize = 64 << 10;

/// Puts the script there.
pub(super) fn place(disk: &Path, script: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(disk)?
        .write_all_at(script, PLACE)
}

/// The script that lies there, if one does.
pub(super) fn script(disk: &Path) -> io::Result<Option<String>> {
    let mut bytes = vec![0; ROOM];
    File::open(disk)?.read_exact_at(&mut bytes, PLACE)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(ROOM));
    let script = String::from_utf8(bytes).ok();
    Ok(script.filter(|script| !script.is_empty()))
}
