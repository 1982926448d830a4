//! What networks are made from.

use bessemer_core::network::{IdPool, VLAN_IDS, VNIS};
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ConfigError, wrong};

/// What networks are made from, and how many a project may have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fabric {
    /// The VLAN ids of networks for which none is given, such as `100-1999,2500-2999`; the operator's own
    /// and those that switches keep are left out. Without them only operators make VLAN networks, and give each its id. The
    /// trunks between switches must carry all of them.
    #[schemars(with = "Option<String>")]
    pub vlan_pool: Option<IdPool>,
    /// The VXLAN network identifiers (1 to 16777215) of networks for which none is given; likewise.
    #[schemars(with = "Option<String>")]
    pub vni_pool: Option<IdPool>,
    /// The most private networks that the members of a project may make.
    pub networks_per_project: u32,
    /// The most addresses that the members of a project may have reserved.
    pub addresses_per_project: u32,
}

impl Default for Fabric {
    fn default() -> Self {
        Self {
            vlan_pool: None,
            vni_pool: None,
            networks_per_project: 16,
            addresses_per_project: 64,
        }
    }
}

impl Fabric {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let outside = |pool: &Option<IdPool>, range| {
            let pool = pool.as_ref();
            pool.is_some_and(|pool| !pool.lies_in(range))
        };
        if outside(&self.vlan_pool, VLAN_IDS) {
            return wrong("fabric.vlan_pool", "VLAN ids are 1 to 4094");
        }
        if outside(&self.vni_pool, VNIS) {
            return wrong(
                "fabric.vni_pool",
                "VXLAN network identifiers are 1 to 16777215",
            );
        }
        Ok(())
    }
}
