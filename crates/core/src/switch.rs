//! What is said about a switch besides its ports: how it is spoken to, and which VLANs are the
//! operator's own on it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::{IdPool, IdRange};
use crate::port_plan::SiteVlans;

/// How a switch is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchDriver {
    /// Open vSwitch's database protocol (RFC 7047).
    Ovsdb,
    /// Not at all: its ports are not ours to move. They are checked against what LLDP tells.
    Flat,
}

impl SwitchDriver {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Ovsdb, Self::Flat];

    /// The name under which it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ovsdb => "ovsdb",
            Self::Flat => "flat",
        }
    }

    /// Whether the switch's ports are ours to move.
    pub fn is_ours(self) -> bool {
        self != Self::Flat
    }
}

/// The local VLANs that a switch gives to VXLAN networks unless told otherwise.
pub fn usual_tunnel_vlans() -> IdPool {
    IdPool::from(IdRange {
        first: 3000,
        last: 3999,
    })
}

/// The VLANs that are other than the site's usual ones on one switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanOverrides {
    /// The VLAN that exists nowhere.
    pub parked: Option<u16>,
    /// Where agents meet the conductor.
    pub provisioning: Option<u16>,
    /// Where idle agents do.
    pub standby: Option<u16>,
    /// Where agents that rescue a server do.
    pub rescue: Option<u16>,
}

impl VlanOverrides {
    /// The VLANs of the switch, on a site where these are `usual`.
    pub fn on(self, usual: SiteVlans) -> SiteVlans {
        SiteVlans {
            parked: self.parked.unwrap_or(usual.parked),
            provisioning: self.provisioning.or(usual.provisioning),
            standby: self.standby.or(usual.standby),
            rescue: self.rescue.or(usual.rescue),
        }
    }

    /// Those that are given, each with the name of its field.
    pub fn given(self) -> impl Iterator<Item = (&'static str, u16)> {
        [
            ("parked_vlan", self.parked),
            ("provisioning_vlan", self.provisioning),
            ("standby_vlan", self.standby),
            ("rescue_vlan", self.rescue),
        ]
        .into_iter()
        .filter_map(|(name, vlan)| Some((name, vlan?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored and sent (invariant 7), both ways.
    #[test]
    fn names_are_pinned() {
        let names: Vec<_> = SwitchDriver::ALL.iter().map(|each| each.name()).collect();
        assert_eq!(names, ["ovsdb", "flat"]);
        for driver in SwitchDriver::ALL {
            assert_eq!(serde_json::to_value(driver).unwrap(), driver.name());
            let read: SwitchDriver = serde_json::from_value(driver.name().into()).unwrap();
            assert_eq!(read, *driver);
        }
        assert_eq!(usual_tunnel_vlans().to_string(), "3000-3999");
    }

    #[test]
    fn what_a_switch_does_not_say_is_as_usual() {
        let usual = SiteVlans {
            parked: 4094,
            provisioning: Some(10),
            standby: None,
            rescue: Some(12),
        };
        assert_eq!(VlanOverrides::default().on(usual), usual);
        let own = VlanOverrides {
            parked: Some(4000),
            standby: Some(11),
            ..VlanOverrides::default()
        };
        let vlans = own.on(usual);
        assert_eq!(
            vlans.all().collect::<Vec<_>>(),
            [4000, 10, 11, 12],
            "parked, provisioning, standby, rescue"
        );
        let given: Vec<_> = own.given().collect();
        assert_eq!(given, [("parked_vlan", 4000), ("standby_vlan", 11)]);
    }
}
