//! Where management controllers fetch the media that machines boot from.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// Where management controllers fetch boot media.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootMedia {
    /// Where they are served (HTTP): an address that management controllers reach and tenants do
    /// not.
    pub listen: SocketAddr,
    /// The URL under which management controllers reach that address, if it is another one.
    #[serde(default)]
    pub url: Option<String>,
}
