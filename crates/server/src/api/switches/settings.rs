//! Checking what is said about a switch, as a whole, before it is stored.

use std::net::IpAddr;

use bessemer_core::id::SwitchId;
use bessemer_core::network::VLAN_IDS;
use bessemer_core::port_plan::SiteVlans;
use bessemer_core::switch::{SwitchDriver, VlanOverrides, usual_tunnel_vlans};
use bessemer_store::{SwitchRecord, SwitchSettings};
use bessemer_wire::api::{PrivateKey, SwitchCreate, SwitchUpdate};

use crate::api::places::rack_of;
use crate::api::problem::{Refusal, sentence};
use crate::api::values;
use crate::fabric::ovsdb;
use crate::keyring::purpose;
use crate::site::Site;

/// The longest file of certificates, in bytes.
const MAX_PEM: usize = 64 << 10;

/// The longest address, in characters.
const MAX_ADDRESS: usize = 200;

/// The longest name of a physical network, in characters.
const MAX_PHYSICAL_NETWORK: usize = 63;

/// The settings of a new switch, with its key sealed.
pub(super) async fn of_new(
    site: &Site,
    id: SwitchId,
    request: SwitchCreate,
) -> Result<SwitchSettings, Refusal> {
    let key = request.key.as_ref().map(|key| key.0.as_bytes());
    let settings = SwitchSettings {
        rack: rack_of(site, request.rack.as_deref()).await?,
        address: request.address,
        authority: request.authority,
        certificate: request.certificate,
        key_sealed: seal(site, id, request.key.as_ref())?,
        tunnel_address: request.tunnel_address,
        tunnel_vlans: request.tunnel_vlans.unwrap_or_else(usual_tunnel_vlans),
        physical_network: request.physical_network,
        largest_mtu: request.largest_mtu,
        vlans: VlanOverrides {
            parked: request.parked_vlan,
            provisioning: request.provisioning_vlan,
            standby: request.standby_vlan,
            rescue: request.rescue_vlan,
        },
    };
    check(site, request.driver, &request.name, &settings, key)?;
    Ok(settings)
}

/// The settings as they are after `update`.
pub(super) async fn changed(
    site: &Site,
    switch: &SwitchRecord,
    update: SwitchUpdate,
) -> Result<SwitchSettings, Refusal> {
    let mut settings = switch.settings.clone();
    if let Some(rack) = &update.rack {
        settings.rack = rack_of(site, rack.as_deref()).await?;
    }
    set(&mut settings.address, update.address);
    set(&mut settings.authority, update.authority);
    if update.certificate == Some(None) {
        settings.key_sealed = None;
    }
    set(&mut settings.certificate, update.certificate);
    if update.key.is_some() {
        settings.key_sealed = seal(site, switch.id, update.key.as_ref())?;
    }
    set(&mut settings.tunnel_address, update.tunnel_address);
    set(&mut settings.tunnel_vlans, update.tunnel_vlans);
    set(&mut settings.physical_network, update.physical_network);
    set(&mut settings.largest_mtu, update.largest_mtu);
    let vlans = &mut settings.vlans;
    set(&mut vlans.parked, update.parked_vlan);
    set(&mut vlans.provisioning, update.provisioning_vlan);
    set(&mut vlans.standby, update.standby_vlan);
    set(&mut vlans.rescue, update.rescue_vlan);
    let key = settings.key_sealed.as_deref();
    let key = key.map(|sealed| site.keyring.open(&purpose::switch_key(switch.id), sealed));
    let key = key.transpose()?;
    check(site, switch.driver, &switch.name, &settings, key.as_deref())?;
    Ok(settings)
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn seal(site: &Site, id: SwitchId, key: Option<&PrivateKey>) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(PrivateKey(key)) = key else {
        return Ok(None);
    };
    if !(1..=MAX_PEM).contains(&key.len()) {
        return Err(Refusal::invalid(
            "key",
            format!("A key (PEM) has 1 to {MAX_PEM} bytes."),
        ));
    }
    let sealed = site.keyring.seal(&purpose::switch_key(id), key.as_bytes());
    Ok(Some(sealed?))
}

