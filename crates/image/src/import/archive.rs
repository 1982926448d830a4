//! Tar archives: an OVA (DSP0243, an OVF description and its disks), or one disk image alone, as
//! some distributions publish it.
//!
//! Nothing is unpacked under a name from the archive: the one file that is wanted goes to where we
//! say. Names that would lead out of a folder are refused all the same, since nobody who means
//! well makes them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path};

use super::sparse::{Bounds, SparseFile};
use super::{Stop, at};
use crate::{Error, Result};

/// Entries that are looked at.
const MOST_ENTRIES: usize = 1000;

/// Headers of these, with those that only say something about the next one.
const MOST_HEADERS: usize = 4 * MOST_ENTRIES;

/// The largest OVF description that is read, in bytes.
const MOST_DESCRIPTION: u64 = 1 << 20;

const BUFFER: usize = 1 << 20;

/// What stands in an archive.
#[derive(Debug, Default)]
struct Content {
    /// Names of regular files.
    files: Vec<String>,
    /// The OVF description.
    description: Option<String>,
}

/// The largest entry that only says something about the next one (a long name, PAX records), in bytes.
/// These are read into memory as a whole.
const MOST_ABOUT_ENTRY: u64 = 64 << 10;

/// Takes the one disk image out of the archive `from` into a new file `to`.
pub(super) fn take_disk(from: &Path, to: &Path, bounds: Bounds, stop: &Stop) -> Result<()> {
    let wanted = find_disk(|| source(from), stop)?;
    let mut archive = tar::Archive::new(source(from)?);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if name_of(&entry)? != wanted || !entry.header().entry_type().is_file() {
            continue;
        }
        let mut output = SparseFile::create(to, bounds)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            stop.check()?;
            match entry.read(&mut buffer).map_err(damaged)? {
                0 => return output.finish().map(drop),
                count => output.append(&buffer[..count])?,
            }
        }
    }
    refuse(format!("`{wanted}` is not in the archive"))
}

fn source(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(at("open", path))?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

/// The name of the disk image in an archive, which `open` opens from its beginning, each time anew.
pub(super) fn find_disk<R: Read>(open: impl Fn() -> Result<R>, stop: &Stop) -> Result<String> {
    check_entries(tar::Archive::new(open()?), stop)?;
    let content = list(tar::Archive::new(open()?), stop)?;
    match (&content.description, content.files.as_slice()) {
        (Some(description), files) => disk_of(description, files),
        (None, [file]) => Ok(file.clone()),
        (None, files) => refuse(format!(
            "this archive is no OVA, and holds {} files: pack the disk image alone",
            files.len()
        )),
    }
}

/// Looks at the bare headers first: whoever reads names takes what a header says of them into memory,
/// and zeros of any length are packed into next to nothing.
fn check_entries<R: Read>(mut archive: tar::Archive<R>, stop: &Stop) -> Result<()> {
    for (index, entry) in archive.entries().map_err(damaged)?.raw(true).enumerate() {
        stop.check()?;
        if index == MOST_HEADERS {
            return refuse(format!("the archive has more than {MOST_HEADERS} headers"));
        }
        let header = entry.map_err(damaged)?.header().clone();
        let kind = header.entry_type();
        let is_about = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_about && header.entry_size().map_err(damaged)? > MOST_ABOUT_ENTRY {
            return refuse("a name in the archive is longer than 64 KiB".into());
        }
        if kind.is_gnu_sparse() {
            return refuse("the archive has a sparse file: pack it without `--sparse`".into());
        }
    }
    Ok(())
}

/// Reads the names of all entries, and the description.
fn list<R: Read>(mut archive: tar::Archive<R>, stop: &Stop) -> Result<Content> {
    let mut content = Content::default();
    for (index, entry) in archive.entries().map_err(damaged)?.enumerate() {
        stop.check()?;
        if index == MOST_ENTRIES {
            return refuse(format!("the archive has more than {MOST_ENTRIES} entries"));
        }
        let mut entry = entry.map_err(damaged)?;
        let name = name_of(&entry)?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return refuse(format!("`{name}` in the archive is a link or a device"));
        }
        if name.to_ascii_lowercase().ends_with(".ovf") {
            let description = read_description(&mut entry)?;
            if content.description.replace(description).is_some() {
                return refuse("the archive has more than one OVF description".into());
            }
        }
        content.files.push(name);
    }
    Ok(content)
}

