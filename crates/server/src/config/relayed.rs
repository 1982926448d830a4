//! Provisioning subnets whose machines reach us through a DHCP relay.

use std::net::Ipv4Addr;

use bessemer_core::net::Ipv4Subnet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, wrong};
use super::provisioning::Provisioning;

/// A provisioning subnet behind a DHCP relay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relayed {
    /// The subnet; its relays have addresses in it.
    #[schemars(with = "String")]
    pub subnet: Ipv4Subnet,
    /// The router through which its machines reach us.
    pub router: Ipv4Addr,
    /// First address leased to agents there.
    pub pool_first: Ipv4Addr,
    /// Last address leased to agents there.
    pub pool_last: Ipv4Addr,
}

impl Relayed {
    pub(super) fn check(&self, provisioning: &Provisioning) -> Result<(), ConfigError> {
        for (field, address) in [
            ("provisioning.relayed.router", self.router),
            ("provisioning.relayed.pool_first", self.pool_first),
            ("provisioning.relayed.pool_last", self.pool_last),
        ] {
            if !self.subnet.contains_host(address) {
                let subnet = self.subnet;
                return wrong(field, &format!("{address} is no host address of {subnet}"));
            }
        }
        if self.pool_first > self.pool_last {
            return wrong(
                "provisioning.relayed.pool_last",
                "it is before `pool_first`",
            );
        }
        if (self.pool_first..=self.pool_last).contains(&self.router) {
            return wrong(
                "provisioning.relayed.pool_first",
                "the pool must not contain the `router`",
            );
        }
        let networks = provisioning.relayed.iter().map(|other| other.subnet);
        let mut networks = networks.chain([provisioning.subnet]);
        let same = networks
            .clone()
            .filter(|other| *other == self.subnet)
            .count();
        let overlaps = networks.any(|other| {
            other != self.subnet
                && (other.contains_host(self.pool_first) || other.contains_host(self.router))
        });
        if same > 1 || overlaps {
            return wrong(
                "provisioning.relayed.subnet",
                "it overlaps another provisioning subnet",
            );
        }
        Ok(())
    }
}