fn check(
    site: &Site,
    driver: SwitchDriver,
    name: &str,
    settings: &SwitchSettings,
    key: Option<&[u8]>,
) -> Result<(), Refusal> {
    match driver {
        SwitchDriver::Ovsdb => check_management(name, settings, key)?,
        SwitchDriver::Flat => check_flat(settings)?,
    }
    if let Some(name) = &settings.physical_network {
        values::text("physical_network", name, MAX_PHYSICAL_NETWORK)?;
    }
    if let Some(mtu) = settings
        .largest_mtu
        .filter(|mtu| !(1280..=9216).contains(mtu))
    {
        let detail = format!("{mtu} is not from 1280 to 9216 bytes.");
        return Err(Refusal::invalid("largest_mtu", detail));
    }
    let vlans = settings.vlans.on(site.config.usual_vlans());
    check_vlans(site, driver, settings.vlans, vlans)?;
    check_tunnels(settings, vlans)
}

/// Checks how the switch is reached, by making its driver.
fn check_management(
    name: &str,
    settings: &SwitchSettings,
    key: Option<&[u8]>,
) -> Result<(), Refusal> {
    values::text("address", &settings.address, MAX_ADDRESS)?;
    for (field, pem) in [
        ("authority", &settings.authority),
        ("certificate", &settings.certificate),
    ] {
        if pem.as_ref().is_some_and(|pem| pem.len() > MAX_PEM) {
            let detail = format!("Certificates (PEM) have at most {MAX_PEM} bytes.");
            return Err(Refusal::invalid(field, detail));
        }
    }
    match ovsdb(name, settings, key) {
        Ok(_) => Ok(()),
        Err((field, problem)) => Err(Refusal::invalid(field, sentence(&problem))),
    }
}

fn check_flat(settings: &SwitchSettings) -> Result<(), Refusal> {
    let given = [
        ("address", !settings.address.is_empty()),
        ("authority", settings.authority.is_some()),
        ("certificate", settings.certificate.is_some()),
        ("key", settings.key_sealed.is_some()),
        ("tunnel_address", settings.tunnel_address.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((field, _)) => Err(Refusal::invalid(
            field,
            "A switch with the driver `flat` is not spoken to.",
        )
        .remedy("Leave it out, or give the switch the driver that speaks to it.")),
    }
}

/// Checks the operator's own VLANs, of which `vlans` are the ones in effect.
fn check_vlans(
    site: &Site,
    driver: SwitchDriver,
    given: VlanOverrides,
    vlans: SiteVlans,
) -> Result<(), Refusal> {
    for (field, vlan) in given.given() {
        values::vlan(field, vlan)?;
    }
    for (field, vlan) in [
        ("provisioning_vlan", vlans.provisioning),
        ("standby_vlan", vlans.standby),
        ("rescue_vlan", vlans.rescue),
    ] {
        if vlan == Some(vlans.parked) {
            let detail = format!("VLAN {} is the one that parked ports are in.", vlans.parked);
            return Err(Refusal::invalid(field, detail)
                .remedy("Give the switch another one, or another `parked_vlan`."));
        }
    }
    let booted = driver.is_ours() && site.config.provisioning.is_some();
    if booted && vlans.provisioning.is_none() {
        return Err(Refusal::invalid(
            "provisioning_vlan",
            "It is not known in which VLAN agents meet the conductor on this switch.",
        )
        .remedy("Give it, or set `provisioning.vlan` in the configuration."));
    }
    Ok(())
}

fn check_tunnels(settings: &SwitchSettings, vlans: SiteVlans) -> Result<(), Refusal> {
    let pool = &settings.tunnel_vlans;
    if !pool.lies_in(VLAN_IDS) {
        return Err(Refusal::invalid("tunnel_vlans", "VLAN ids are 1 to 4094."));
    }
    let within = |vlan: &u16| {
        let vlan = u32::from(*vlan);
        pool.ranges().iter().any(|range| range.contains(vlan))
    };
    let Some(address) = settings.tunnel_address else {
        return Ok(());
    };
    if let Some(vlan) = vlans.all().find(within) {
        let detail = format!("VLAN {vlan} is one of the operator's own on this switch.");
        return Err(Refusal::invalid("tunnel_vlans", detail)
            .remedy("Give a pool without it, such as `3000-3999`."));
    }
    check_tunnel_address(address)
}

fn check_tunnel_address(address: IpAddr) -> Result<(), Refusal> {
    if address.is_unspecified() || address.is_multicast() {
        let detail = format!("{address} is not the address of one switch.");
        return Err(Refusal::invalid("tunnel_address", detail));
    }
    Ok(())
}
