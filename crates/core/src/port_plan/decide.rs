//! From what a node is doing to what its switch ports must carry.

use std::collections::{BTreeMap, BTreeSet};

use super::PlanError;
use super::inputs::{
    Attachment, AttachmentMode, Cable, Carrier, GroupMode, NodePorts, Port, SiteModel, SwitchModel,
};
use super::wanted::{DEFAULT_MTU, Lag, PortMode, PortPlan, SwitchPlan, VLANS};
use crate::lifecycle::PortRole;

/// What the switch ports of `node` must carry in `role`, when its server is attached to
/// `attachments`: one [`SwitchPlan`] for each switch that a cable of it leads to. Ports without a
/// known cable are left out: the site is flat for them.
///
/// Plans are to be applied in this order. The switch that the agent boots through comes last: an
/// agent that waits for the conductor to vanish, before it starts a tenant's system, must not see it
/// vanish while another switch has not followed yet.
///
/// # Errors
/// When something was asked for that a port cannot, or must not, carry. For [`PortRole::Parked`] only
/// when a cable leads to an unknown switch.
pub fn plan(
    node: &NodePorts,
    role: PortRole,
    attachments: &[Attachment],
    site: &SiteModel,
) -> Result<Vec<SwitchPlan>, PlanError> {
    let attachments = match role {
        PortRole::Tenant => attachments,
        _ => &[],
    };
    check_attachments(node, attachments, site)?;
    let mut switches: BTreeMap<(bool, &str), Vec<PortPlan>> = BTreeMap::new();
    let bundles = bundles(node, role)?;
    for bundle in &bundles {
        let switch = bundle.switch(site)?;
        let boots = bundles
            .iter()
            .any(|each| each.switch == bundle.switch && each.boots());
        let plan = bundle.plan(node, role, attachments, switch)?;
        switches
            .entry((boots, bundle.switch))
            .or_default()
            .push(plan);
    }
    Ok(switches
        .into_iter()
        .map(|((_, switch), ports)| SwitchPlan {
            switch: switch.to_owned(),
            ports,
        })
        .collect())
}

/// Ports that a switch uses as one, or a single one.
struct Bundle<'node> {
    switch: &'node str,
    ports: Vec<(&'node Port, &'node Cable)>,
}

/// The ports of `node` as its switches are to use them.
fn bundles(node: &NodePorts, role: PortRole) -> Result<Vec<Bundle<'_>>, PlanError> {
    let mut cabled: BTreeMap<&Cable, &Port> = BTreeMap::new();
    for port in &node.ports {
        let Some(cable) = &port.cable else { continue };
        let other = cabled.insert(cable, port);
        if let Some(other) = other.filter(|_| role != PortRole::Parked) {
            return Err(PlanError::PortTwice {
                switch: cable.switch.clone(),
                switch_port: cable.port.clone(),
                first: other.mac,
                second: port.mac,
            });
        }
    }
    let mut bundles = Vec::new();
    let mut groups: BTreeMap<&str, Vec<(&Port, &Cable)>> = BTreeMap::new();
    for (cable, port) in cabled {
        match lacp_group(node, port) {
            Some(group) => groups.entry(group).or_default().push((port, cable)),
            None => bundles.push(Bundle::of(vec![(port, cable)])),
        }
    }
    for (group, members) in groups {
        let switches: BTreeSet<_> = members
            .iter()
            .map(|(_, cable)| cable.switch.as_str())
            .collect();
        if switches.len() == 1 {
            bundles.push(Bundle::of(members));
        } else if role == PortRole::Parked {
            bundles.extend(members.into_iter().map(|member| Bundle::of(vec![member])));
        } else {
            return Err(PlanError::GroupAcrossSwitches {
                group: group.to_owned(),
                switches: switches.into_iter().collect::<Vec<_>>().join(" and "),
            });
        }
    }
    Ok(bundles)
}

/// The group of `port`, if the switch is to know of it.
fn lacp_group<'node>(node: &'node NodePorts, port: &'node Port) -> Option<&'node str> {
    let group = port.group.as_deref()?;
    let lacp = node
        .groups
        .iter()
        .any(|each| each.name == group && each.mode == GroupMode::Lacp);
    lacp.then_some(group)
}

impl<'node> Bundle<'node> {
    fn of(ports: Vec<(&'node Port, &'node Cable)>) -> Self {
        // Nobody makes one of no ports.
        let switch = ports.first().map_or("", |(_, cable)| cable.switch.as_str());
        Self { switch, ports }
    }

    fn boots(&self) -> bool {
        self.ports.iter().any(|(port, _)| port.boots)
    }

