//! `bessemer image`: operating systems, as disk images.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bessemer_wire::api::{Image, ImageCreate, ImageStatus};
use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::follow;
use crate::table::{NOTHING, pairs, table};
use crate::words::{self, ago};

/// The longest checksum file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Disk images to run on servers.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer image add debian-12 --source ./debian-12.qcow2 --sha256-file SHA256SUMS
  bessemer image list")]
pub(super) enum Command {
    Add(Add),
    List(List),
    Show(Show),
    Delete(Delete),
}

/// Import an image, raw or qcow2, and wait until it can be used.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("checksum").required(true).args(["sha256", "sha256_file"])),
    after_help = "Examples:
  bessemer image add debian-12 --source ./debian-12.qcow2 --sha256-file SHA256SUMS \\
      --default-user debian
  bessemer image add debian-12 --source https://images.example/debian-12.qcow2 \\
      --sha256 b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c --no-wait"
)]
pub(super) struct Add {
    /// Its name, unique.
    name: String,
    /// Where it is: an http or https URL, or a file on the server's host.
    #[arg(long, value_name = "FILE|URL")]
    source: String,
    /// SHA-256 of the file at its source.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// File with that checksum, as `sha256sum` writes it; of several lines the one that names the
    /// source counts.
    #[arg(long, value_name = "FILE")]
    sha256_file: Option<PathBuf>,
    /// The account to log in to, as the image makes it.
    #[arg(long, value_name = "USER")]
    default_user: Option<String>,
    /// Wait until it can be used; this is what happens anyway.
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Only begin the import.
    #[arg(long)]
    no_wait: bool,
}

/// List images.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer image list")]
pub(super) struct List {}

/// Show an image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer image show debian-12
  bessemer image show debian-12 --wait      follow its import")]
pub(super) struct Show {
    /// Its name or id.
    image: String,
    /// Wait until it can be used.
    #[arg(long)]
    wait: bool,
}

/// Delete an image.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer image delete debian-11")]
pub(super) struct Delete {
    /// Its name or id.
    image: String,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Add(add) => {
            let wait = !add.no_wait;
            let mut image = client.create_image(&add.request()?).await?;
            if wait {
                image = follow::until_imported(client, &image, *format).await?;
            }
            format.one(&image, |image| images(&[image]))?;
        }
        Command::List(List {}) => {
            let list = client.images().await?;
            format.list(&list, images)?;
        }
        Command::Show(Show { image, wait }) => {
            let mut image = client.image(&image).await?;
            if wait {
                image = follow::until_imported(client, &image, *format).await?;
            }
            format.one(&image, |image| details(image, Timestamp::now()))?;
        }
        Command::Delete(Delete { image }) => {
            client.delete_image(&image).await?;
            format.say(format!("image {image} is deleted"))?;
        }
    }
    Ok(())
}

impl Add {
    fn request(self) -> anyhow::Result<ImageCreate> {
        let sha256 = match (self.sha256, &self.sha256_file) {
            (Some(sha256), _) => sha256.trim().to_lowercase(),
            (None, Some(file)) => {
                let text = super::read_text(file, MOST_BYTES)?;
                let shown = file.display();
                checksum(&text, &self.source).with_context(|| format!("cannot use `{shown}`"))?
            }
            // The group of arguments does not let this happen.
            (None, None) => bail!("give --sha256 or --sha256-file"),
        };
        if !is_sha256(&sha256) {
            bail!("`{sha256}` is not a SHA-256: write 64 hexadecimal digits");
        }
        Ok(ImageCreate {
            name: self.name,
            source: location(&self.source)?,
            sha256,
            default_user: self.default_user,
        })
    }
}

/// The source as the server understands it: files by their absolute path.
fn location(source: &str) -> anyhow::Result<String> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(source.to_owned());
    }
    let path = Path::new(source);
    // A file that is not here may still be on the server's host.
    if path.is_absolute() {
        return Ok(source.to_owned());
    }
    let absolute = path.canonicalize();
    let absolute = absolute.with_context(|| format!("cannot find the image `{source}`"))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|path| anyhow::anyhow!("the path {path:?} is not UTF-8: move the file"))
}

/// The checksum for `source` in what `sha256sum` wrote: lines of a checksum, a blank, a blank or
/// an asterisk, and a file name; or one checksum alone.
fn checksum(text: &str, source: &str) -> anyhow::Result<String> {
    let file_name = source.rsplit('/').next().unwrap_or(source);
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    let named = entries.iter().find(|(_, name)| {
        let name = name.rsplit('/').next().unwrap_or(name);
        name == file_name
    });
    match (named, entries.as_slice()) {
        (Some((sha256, _)), _) | (None, [(sha256, "")]) => Ok(sha256.to_lowercase()),
        (None, []) => bail!("there is no SHA-256 in it"),
        (None, _) => bail!("it has no checksum for `{file_name}`"),
    }
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (sha256, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let name = name.trim_start().trim_start_matches('*');
    is_sha256(sha256).then_some((sha256, name))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn status(image: &Image) -> &'static str {
    match image.status {
        ImageStatus::Importing => "importing",
        ImageStatus::Ready => "ready",
        ImageStatus::Failed => "failed",
    }
}

fn images(images: &[&Image]) -> String {
    let size = |bytes: Option<u64>| match bytes {
        Some(bytes) => words::bytes(bytes),
        None => NOTHING.into(),
    };
    let rows = images.iter().map(|image| {
        [
            image.name.clone(),
            status(image).to_owned(),
            size(image.virtual_size),
            size(image.data_bytes),
            image.default_user.clone().unwrap_or_default(),
            image.message.clone().unwrap_or_default(),
        ]
    });
    table(
        ["NAME", "STATUS", "DISK SIZE", "DATA", "USER", "MESSAGE"],
        rows,
    )
}

fn details(image: &Image, now: Timestamp) -> String {
    let size = |bytes: Option<u64>| bytes.map(words::bytes);
    pairs([
        ("Name", Some(image.name.clone())),
        ("Id", Some(image.id.to_string())),
        ("Status", Some(status(image).to_owned())),
        ("Message", image.message.clone()),
        ("Source", Some(image.source.clone())),
        ("SHA-256", Some(image.sha256.clone())),
        (
            "Fetched",
            size(Some(image.fetched_bytes).filter(|bytes| *bytes > 0)),
        ),
        ("Disk size", size(image.virtual_size)),
        ("Data", size(image.data_bytes)),
        ("Default user", image.default_user.clone()),
        ("Added", Some(ago(image.created_at, now))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";
    const B: &str = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730";

    #[test]
    fn the_checksum_of_the_source_is_found() {
        let sums = format!("# made today\n{A}  debian-11.raw\n{B} *images/debian-12.raw\n");
        assert_eq!(checksum(&sums, "/srv/debian-12.raw").unwrap(), B);
        assert_eq!(checksum(&sums, "https://host/debian-11.raw").unwrap(), A);
        assert!(checksum(&sums, "debian-13.raw").is_err());
        assert_eq!(checksum(&A.to_uppercase(), "anything").unwrap(), A);
        assert!(checksum("", "anything").is_err());
        let error = checksum(&format!("{A}  other.raw\n"), "mine.raw").unwrap_err();
        assert!(error.to_string().contains("mine.raw"), "{error}");
    }

    #[test]
    fn files_are_named_as_the_server_sees_them() {
        assert_eq!(location("https://host/x").unwrap(), "https://host/x");
        assert_eq!(location("/not/here.raw").unwrap(), "/not/here.raw");
        assert!(location("Cargo.toml").unwrap().starts_with('/'));
        assert!(location("./not-here.raw").is_err());
    }
}