fn read_description(entry: &mut impl Read) -> Result<String> {
    let mut text = String::new();
    entry
        .take(MOST_DESCRIPTION + 1)
        .read_to_string(&mut text)
        .map_err(damaged)?;
    if text.len() as u64 > MOST_DESCRIPTION {
        return refuse("the OVF description is larger than 1 MiB".into());
    }
    Ok(text)
}

/// The name of an entry, which must lead to nowhere but into a folder.
fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String> {
    let path = entry.path().map_err(damaged)?;
    let shown = path.display().to_string();
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays && !shown.is_empty() {
        return Ok(shown.trim_start_matches("./").to_owned());
    }
    refuse(format!("`{shown}` in the archive leads out of its folder"))
}

/// The file of the only disk that an OVF description (DSP0243, 7.1 and 7.2) has.
fn disk_of(description: &str, files: &[String]) -> Result<String> {
    let wrong = |what: &str| Error::NotADiskImage(format!("the OVF description {what}"));
    let options = roxmltree::ParsingOptions {
        nodes_limit: 100_000,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(description, options)
        .map_err(|error| wrong(&format!("is not XML: {error}")))?;
    let named = |name: &'static str| {
        let nodes = document.descendants();
        nodes.filter(move |node| node.is_element() && node.tag_name().name() == name)
    };
    let attribute = |node: &roxmltree::Node<'_, '_>, name: &str| {
        let mut attributes = node.attributes();
        let found = attributes.find(|attribute| attribute.name() == name);
        found.map(|attribute| attribute.value().to_owned())
    };
    let mut disks = named("Disk").filter_map(|disk| attribute(&disk, "fileRef"));
    let reference = disks.next().ok_or_else(|| wrong("names no disk"))?;
    if disks.next().is_some() {
        return refuse("the OVA has several disks: a server has one".into());
    }
    let file = named("File")
        .find(|file| attribute(file, "id").as_deref() == Some(&reference))
        .ok_or_else(|| wrong("does not say which file the disk is"))?;
    if attribute(&file, "chunkSize").is_some() {
        return refuse("the disk of the OVA is cut into several files".into());
    }
    let name = attribute(&file, "href").ok_or_else(|| wrong("does not name the disk's file"))?;
    match files.contains(&name) {
        true => Ok(name),
        false => refuse(format!(
            "the OVF description names `{name}`, which is not in the OVA"
        )),
    }
}

fn damaged(error: std::io::Error) -> Error {
    Error::NotADiskImage(format!("the tar archive is damaged or cut off ({error})"))
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Refused(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header for an entry of this kind and size, with its checksum.
    fn header(kind: tar::EntryType, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path("disk.raw").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn verdict(archive: impl Read + Clone) -> String {
        let stop = Stop::default();
        match find_disk(|| Ok(archive.clone()), &stop) {
            Ok(name) => name,
            Err(error) => error.to_string(),
        }
    }

    /// Ten gigabytes of zeros, which take ten megabytes of gzip, would be read into memory as one name.
    #[test]
    fn a_name_of_gigabytes_is_refused_before_it_is_read() {
        for kind in [
            tar::EntryType::GNULongName,
            tar::EntryType::GNULongLink,
            tar::EntryType::XHeader,
            tar::EntryType::XGlobalHeader,
        ] {
            let found = verdict(&header(kind, 10 << 30)[..]);
            assert!(found.contains("longer than 64 KiB"), "{kind:?}: {found}");
        }
        let sparse = verdict(&header(tar::EntryType::GNUSparse, 0)[..]);
        assert!(sparse.contains("sparse"), "{sparse}");
        let plain = [header(tar::EntryType::Regular, 0), vec![0; 1024]].concat();
        assert_eq!(verdict(&plain[..]), "disk.raw");
    }
}
