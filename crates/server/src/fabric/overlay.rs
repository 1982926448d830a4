//! VXLAN networks on the switches of the site: which VLAN an order would have there, and the tunnels
//! that a switch must have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bessemer_core::attach::NodeWiring;
use bessemer_core::cause::Cause;
use bessemer_core::network::{IdPool, NetworkKind};
use bessemer_core::overlay::{self, LocalNetwork, OverlayError, TunnelEnd, Tunnels};
use bessemer_core::port_plan::Attachment;
use bessemer_core::reason::Failure;
use bessemer_fabric::TunnelsApplied;
use bessemer_store::{NetworkRecord, NewLocalNetwork, NodeRecord, TunnelWork};
use tokio::time::Instant;

use super::{Driver, Fabric, Switches, failure, health, unusable};
use crate::attachments::{LocalVlans, Wanted, cable};
use crate::failure::store_failure;
use crate::site::Site;

/// A switch of ours, where tunnels could end.
struct End<'switches> {
    /// Where the other switches reach it.
    address: Option<IpAddr>,
    /// The VLANs that VXLAN networks have on it.
    vlans: &'switches IdPool,
    /// Bytes of the longest packet that it forwards.
    largest_mtu: Option<u16>,
}

/// The switch of this name, if it is ours.
fn tunnel_end<'switches>(switches: &'switches Switches, name: &str) -> Option<End<'switches>> {
    let record = switches.record(name)?;
    record.driver.is_ours().then_some(End {
        address: record.settings.tunnel_address,
        vlans: &record.settings.tunnel_vlans,
        largest_mtu: record.settings.largest_mtu,
    })
}

/// Where the VLANs of a switch come from, for people.
fn pool(switch: &str, vlans: &IdPool) -> String {
    format!("tunnel_vlans ({vlans}) of switch `{switch}`")
}

/// Which VLAN each of these networks that is a VXLAN network has, or would be given now, on each switch
/// that one of `nodes` is cabled to; or why it cannot be there.
pub(crate) async fn foresee(
    site: &Site,
    switches: &Switches,
    networks: &[&NetworkRecord],
    nodes: &[NodeRecord],
) -> Result<LocalVlans, bessemer_store::Error> {
    let mut local = LocalVlans::default();
    let networks = networks.iter();
    let networks: Vec<_> = networks
        .filter(|network| network.kind == NetworkKind::Vxlan)
        .collect();
    if networks.is_empty() {
        return Ok(local);
    }
    let ports = nodes.iter().flat_map(|node| &node.ports);
    let names: BTreeSet<_> = ports.filter_map(|port| port.switch.as_deref()).collect();
    for name in names {
        // What one of them would be given is not free for the next.
        let mut given = Vec::new();
        for network in &networks {
            let vlan = match carries(switches, name, network) {
                Ok(end) => {
                    let free = end.vlans.without(&given);
                    let vlan = site.store.local_vlan(name, network.id, &free).await?;
                    given.extend(vlan.map(u32::from));
                    vlan.ok_or_else(|| format!("{} has no free VLAN left", pool(name, end.vlans)))
                }
                Err(reason) => Err(reason),
            };
            local.set(network.id, name, vlan);
        }
    }
    Ok(local)
}

/// Why a VXLAN network cannot be on a switch, if it cannot.
pub(crate) fn objection(
    switches: &Switches,
    name: &str,
    network: &NetworkRecord,
) -> Option<String> {
    carries(switches, name, network).err()
}

/// Whether a VXLAN network can be on a switch.
fn carries<'switches>(
    switches: &'switches Switches,
    name: &str,
    network: &NetworkRecord,
) -> Result<End<'switches>, String> {
    let end = tunnel_end(switches, name).ok_or_else(|| {
        format!(
            "network `{}` is a VXLAN network, and switch `{name}` is not ours to give tunnels",
            network.name
        )
    })?;
    let wanted = (network.name.as_str(), network.mtu);
    overlay::check_switch(wanted, name, end.address, end.largest_mtu)
        .map_err(|error| error.to_string())?;
    Ok(end)
}

/// The VXLAN networks of an order on the switches of a node: what is to be taken if the order gets it.
pub(crate) fn local_networks(
    wanted: &[Wanted<'_>],
    placed: &[Attachment],
    wiring: &NodeWiring,
    switches: &Switches,
) -> Vec<NewLocalNetwork> {
    let vxlan = wanted
        .iter()
        .zip(placed)
        .filter(|(wanted, _)| wanted.network.kind == NetworkKind::Vxlan);
    let each = vxlan.filter_map(|(wanted, placed)| {
        let cable = cable(wanted.network, &placed.carrier, wiring).ok()?;
        let end = tunnel_end(switches, &cable.switch)?;
        Some(NewLocalNetwork {
            network: wanted.network.id,
            switch: cable.switch.clone(),
            port: cable.port.clone(),
            vlans: end.vlans.ranges().to_vec(),
            pool: pool(&cable.switch, end.vlans),
        })
    });
    each.collect()
}

impl Fabric {
    /// Gives a switch the tunnels that the networks of `work` need, and no others, and sees them in
    /// effect. A switch that is not ours any more is left alone.
    pub(crate) async fn set_tunnels(
        &self,
        work: &TunnelWork,
        site: &Site,
        deadline: Instant,
    ) -> Result<TunnelsApplied, Failure> {
        let switches = self.switches(site).await.map_err(store_failure)?;
        let driver = match switches.driver(&work.switch) {
            Some(Driver::Ours(driver)) => driver,
            Some(Driver::Unusable) => return Err(failure(&unusable(&work.switch))),
            Some(Driver::Flat) | None => return Ok(TunnelsApplied::default()),
        };
        let wanted = wanted(work, &switches)?;
        let applied = driver.set_tunnels(&wanted, deadline).await;
        health::note(site, &work.switch, applied.as_ref().map(|_| [].as_slice())).await;
        applied.map_err(|error| failure(&error))
    }
}

/// The tunnels that the networks of `work` need on its switch.
fn wanted(work: &TunnelWork, switches: &Switches) -> Result<Vec<Tunnels>, Failure> {
    let mut ends: BTreeMap<&str, TunnelEnd> = BTreeMap::new();
    for network in &work.networks {
        let address = tunnel_end(switches, &network.switch).and_then(|end| end.address);
        let address = address.ok_or_else(|| {
            let message = format!(
                "servers on switch `{}` are on VXLAN networks, and it has no tunnel address: give it \
                 one that other switches reach",
                network.switch
            );
            Failure::operator(Cause::SwitchCannotCarry, message)
        })?;
        let end = ends.entry(&network.switch).or_insert_with(|| TunnelEnd {
            switch: network.switch.clone(),
            address,
            networks: Vec::new(),
        });
        end.networks.push(LocalNetwork {
            vni: network.vni,
            vlan: network.vlan,
            beside: network.port.clone(),
        });
    }
    let ends: Vec<_> = ends.into_values().collect();
    let all = overlay::tunnels(&ends);
    let mut all = all.map_err(|error: OverlayError| {
        Failure::operator(Cause::SwitchCannotCarry, error.to_string())
    })?;
    Ok(all.remove(&work.switch).unwrap_or_default())
}
