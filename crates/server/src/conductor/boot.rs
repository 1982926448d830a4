//! Letting one boot, and no other, load the agent: which way is taken, what the management
//! controller is told, and the medium that must not stay behind.

use bessemer_bmc::{Bmc, BootDevice, BootMode, Capabilities};
use bessemer_core::boot_method::{BootAbilities, BootMethod};
use bessemer_core::cause::Cause;
use bessemer_core::hardware::FirmwareMode;
use bessemer_core::id::BootId;
use bessemer_core::reason::Failure;
use bessemer_store::{Claim, NewBoot, NodeRecord};
use tokio::time::Instant;

use super::Conductor;
use super::intents::failure;
use crate::config::DhcpMode;
use crate::failure::store_failure;
use crate::site::Site;

/// Asks what the machine can be made to boot from, and writes it down.
pub(super) async fn learn_abilities(
    site: &Site,
    node: &NodeRecord,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<BootAbilities, Failure> {
    let abilities = abilities(bmc.capabilities(deadline).await.map_err(failure)?);
    if node.boot_abilities != Some(abilities) {
        let stored = site.store.set_boot_abilities(node.id, &abilities).await;
        stored.map_err(store_failure)?;
    }
    Ok(abilities)
}

fn abilities(capabilities: Capabilities) -> BootAbilities {
    BootAbilities {
        uefi_http: capabilities.uefi_http,
        pxe: capabilities.pxe,
        virtual_media: capabilities.virtual_media,
        firmware_mode: capabilities.boot_mode.map(|mode| match mode {
            BootMode::Uefi => FirmwareMode::Uefi,
            BootMode::Legacy => FirmwareMode::Bios,
        }),
        serial_over_lan: Some(capabilities.serial_over_lan),
    }
}

/// Leases an address to the boot and tells the management controller to boot by its method, once.
pub(super) async fn prepare(
    conductor: &Conductor,
    claim: Claim,
    node: &NodeRecord,
    boot: BootId,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let site = &conductor.site;
    // Nodes of older versions were not asked when they were enrolled.
    let abilities = match node.boot_abilities {
        Some(abilities) => abilities,
        None => learn_abilities(site, node, bmc, deadline).await?,
    };
    let method = method(site, node, &abilities)?;
    // What may be inserted is noted with that: after a crash in between, it is ejected.
    lease_address(site, claim, node, boot, method).await?;
    let (device, mode) = match method {
        BootMethod::UefiHttp => (BootDevice::UefiHttp, BootMode::Uefi),
        BootMethod::VirtualMedia => (BootDevice::VirtualMedia, BootMode::Uefi),
        BootMethod::Pxe => match abilities.firmware_mode {
            Some(FirmwareMode::Bios) => (BootDevice::Pxe, BootMode::Legacy),
            _ => (BootDevice::Pxe, BootMode::Uefi),
        },
    };
    if abilities.firmware_mode == Some(FirmwareMode::Bios) && mode == BootMode::Uefi {
        bmc.set_boot_mode(mode, deadline).await.map_err(failure)?;
    }
    if method == BootMethod::VirtualMedia {
        insert_medium(site, boot, bmc, deadline).await?;
    }
    bmc.set_boot_once(device, mode, deadline)
        .await
        .map_err(failure)
}

/// Tells the management controller to boot from the disk, once, as the firmware has been seen to
/// start.
pub(super) async fn prepare_disk(
    node: &NodeRecord,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    bmc.set_boot_once(BootDevice::Disk, disk_mode(node), deadline)
        .await
        .map_err(failure)
}

/// How the firmware starts what is on the disk: as it started the agent that looked at the machine,
/// which is what the image was written for. What the management controller said when the node was
/// enrolled is the second best: a boot of the agent may have changed it since.
pub(super) fn disk_mode(node: &NodeRecord) -> BootMode {
    let inspected = node.inventory.as_ref().map(|each| each.firmware_mode);
    let enrolled = || node.boot_abilities.and_then(|each| each.firmware_mode);
    match inspected.or_else(enrolled) {
        Some(FirmwareMode::Bios) => BootMode::Legacy,
        Some(FirmwareMode::Uefi) | None => BootMode::Uefi,
    }
}

/// As an operator decided, or else what suits machine and site.
fn method(
    site: &Site,
    node: &NodeRecord,
    abilities: &BootAbilities,
) -> Result<BootMethod, Failure> {
    if let Some(method) = node.boot_method {
        return Ok(method);
    }
    let provisioning = site.config.provisioning.as_ref();
    let dhcp = provisioning.is_some_and(|provisioning| provisioning.dhcp != DhcpMode::Off);
    let usable = BootAbilities {
        virtual_media: abilities.virtual_media && site.boot_media_base.is_some(),
        ..*abilities
    };
    BootMethod::choose(&usable, dhcp).ok_or_else(|| {
        let message = format!(
            "the management controller offers no way to boot the agent that this site has (UEFI \
             HTTP: {}, PXE: {}, virtual media: {}; DHCP: {}, `[boot_media]`: {}); enable one in \
             the machine's firmware and `bessemer node provide` the node again, or decide with \
             `bessemer node set {} --boot-method`",
            yes_or_no(abilities.uefi_http),
            yes_or_no(abilities.pxe),
            yes_or_no(abilities.virtual_media),
            yes_or_no(dhcp),
            yes_or_no(site.boot_media_base.is_some()),
            node.name,
        );
        Failure::operator(Cause::NoWayToBoot, message)
    })
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

async fn lease_address(
    site: &Site,
    claim: Claim,
    node: &NodeRecord,
    boot: BootId,
    method: BootMethod,
) -> Result<(), Failure> {
    let Some(provisioning) = &site.config.provisioning else {
        return Err(Failure::operator(
            Cause::ConfigurationIncomplete,
            "the configuration has no `[provisioning]`: nothing can be booted",
        ));
    };
    let Some(port) = node.boot_port() else {
        return Err(Failure::operator(
            Cause::NicMissing,
            "the node has no port to boot from",
        ));
    };
    let pool = provisioning.pool_first..=provisioning.pool_last;
    let new = NewBoot {
        boot,
        claim,
        mac: port.mac,
        method,
        ramdisk: site.ramdisk.digest().await,
    };
    let now = site.now();
    let leased = site
        .store
        .prepare_boot(new, pool, "provisioning", now)
        .await;
    leased.map(|_| ()).map_err(|error| match error {
        bessemer_store::Error::Exhausted { .. } => Failure::transient(
            Cause::NoProvisioningAddress,
            format!("{error}; make `provisioning.pool_first` to `pool_last` larger"),
        ),
        error => store_failure(error),
    })
}

async fn insert_medium(
    site: &Site,
    boot: BootId,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let url = site.boot_media_url(boot).ok_or_else(|| {
        Failure::operator(
            Cause::ConfigurationIncomplete,
            "virtual media needs `[boot_media]` in the configuration: an address from which the \
             management controller can fetch the image",
        )
    })?;
    bmc.insert_media(&url, deadline).await.map_err(failure)
}

/// Takes the medium of the node's latest boot out, if one may be in the drive: no later boot, and
/// no tenant, may find it there. That it is out is noted with how the intent has ended
/// ([`ejects_medium`](bessemer_core::lifecycle::Action::ejects_medium)).
pub(super) async fn eject_medium(
    site: &Site,
    node: &NodeRecord,
    bmc: &dyn Bmc,
    deadline: Instant,
) -> Result<(), Failure> {
    let boot = site.store.boot_of(node.id).await.map_err(store_failure)?;
    match boot {
        Some(boot) if boot.media_inserted => bmc.eject_media(deadline).await.map_err(failure),
        _ => Ok(()),
    }
}
