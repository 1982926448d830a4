//! `bessemer key`: SSH public keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bessemer_wire::api::{KeyPair, KeyPairCreate};
use clap::{Args, Subcommand};

use super::Context;
use crate::table::table;

/// The longest public key file that is read, in bytes: RSA keys of 16,384 bits have 2,800.
const MOST_BYTES: u64 = 16 << 10;

/// SSH public keys, which open servers.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer key add laptop ~/.ssh/id_ed25519.pub
  bessemer key list")]
pub(super) enum Command {
    Add(Add),
    List(List),
    Delete(Delete),
}

/// Add an SSH public key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer key add laptop ~/.ssh/id_ed25519.pub")]
pub(super) struct Add {
    /// Its name, unique within the project.
    name: String,
    /// The file with the public key: one line, as `ssh-keygen` makes it.
    file: PathBuf,
}

/// List the keys of the project.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer key list")]
pub(super) struct List {}

/// Delete a key. Servers that it opens stay open to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer key delete laptop")]
pub(super) struct Delete {
    /// Its name or id.
    key: String,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Add(Add { name, file }) => {
            let public_key = read(&file)?;
            let key = client
                .create_key(&KeyPairCreate { name, public_key })
                .await?;
            format.one(&key, |key| keys(&[key]))?;
        }
        Command::List(List {}) => {
            let list = client.keys().await?;
            format.list(&list, keys)?;
        }
        Command::Delete(Delete { key }) => {
            client.delete_key(&key).await?;
            format.say(format!("key {key} is deleted"))?;
        }
    }
    Ok(())
}

/// Reads a public key, and stops private ones here: they must not even be sent.
fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let text = super::read_text(file, MOST_BYTES)?;
    if text.contains("PRIVATE KEY") {
        bail!("`{shown}` is a private key, which must stay where it is: use `{shown}.pub`");
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines
        .next()
        .with_context(|| format!("`{shown}` is empty"))?;
    if lines.next().is_some() {
        bail!("`{shown}` has several lines: add each key under a name of its own");
    }
    Ok(line.to_owned())
}

fn keys(keys: &[&KeyPair]) -> String {
    let rows = keys.iter().map(|key| {
        let mut words = key.public_key.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let comment = words.nth(1).unwrap_or_default();
        [
            key.name.clone(),
            kind.to_owned(),
            comment.to_owned(),
            key.id.to_string(),
        ]
    });
    table(["NAME", "TYPE", "COMMENT", "ID"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_stay_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let check = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file).map_err(|error| error.to_string())
        };
        assert_eq!(
            check("\nssh-ed25519 AAAA me\n").unwrap(),
            "ssh-ed25519 AAAA me"
        );
        let error = check("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n").unwrap_err();
        assert!(
            error.contains("private key") && error.contains(".pub"),
            "{error}"
        );
        assert!(
            check("ssh-rsa A a\nssh-rsa B b\n")
                .unwrap_err()
                .contains("several")
        );
        assert!(check("").unwrap_err().contains("empty"));
        assert!(check(&"x".repeat(20_000)).unwrap_err().contains("16384"));
    }
}
