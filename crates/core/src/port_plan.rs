//! Which VLAN each switch port of a node must carry: a pure function of what the node is doing.
//!
//! Parked is the answer to everything unknown: a port that should not be anywhere is nowhere.

use crate::lifecycle::PortRole;

/// The VLANs of a site that are the operator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteVlans {
    /// The VLAN that exists nowhere.
    pub parked: u16,
    /// Where agents meet the conductor.
    pub provisioning: Option<u16>,
    /// Where idle agents do, if elsewhere.
    pub standby: Option<u16>,
}

/// Whether a port must be kept from all other ports in the same role. Agents talk to the conductor
/// alone, so they have nothing to say to each other; tenants' servers have.
pub fn isolated(role: PortRole) -> bool {
    match role {
        PortRole::Standby | PortRole::Provisioning => true,
        PortRole::Parked | PortRole::Tenant => false,
    }
}

/// The VLAN that a port must carry. `boot_port` tells the node's first port from the others,
/// which carry nothing yet; `tenant` is the VLAN of the server's network, if there is a server.
pub fn vlan(role: PortRole, boot_port: bool, site: SiteVlans, tenant: Option<u16>) -> u16 {
    let wanted = match role {
        PortRole::Parked => None,
        PortRole::Provisioning => site.provisioning,
        PortRole::Standby => site.standby.or(site.provisioning),
        // A tenant's network that is also one of the operator's own is nobody's.
        PortRole::Tenant => tenant.filter(|vlan| {
            let ours = [site.provisioning, site.standby, Some(site.parked)];
            !ours.contains(&Some(*vlan))
        }),
    };
    wanted.filter(|_| boot_port).unwrap_or(site.parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SiteVlans = SiteVlans {
        parked: 4094,
        provisioning: Some(10),
        standby: Some(11),
    };

    #[test]
    fn ports_carry_what_the_node_is_doing() {
        assert_eq!(vlan(PortRole::Provisioning, true, SITE, Some(100)), 10);
        assert_eq!(vlan(PortRole::Standby, true, SITE, Some(100)), 11);
        assert_eq!(vlan(PortRole::Tenant, true, SITE, Some(100)), 100);
        assert_eq!(vlan(PortRole::Parked, true, SITE, Some(100)), 4094);
    }

    #[test]
    fn idle_agents_are_isolated_wherever_they_are() {
        let without = SiteVlans {
            standby: None,
            ..SITE
        };
        assert_eq!(vlan(PortRole::Standby, true, without, None), 10);
        assert!(isolated(PortRole::Standby) && isolated(PortRole::Provisioning));
        assert!(!isolated(PortRole::Tenant) && !isolated(PortRole::Parked));
    }

    #[test]
    fn anything_unknown_is_parked() {
        assert_eq!(vlan(PortRole::Tenant, true, SITE, None), 4094);
        assert_eq!(vlan(PortRole::Tenant, true, SITE, Some(10)), 4094);
        assert_eq!(vlan(PortRole::Tenant, true, SITE, Some(11)), 4094);
        assert_eq!(vlan(PortRole::Tenant, false, SITE, Some(100)), 4094);
        let nowhere = SiteVlans {
            provisioning: None,
            standby: None,
            ..SITE
        };
        assert_eq!(vlan(PortRole::Provisioning, true, nowhere, None), 4094);
    }
}
