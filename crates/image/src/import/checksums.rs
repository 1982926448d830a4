//! Files of checksums, as distributions publish them beside their images.

use std::path::{Path, PathBuf};

use super::web::Web;
use super::{Limits, at, fetch};
use crate::digest::Checksum;
use crate::{Error, Result};

/// The largest that is read, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// Names that are looked for beside a source.
const NAMES: [&str; 2] = ["SHA256SUMS", "SHA512SUMS"];

/// Where the checksum of a source is to be found.
#[derive(Debug, Clone)]
pub enum ChecksumSource {
    /// It is this.
    Given(Checksum),
    /// In this file on the web.
    Listed(Web),
    /// In a file on the web called `SHA256SUMS` or `SHA512SUMS` in the same folder as this source.
    Beside(Web),
    /// The same for a file on this host.
    BesideFile(PathBuf),
}

impl ChecksumSource {
    /// The checksum of the source called `name`.
    pub(super) async fn resolve(&self, name: &str, limits: &Limits) -> Result<Checksum> {
        match self {
            Self::Given(checksum) => Ok(*checksum),
            Self::Listed(web) => {
                let file_name = web.url.path().rsplit('/').next().unwrap_or_default();
                match fetch::small(web, limits, MOST_BYTES).await? {
                    Some(text) => find(&text, file_name, name),
                    None => Err(Error::NoChecksum(
                        "the file of checksums is not there".into(),
                    )),
                }
            }
            Self::Beside(web) => {
                for sums in NAMES {
                    if let Ok(url) = web.url.join(sums)
                        && let Some(text) =
                            fetch::small(&Web { url, ..web.clone() }, limits, MOST_BYTES).await?
                    {
                        return find(&text, sums, name);
                    }
                }
                Err(none_beside())
            }
            Self::BesideFile(path) => beside_file(path, name),
        }
    }
}

fn beside_file(path: &Path, name: &str) -> Result<Checksum> {
    for sums in NAMES {
        let sums_path = path.with_file_name(sums);
        match std::fs::metadata(&sums_path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(metadata) if metadata.len() > MOST_BYTES as u64 => {
                return Err(Error::TooLarge {
                    limit: MOST_BYTES as u64,
                });
            }
            _ => {
                let text = std::fs::read(&sums_path).map_err(at("read", &sums_path))?;
                return find(&text, sums, name);
            }
        }
    }
    Err(none_beside())
}

fn none_beside() -> Error {
    Error::NoChecksum(format!(
        "none was given, and neither {} nor {} lies beside it",
        NAMES[0], NAMES[1]
    ))
}

/// The checksum of `name` in `text`, the content of a file called `sums`. Lines are as `sha256sum`
/// and `sha512sum` write them, with or without `--tag`; all others, such as those of a signature,
/// are passed over. A checksum alone is the one of the file it lies beside.
pub(super) fn find(text: &[u8], sums: &str, name: &str) -> Result<Checksum> {
    let text = String::from_utf8_lossy(text);
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    let mut named = entries.iter().filter(|(file, _)| base(file) == name);
    if let Some((_, checksum)) = named.next() {
        if named.any(|(_, other)| other != checksum) {
            return Err(Error::NoChecksum(format!(
                "{sums} has several for `{name}`, in different folders"
            )));
        }
        return Ok(*checksum);
    }
    match entries.as_slice() {
        [("", checksum)] => Ok(*checksum),
        [] => Err(Error::NoChecksum(format!("there is none in {sums}"))),
        others => Err(Error::NoChecksum(format!(
            "{sums} does not name `{name}`, but {} other files, such as `{}`",
            others.len(),
            others[0].0.chars().take(100).collect::<String>()
        ))),
    }
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn entry(line: &str) -> Option<(&str, Checksum)> {
    let line = line.trim();
    if let Some((kind, rest)) = line.split_once(" (")
        && matches!(kind, "SHA256" | "SHA512")
    {
        let (name, digits) = rest.rsplit_once(") = ")?;
        return Some((name, digits.parse().ok()?));
    }
    let (digits, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    // A colon would be our own way to write checksums.
    let checksum = digits.parse().ok().filter(|_| !digits.contains(':'))?;
    Some((name.trim_start().trim_start_matches('*'), checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_image_is_found() {
        let (a, b, long) = ("ab".repeat(32), "cd".repeat(32), "ef".repeat(64));
        let sums = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\n\n{a}  debian-11.raw\n{b} *images/debian-12.raw\n\
             SHA512 (debian (13).raw) = {long}\nSHA1 (debian-14.raw) = 00\n"
        );
        let found = |name: &str| match find(sums.as_bytes(), "SUMS", name) {
            Ok(checksum) => checksum.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found("debian-11.raw"), format!("sha256:{a}"));
        assert_eq!(found("debian-12.raw"), format!("sha256:{b}"));
        assert_eq!(found("debian (13).raw"), format!("sha512:{long}"));
        let other = found("debian-14.raw");
        assert!(
            other.contains("`debian-14.raw`, but 3 other files"),
            "{other}"
        );
        assert!(other.contains("debian-11.raw"), "{other}");
        let alone = find(format!("{a}\n").as_bytes(), "SUMS", "anything").unwrap();
        assert_eq!(alone.to_string(), format!("sha256:{a}"));
        assert!(find(b"<html>", "SUMS", "x").is_err());
        let twice = format!("{a}  arm64/disk.raw\n{b}  amd64/disk.raw\n");
        let error = find(twice.as_bytes(), "SUMS", "disk.raw").unwrap_err();
        assert!(error.to_string().contains("several"), "{error}");
    }
}