    fn switch<'site>(&self, site: &'site SiteModel) -> Result<&'site SwitchModel, PlanError> {
        site.switches.get(self.switch).ok_or_else(|| {
            let (port, _) = self.ports[0];
            PlanError::UnknownSwitch {
                mac: port.mac,
                switch: self.switch.to_owned(),
            }
        })
    }

    fn plan(
        &self,
        node: &NodePorts,
        role: PortRole,
        attachments: &[Attachment],
        switch: &SwitchModel,
    ) -> Result<PortPlan, PlanError> {
        let carried: Vec<_> = attachments
            .iter()
            .filter(|each| self.carries(&each.carrier))
            .collect();
        let (mode, isolated) = match role {
            PortRole::Tenant => (tenant(&carried), false),
            _ => (
                own(role, switch).filter(|_| self.boots()),
                // Agents talk to the conductor alone: they have nothing to say to each other.
                true,
            ),
        };
        let vlan = switch.vlans.parked;
        let mode = mode.unwrap_or(PortMode::Parked { vlan });
        let description = format!("{} {}", node.node, role.name());
        let mut members = self.ports.iter().map(|(_, cable)| cable.port.clone());
        let plan = match (members.next(), self.ports.len()) {
            (Some(port), 1) => PortPlan::port(port, mode, description)?,
            _ => PortPlan::lag(self.lag()?, mode, description)?,
        };
        let mtu = carried.iter().map(|each| each.mtu).max();
        let segments = carried.iter().filter_map(|each| each.segment.clone());
        plan.isolated(isolated)
            .with_storm_limit(switch.storm_limit)
            .with_segments(segments.collect())
            .with_mtu(mtu.unwrap_or(DEFAULT_MTU).max(DEFAULT_MTU))
    }

    fn lag(&self) -> Result<Lag, PlanError> {
        let members = self.ports.iter().map(|(_, cable)| cable.port.clone());
        let primary = self.ports.iter().find(|(port, _)| port.boots);
        let primary = primary.map(|(_, cable)| cable.port.clone());
        Lag::of(members.collect(), primary).ok_or_else(|| PlanError::OutOfBounds {
            problem: "an aggregation has at least one port".to_owned(),
        })
    }

    /// Whether what is attached to `carrier` is attached to these ports.
    fn carries(&self, carrier: &Carrier) -> bool {
        self.ports.iter().any(|(port, _)| match carrier {
            Carrier::Port(mac) => port.mac == *mac,
            Carrier::Group(group) => port.group.as_ref() == Some(group),
        })
    }
}

/// The operator's own network of a role, if the switch has one.
fn own(role: PortRole, switch: &SwitchModel) -> Option<PortMode> {
    let vlans = switch.vlans;
    let vlan = match role {
        PortRole::Parked | PortRole::Tenant => None,
        PortRole::Provisioning | PortRole::Cleaning => vlans.provisioning,
        PortRole::Standby => vlans.standby.or(vlans.provisioning),
        PortRole::Rescue => vlans.rescue.or(vlans.provisioning),
    };
    vlan.map(|vlan| PortMode::Access { vlan })
}

/// What carries all of these.
fn tenant(carried: &[&Attachment]) -> Option<PortMode> {
    let native = carried
        .iter()
        .find(|each| each.mode == AttachmentMode::Native)
        .map(|each| each.vlan);
    let tagged: BTreeSet<_> = carried
        .iter()
        .filter(|each| each.mode == AttachmentMode::Tagged)
        .map(|each| each.vlan)
        .collect();
    match (native, tagged.is_empty()) {
        (None, true) => None,
        (Some(vlan), true) => Some(PortMode::Access { vlan }),
        (native, false) => Some(PortMode::Trunk { native, tagged }),
    }
}

/// Checks that attachments can be carried where they are said to be, each and together.
fn check_attachments(
    node: &NodePorts,
    attachments: &[Attachment],
    site: &SiteModel,
) -> Result<(), PlanError> {
    let own = site.own_vlans();
    for (index, attachment) in attachments.iter().enumerate() {
        let network = || attachment.network.clone();
        let vlan = attachment.vlan;
        if !VLANS.contains(&vlan) {
            return Err(PlanError::BadVlan {
                network: network(),
                vlan,
            });
        }
        if own.contains(&vlan) {
            return Err(PlanError::OwnVlan {
                network: network(),
                vlan,
            });
        }
        let ports = carriers(node, attachment)?;
        for earlier in &attachments[..index] {
            let shared = carriers(node, earlier)?;
            if shared.iter().any(|port| ports.contains(port)) {
                check_pair(earlier, attachment)?;
            }
        }
        for cable in ports.iter().filter_map(|port| port.cable.as_ref()) {
            check_mtu(attachment, cable, site)?;
        }
    }
    Ok(())
}

/// The ports that carry `attachment`.
fn carriers<'node>(
    node: &'node NodePorts,
    attachment: &Attachment,
) -> Result<Vec<&'node Port>, PlanError> {
    let ports: Vec<_> = node
        .ports
        .iter()
        .filter(|port| match &attachment.carrier {
            Carrier::Port(mac) => port.mac == *mac,
            Carrier::Group(group) => port.group.as_ref() == Some(group),
        })
        .collect();
    match (&attachment.carrier, ports.first()) {
        (_, None) => Err(PlanError::NoSuchCarrier {
            network: attachment.network.clone(),
            carrier: attachment.carrier.to_string(),
            node: node.node.clone(),
        }),
        (Carrier::Port(mac), Some(port)) => match lacp_group(node, port) {
            Some(group) => Err(PlanError::BondedPort {
                network: attachment.network.clone(),
                mac: *mac,
                group: group.to_owned(),
            }),
            None => Ok(ports),
        },
        _ => Ok(ports),
    }
}

/// Two attachments of one port.
fn check_pair(one: &Attachment, other: &Attachment) -> Result<(), PlanError> {
    let (first, second) = (one.network.clone(), other.network.clone());
    let carrier = other.carrier.to_string();
    if one.vlan == other.vlan {
        return Err(PlanError::VlanTwice {
            first,
            second,
            vlan: one.vlan,
            carrier,
        });
    }
    if [one.mode, other.mode] == [AttachmentMode::Native; 2] {
        return Err(PlanError::NativeTwice {
            first,
            second,
            carrier,
        });
    }
    Ok(())
}

fn check_mtu(attachment: &Attachment, cable: &Cable, site: &SiteModel) -> Result<(), PlanError> {
    let switch = site.switches.get(&cable.switch);
    match switch.and_then(|switch| switch.largest_mtu) {
        Some(limit) if attachment.mtu > limit => Err(PlanError::MtuTooLarge {
            network: attachment.network.clone(),
            mtu: attachment.mtu,
            switch: cable.switch.clone(),
            limit,
        }),
        _ => Ok(()),
    }
}
