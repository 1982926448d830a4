//! What the machine boots from, and how: the one-shot boot override and the boot mode.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::RedfishBmc;
use super::goal::Goal;
use super::quirks::{BootModeAttribute, Quirks};
use super::resource::{Resource, link, text, texts};
use super::system::managers;
use crate::{BootDevice, BootMode, Capabilities, Effect, Error};

/// Targets that mean the CD drive a BMC imitates (DSP0268, Resource, `BootSource`).
const VIRTUAL_MEDIA: [&str; 3] = ["Cd", "UsbCd", "RemoteDrive"];

impl RedfishBmc {
    pub(super) async fn override_boot(
        &self,
        device: BootDevice,
        mode: BootMode,
        deadline: Instant,
    ) -> Result<(), Error> {
        let system = self.system_lately(deadline).await?;
        let wanted = self.translate(device, mode, &system)?;
        let system = self.system_before(&wanted, deadline).await?;
        self.bring_about_from(system, &wanted, deadline).await?;
        Ok(())
    }

    pub(super) async fn read_capabilities(&self, deadline: Instant) -> Result<Capabilities, Error> {
        let system = self.system_lately(deadline).await?;
        let targets = targets(&system);
        let offers = |wanted: &str| targets.iter().any(|target| target == wanted);
        let boot_mode = boot_mode(&system);
        let boots_media = targets.is_empty() || VIRTUAL_MEDIA.into_iter().any(offers);
        Ok(Capabilities {
            uefi_http: offers("UefiHttp") && boot_mode != Some(BootMode::Legacy),
            pxe: targets.is_empty() || offers("Pxe"),
            virtual_media: boots_media && says_yes(self.has_drive(deadline).await)?,
            boot_mode,
            graceful_off: says_yes(self.can_shut_down(&system, deadline).await)?,
            serial_over_lan: says_yes(self.has_serial_over_lan(&system, deadline).await)?,
        })
    }

    /// `SerialConsole`, of the system (newer) or of its manager (older).
    async fn has_serial_over_lan(
        &self,
        system: &Resource,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let of_system = system.value.pointer("/SerialConsole/IPMI/ServiceEnabled");
        if let Some(enabled) = of_system.and_then(Value::as_bool) {
            return Ok(enabled);
        }
        let Some(path) = managers(system).next() else {
            return Ok(false);
        };
        let manager = self.client.get(path, deadline).await?.value;
        let console = |member: &str| manager.get("SerialConsole").and_then(|all| all.get(member));
        let kinds = console("ConnectTypesSupported")
            .map(texts)
            .unwrap_or_default();
        let enabled = console("ServiceEnabled").and_then(Value::as_bool);
        Ok(enabled == Some(true) && kinds.iter().any(|kind| kind == "IPMI"))
    }

    fn translate(
        &self,
        device: BootDevice,
        mode: BootMode,
        system: &Resource,
    ) -> Result<Override, Error> {
        let preferred = Quirks::of(system).virtual_media;
        let mut names = match device {
            BootDevice::UefiHttp => vec!["UefiHttp"],
            BootDevice::Pxe => vec!["Pxe"],
            BootDevice::Disk => vec!["Hdd"],
            BootDevice::VirtualMedia => vec![preferred],
            BootDevice::FirmwareSetup => vec!["BiosSetup"],
        };
        if device == BootDevice::VirtualMedia {
            names.extend(VIRTUAL_MEDIA);
        }
        let offered = targets(system);
        let is_offered = |name: &&&str| offered.iter().any(|offered| offered == **name);
        let target = names
            .iter()
            .find(|name| offered.is_empty() || is_offered(name));
        match target {
            Some(target) if device != BootDevice::UefiHttp || mode == BootMode::Uefi => {
                Ok(Override {
                    target,
                    mode: in_words(mode),
                })
            }
            _ => Err(Error::NotOffered {
                bmc: self.client.bmc().to_owned(),
                wanted: format!("{mode} boot from {device} (target {})", names[0]),
                offered,
            }),
        }
    }

    /// Where the firmware's own setting is known it is what counts, because the mode of the
    /// override only holds together with an override.
    pub(super) async fn change_boot_mode(
        &self,
        mode: BootMode,
        deadline: Instant,
    ) -> Result<(), Error> {
        let system = self.system(deadline).await?;
        let attribute = Quirks::of(&system).boot_mode.as_ref();
        let bios = system.value.get("Bios").and_then(link);
        if let (Some(attribute), Some(path)) = (attribute, bios) {
            let bios = self.client.get(path, deadline).await?;
            if attribute.of(&bios).is_some() {
                return self
                    .change_attribute(attribute, mode, &bios, deadline)
                    .await;
            }
        }
        let offered = system
            .value
            .pointer("/Boot/BootSourceOverrideMode@Redfish.AllowableValues")
            .map(texts)
            .unwrap_or_default();
        let name = in_words(mode);
        if boot_mode(&system).is_none()
            || !(offered.is_empty() || offered.iter().any(|offered| offered == name))
        {
            return Err(Error::NotOffered {
                bmc: self.client.bmc().to_owned(),
                wanted: format!("boot mode {name}"),
                offered,
            });
        }
        self.bring_about_from(system, &Mode(mode), deadline).await?;
        Ok(())
    }

    /// Attributes change at the machine's next start; until then the resource named by
    /// `@Redfish.Settings` (DSP0266, section 9.10) holds what will be.
    async fn change_attribute(
        &self,
        attribute: &'static BootModeAttribute,
        mode: BootMode,
        bios: &Resource,
        deadline: Instant,
    ) -> Result<(), Error> {
        let settings = bios.value.pointer("/@Redfish.Settings/SettingsObject");
        let path = settings.and_then(link).unwrap_or(&bios.path);
        let in_effect = attribute.of(bios) == Some(mode);
        let settings = self.client.get(path, deadline).await?;
        // What is in effect stays so unless something else is pending.
        if in_effect
            && attribute
                .of(&settings)
                .is_none_or(|pending| pending == mode)
        {
            return Ok(());
        }
        let goal = Pending {
            attribute,
            mode,
            path,
        };
        self.bring_about_from(settings, &goal, deadline).await?;
        Ok(())
    }
}

