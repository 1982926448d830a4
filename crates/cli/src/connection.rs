//! Where the API is, and which token is shown to it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bessemer_client::Client;
use bessemer_tls::{Fingerprint, Trust};
use clap::Args;

use crate::secret;

/// Options of every command that talks to the API.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Where the API is.
    #[arg(
        long, global = true, value_name = "URL",
        env = "BESSEMER_API", default_value = bessemer_client::DEFAULT_URL
    )]
    pub(crate) api: String,

    /// SHA-256 fingerprint of the API's TLS certificate, if no authority vouches for it.
    #[arg(
        long,
        global = true,
        value_name = "HEX",
        env = "BESSEMER_API_FINGERPRINT"
    )]
    pub(crate) api_fingerprint: Option<Fingerprint>,

    /// File with the API token [default: the variable BESSEMER_TOKEN, else
    /// ~/.config/bessemer/token].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Connection {
    /// A client with the token that is found, if any is.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let token = self.token()?;
        let token = token.as_deref();
        let client = match self.api_fingerprint {
            Some(pin) => Client::with_trust(&self.api, token, &Trust::Pinned(pin)),
            None => Client::new(&self.api, token),
        };
        if token.is_none() {
            eprintln!(
                "warning: there is no API token: set BESSEMER_TOKEN, write it to \
                 ~/.config/bessemer/token, or name a file with --token-file"
            );
        }
        Ok(client?)
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        if let Some(path) = &self.token_file {
            return read_token(path).map(Some);
        }
        let variable = std::env::var("BESSEMER_TOKEN").unwrap_or_default();
        if !variable.is_empty() {
            return Ok(Some(variable.trim().to_owned()));
        }
        match default_token_file() {
            Some(path) if path.exists() => read_token(&path).map(Some),
            _ => Ok(None),
        }
    }
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let token = secret::from_file(path).context("there is no API token to be had")?;
    Ok(token.trim().to_owned())
}

/// `~/.config/bessemer/token`, or where the XDG Base Directory Specification says otherwise.
fn default_token_file() -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let configuration = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    Some(configuration?.join("bessemer/token"))
}
