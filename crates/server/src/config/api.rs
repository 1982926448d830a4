//! Where the API listens, and how tokens are kept from being read on the way.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// Where the API listens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether it may listen on other than loopback addresses without TLS, tokens then crossing
    /// the network in the clear: for use behind a proxy that does TLS.
    pub insecure: bool,
    /// PEM certificate chain; with `key`, the API is served over TLS. If neither file exists, a
    /// self-signed pair is made.
    pub certificate: Option<PathBuf>,
    /// PEM private key of `certificate`; both or neither.
    pub key: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            insecure: false,
            certificate: None,
            key: None,
        }
    }
}

impl Api {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let tls = self.certificate.is_some();
        if tls != self.key.is_some() {
            return wrong(
                "api.key",
                "`certificate` and `key` go together: give both or neither",
            );
        }
        if !self.listen.ip().is_loopback() && !tls && !self.insecure {
            return wrong(
                "api.listen",
                "tokens would cross the network in the clear: give `certificate` and `key`, or \
                 say `insecure = true` if a proxy in front does TLS",
            );
        }
        Ok(())
    }
}