/// A boot override in the words of DSP0268 (ComputerSystem, `Boot`).
pub(super) struct Override {
    pub(super) target: &'static str,
    pub(super) mode: &'static str,
}

impl Goal for Override {
    fn effect(&self) -> Effect {
        Effect::Boot
    }

    fn wanted(&self) -> String {
        format!("boot override Once {} {}", self.target, self.mode)
    }

    fn shown(&self, seen: &Resource) -> String {
        shown(seen)
    }

    /// Its mode counts only where the BMC has a mode.
    fn is_reached(&self, seen: &Resource) -> bool {
        let Some(boot) = seen.value.get("Boot") else {
            return false;
        };
        text(boot, "/BootSourceOverrideEnabled") == Some("Once")
            && text(boot, "/BootSourceOverrideTarget") == Some(self.target)
            && text(boot, "/BootSourceOverrideMode").is_none_or(|mode| mode == self.mode)
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.system(deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        let bare = json!({
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": self.target,
        });
        let mut boot = bare.clone();
        let shown = text(&seen.value, "/Boot/BootSourceOverrideMode");
        if shown.is_some() {
            boot["BootSourceOverrideMode"] = self.mode.into();
        }
        let result = bmc.patch(seen, &json!({ "Boot": boot }), deadline).await;
        match result {
            // Some BMCs want to be told the mode, some take the liberty of changing it if they
            // are not, and some do not allow it to be named, even as it is.
            Err(Error::Refused {
                status: 400,
                messages,
                ..
            }) if shown == Some(self.mode) && messages.contains("BootSourceOverrideMode") => {
                bmc.patch(seen, &json!({ "Boot": bare }), deadline).await
            }
            result => result,
        }
    }
}

/// The mode of a BMC that has no other place for it.
pub(super) struct Mode(pub(super) BootMode);

impl Goal for Mode {
    fn effect(&self) -> Effect {
        Effect::Boot
    }

    fn wanted(&self) -> String {
        format!("boot mode {}", in_words(self.0))
    }

    fn shown(&self, seen: &Resource) -> String {
        shown(seen)
    }

    fn is_reached(&self, seen: &Resource) -> bool {
        boot_mode(seen) == Some(self.0)
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.system(deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        let body = json!({"Boot": {"BootSourceOverrideMode": in_words(self.0)}});
        bmc.patch(seen, &body, deadline).await
    }
}

/// A firmware attribute that will have a value at the machine's next start.
pub(super) struct Pending<'a> {
    pub(super) attribute: &'static BootModeAttribute,
    pub(super) mode: BootMode,
    pub(super) path: &'a str,
}

impl Goal for Pending<'_> {
    fn effect(&self) -> Effect {
        Effect::Boot
    }

    fn wanted(&self) -> String {
        let BootModeAttribute { name, .. } = self.attribute;
        format!("pending {name} {}", self.attribute.value(self.mode))
    }

    fn shown(&self, seen: &Resource) -> String {
        let BootModeAttribute { name, .. } = self.attribute;
        let value = text(&seen.value, &format!("/Attributes/{name}"));
        format!("{name} {:.40}", value.unwrap_or("(nothing)"))
    }

    fn is_reached(&self, seen: &Resource) -> bool {
        self.attribute.of(seen) == Some(self.mode)
    }

    async fn look(&self, bmc: &RedfishBmc, deadline: Instant) -> Result<Resource, Error> {
        bmc.client.get(self.path, deadline).await
    }

    async fn ask(&self, bmc: &RedfishBmc, seen: &Resource, deadline: Instant) -> Result<(), Error> {
        let value = self.attribute.value(self.mode);
        let body = json!({"Attributes": {self.attribute.name: value}});
        bmc.patch(seen, &body, deadline).await
    }
}

/// A part of a BMC that makes no sense offers nothing, and is no reason to do without the others.
fn says_yes(answer: Result<bool, Error>) -> Result<bool, Error> {
    match answer {
        Err(error @ (Error::Refused { .. } | Error::Protocol { .. } | Error::Forbidden { .. })) => {
            tracing::debug!(%error, "taken for a no");
            Ok(false)
        }
        answer => answer,
    }
}

/// The targets an override may name; empty if the BMC does not say.
pub(super) fn targets(system: &Resource) -> Vec<String> {
    let listed = system
        .value
        .pointer("/Boot/BootSourceOverrideTarget@Redfish.AllowableValues");
    listed.map(texts).unwrap_or_default()
}

pub(super) fn boot_mode(system: &Resource) -> Option<BootMode> {
    match text(&system.value, "/Boot/BootSourceOverrideMode")? {
        "UEFI" => Some(BootMode::Uefi),
        "Legacy" => Some(BootMode::Legacy),
        _ => None,
    }
}

/// `BootSourceOverrideMode` (DSP0268, ComputerSystem).
fn in_words(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "UEFI",
        BootMode::Legacy => "Legacy",
    }
}

fn shown(system: &Resource) -> String {
    let part = |name: &str| {
        let value = system
            .value
            .pointer(&format!("/Boot/BootSourceOverride{name}"));
        value
            .and_then(Value::as_str)
            .unwrap_or("(nothing)")
            .chars()
            .take(40)
            .collect::<String>()
    };
    format!("{} {} {}", part("Enabled"), part("Target"), part("Mode"))
}
