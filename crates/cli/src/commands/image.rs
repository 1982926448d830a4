//! `bessemer image`: operating systems, as disk images.

mod upload;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bessemer_client::{Client, Document};
use bessemer_core::network_data::NetworkConfiguration;
use bessemer_wire::api::{Image, ImageCreate, ImageCredentials, ImageStatus};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::follow;
use crate::output::Format;
use crate::secret;
use crate::table::{NOTHING, pairs, table};
use crate::words::{self, ago};

/// Hexadecimal digits of a SHA-512; a SHA-256 has half as many.
const SHA512_DIGITS: usize = 128;

/// The longest checksum file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Disk images to run on servers.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer image add debian-12 --source https://images.example/debian-12.qcow2
  bessemer image add debian-12 --upload ./debian-12.qcow2
  bessemer image list")]
pub(super) enum Command {
    Add(Box<Add>),
    List(List),
    Show(Show),
    Delete(Delete),
}

/// Import an image and wait until it can be used.
///
/// Raw, qcow2, VMDK or OVA, as it is or compressed by gzip, xz or zstd: its content tells. The
/// server fetches it from a URL or a file of its own host, or it is uploaded from here. Without a
/// checksum, the server looks for a SHA256SUMS or SHA512SUMS beside the source.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("origin").required(true).args(["source", "upload"])),
    group(ArgGroup::new("checksum").args(["sha256", "sha512", "checksum_file", "checksum_url"])),
    after_help = "Examples:
  bessemer image add debian-12 --source https://images.example/12/debian-12.qcow2 \\
      --default-user debian
  bessemer image add debian-12 --source ./debian-12.qcow2 --checksum-file SHA256SUMS
  bessemer image add debian-12 --source https://images.example/debian-12.raw.xz --no-wait \\
      --sha256 b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c
  bessemer image add appliance --source https://images.example/appliance.ova \\
      --checksum-url https://images.example/SHA512SUMS --user me --password-file ./password
  bessemer image add own --upload ./own.qcow2"
)]
pub(super) struct Add {
    /// Its name, unique.
    name: String,
    /// Where it is: an http or https URL, or a file on the server's host.
    #[arg(long, value_name = "FILE|URL")]
    source: Option<String>,
    /// A file of this host, which is sent to the server. A broken connection is taken up again.
    #[arg(long, value_name = "FILE")]
    upload: Option<PathBuf>,
    /// SHA-256 of the file at its source.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// SHA-512 of the file at its source.
    #[arg(long, value_name = "HEX")]
    sha512: Option<String>,
    /// File of this host with that checksum, as `sha256sum` or `sha512sum` writes it; of several
    /// lines the one that names the source counts.
    #[arg(long, value_name = "FILE")]
    checksum_file: Option<PathBuf>,
    /// The same on the web; the server fetches it.
    #[arg(long, value_name = "URL")]
    checksum_url: Option<String>,
    /// User name for the host of the source.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// File with the password, or `-` for standard input.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The account to log in to, as the image makes it.
    #[arg(long, value_name = "USER")]
    default_user: Option<String>,
    /// What configures its network at the first boot. Other than by cloud-init, files are written
    /// into its root file system; what each makes of the network: docs/networking.md.
    #[arg(
        long, value_name = "TOOL", value_parser = network_configuration_parser(),
        default_value = NetworkConfiguration::CloudInit.name()
    )]
    network_configuration: NetworkConfiguration,
    /// Wait until it can be used; this is what happens anyway.
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Only begin the import, or end with the upload.
    #[arg(long)]
    no_wait: bool,
}

