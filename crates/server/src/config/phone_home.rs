//! Where new servers say that they are up.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// How new servers' operating systems say that they are up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneHome {
    /// Address and port that tenants' networks reach; nothing else is served there.
    pub listen: SocketAddr,
    /// The URL under which tenants reach it, if it is another one than `http://` and `listen`;
    /// without quotes.
    #[serde(default)]
    pub url: Option<String>,
}

impl PhoneHome {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.url else { return Ok(()) };
        // It becomes a word of a shell script.
        let plain = url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"'\"\\`$".contains(&byte));
        if plain && (url.starts_with("http://") || url.starts_with("https://")) {
            return Ok(());
        }
        wrong(
            "phone_home.url",
            "give an http:// or https:// URL without quotes",
        )
    }
}
