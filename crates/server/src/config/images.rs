//! How images are fetched.

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// How images are fetched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// URL of a proxy for all of them. Without one, those of the environment (`HTTPS_PROXY`,
    /// `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) are used.
    pub proxy: Option<ProxyUrl>,
}

/// A proxy's URL, which may hold a password and so is never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ProxyUrl(pub String);

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ProxyUrl(…)")
    }
}

impl Images {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let schemes = ["http://", "https://"];
        match &self.proxy {
            Some(ProxyUrl(url)) if !schemes.iter().any(|scheme| url.starts_with(scheme)) => {
                wrong("images.proxy", "give an http:// or https:// URL")
            }
            _ => Ok(()),
        }
    }
}