fn network_configuration_parser() -> impl TypedValueParser<Value = NetworkConfiguration> {
    let names = NetworkConfiguration::ALL.iter().map(|tool| tool.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut all = NetworkConfiguration::ALL.iter().copied();
        all.find(|tool| tool.name() == name)
            .ok_or("there is no such tool")
    })
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
            let image = add.carry_out(client, *format).await?;
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
    async fn carry_out(self, client: &Client, format: Format) -> anyhow::Result<Document<Image>> {
        let (wait, file) = (!self.no_wait, self.upload.clone());
        let image = client.create_image(&self.request()?).await?;
        match (file, wait) {
            (None, false) => Ok(image),
            (None, true) => follow::until_imported(client, &image, format).await,
            (Some(file), false) => upload::send(client, &image, &file).await,
            (Some(file), true) => {
                let sending = std::pin::pin!(upload::send(client, &image, &file));
                let mut following = std::pin::pin!(follow::until_imported(client, &image, format));
                tokio::select! {
                    sent = sending => sent?,
                    followed = &mut following => return followed,
                };
                following.await
            }
        }
    }

    fn request(self) -> anyhow::Result<ImageCreate> {
        let mut request = ImageCreate {
            name: self.name,
            default_user: self.default_user,
            network_configuration: self.network_configuration,
            checksum_url: self.checksum_url,
            ..ImageCreate::default()
        };
        let checksum = match (self.sha256, self.sha512, &self.checksum_file) {
            (Some(checksum), ..) | (None, Some(checksum), _) => {
                Some(checksum.trim().to_lowercase())
            }
            (None, None, Some(file)) => {
                let named = self.source.as_deref().unwrap_or_default();
                let named = self
                    .upload
                    .as_ref()
                    .map_or(named.into(), |path| path.to_string_lossy());
                let text = super::read_text(file, MOST_BYTES)?;
                let shown = file.display();
                Some(checksum(&text, &named).with_context(|| format!("cannot use `{shown}`"))?)
            }
            (None, None, None) => None,
        };
        request.sha256 = checksum
            .clone()
            .filter(|checksum| checksum.len() != SHA512_DIGITS);
        request.sha512 = checksum.filter(|checksum| checksum.len() == SHA512_DIGITS);
        if let Some(wrong) = request.sha256.iter().find(|digits| !is_checksum(digits)) {
            bail!(
                "`{wrong}` is no checksum: a SHA-256 has 64 hexadecimal digits, a SHA-512 has 128"
            );
        }
        if let (Some(username), Some(file)) = (self.user, &self.password_file) {
            let password = secret::read(file, "Password: ")?;
            request.credentials = Some(ImageCredentials { username, password });
        }
        match (&self.source, &self.upload) {
            (_, Some(file)) => {
                let (size, digest) = upload::measure(file)?;
                request.upload_bytes = Some(size);
                if request.sha512.is_none() {
                    request.sha256.get_or_insert(digest);
                }
            }
            (Some(source), None) => request.source = Some(location(source)?),
            // The group of arguments does not let this happen.
            (None, None) => bail!("give --source or --upload"),
        }
        Ok(request)
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

/// The checksum for `source` in what `sha256sum` or `sha512sum` wrote: lines of a checksum, a blank, a blank or
/// an asterisk, and a file name; or one checksum alone.
fn checksum(text: &str, source: &str) -> anyhow::Result<String> {
    let file_name = source.rsplit('/').next().unwrap_or(source);
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    let named = entries.iter().find(|(_, name)| {
        let name = name.rsplit('/').next().unwrap_or(name);
        name == file_name
    });
    match (named, entries.as_slice()) {
        (Some((digits, _)), _) | (None, [(digits, "")]) => Ok(digits.to_lowercase()),
        (None, []) => bail!("there is no SHA-256 or SHA-512 in it"),
        (None, _) => bail!("it has no checksum for `{file_name}`"),
    }
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (digits, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let name = name.trim_start().trim_start_matches('*');
    is_checksum(digits).then_some((digits, name))
}

fn is_checksum(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits && (text.len() == 64 || text.len() == SHA512_DIGITS)
}

fn status(image: &Image) -> &'static str {
    match image.status {
        ImageStatus::Uploading => "uploading",
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
        ("Source", image.source.clone()),
        ("Checksum", image.checksum.clone()),
        ("Format", image.format.clone()),
        ("Progress", image.progress.map(follow::import_in_words)),
        ("Disk size", size(image.virtual_size)),
        ("Data", size(image.data_bytes)),
        ("Default user", image.default_user.clone()),
        (
            "Network by",
            Some(image.network_configuration.name().to_owned()),
        ),
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
        let long = A.repeat(2);
        let sums = format!("{long}  mine.raw\n");
        assert_eq!(checksum(&sums, "mine.raw").unwrap(), long);
    }

    #[test]
    fn files_are_named_as_the_server_sees_them() {
        assert_eq!(location("https://host/x").unwrap(), "https://host/x");
        assert_eq!(location("/not/here.raw").unwrap(), "/not/here.raw");
        assert!(location("Cargo.toml").unwrap().starts_with('/'));
        assert!(location("./not-here.raw").is_err());
    }
}
