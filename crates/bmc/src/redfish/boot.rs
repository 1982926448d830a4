//! The one-shot boot override.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::RedfishBmc;
use super::power::{FIRST_PAUSE, LONGEST_PAUSE};
use super::quirks::Quirks;
use super::resource::{Resource, text, texts};
use crate::{BootDevice, BootMode, Error};

/// A boot override in the words of DSP0268 (ComputerSystem, `Boot`).
struct Override {
    target: &'static str,
    mode: &'static str,
}

impl RedfishBmc {
    pub(super) async fn override_boot(
        &self,
        device: BootDevice,
        mode: BootMode,
        deadline: Instant,
    ) -> Result<(), Error> {
        let system = self.system(deadline).await?;
        let wanted = self.translate(device, mode, &system)?;
        if wanted.is_set(&system) {
            return Ok(());
        }
        match self.patch_boot(&wanted, &system, deadline).await {
            // Somebody else, or the BMC itself, changed the system since it was read.
            Err(Error::Refused { status: 412, .. }) => {
                let system = self.system(deadline).await?;
                self.patch_boot(&wanted, &system, deadline).await?;
            }
            result => result?,
        }
        self.see_boot(&wanted, deadline).await
    }

    fn translate(
        &self,
        device: BootDevice,
        mode: BootMode,
        system: &Resource,
    ) -> Result<Override, Error> {
        let target = match device {
            BootDevice::UefiHttp => "UefiHttp",
            BootDevice::Pxe => "Pxe",
            BootDevice::Disk => "Hdd",
            BootDevice::VirtualMedia => Quirks::of(system).virtual_media,
            BootDevice::FirmwareSetup => "BiosSetup",
        };
        let mode = match mode {
            BootMode::Uefi => "UEFI",
            BootMode::Legacy => "Legacy",
        };
        let listed = system
            .value
            .pointer("/Boot/BootSourceOverrideTarget@Redfish.AllowableValues");
        let offered = listed.map(texts).unwrap_or_default();
        let possible = offered.is_empty() || offered.iter().any(|offered| offered == target);
        if !possible || (device == BootDevice::UefiHttp && mode != "UEFI") {
            let wanted = format!("{mode} boot from {device} (target {target})");
            return Err(Error::NotOffered {
                bmc: self.client.bmc().to_owned(),
                wanted,
                offered,
            });
        }
        Ok(Override { target, mode })
    }

    async fn patch_boot(
        &self,
        wanted: &Override,
        system: &Resource,
        deadline: Instant,
    ) -> Result<(), Error> {
        let mut boot = json!({
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": wanted.target,
        });
        if system
            .value
            .pointer("/Boot/BootSourceOverrideMode")
            .is_some()
        {
            boot["BootSourceOverrideMode"] = wanted.mode.into();
        }
        let body = json!({ "Boot": boot });
        let etag = system.strong_etag();
        self.client
            .write(Method::PATCH, &system.path, &body, etag, deadline)
            .await
    }

    async fn see_boot(&self, wanted: &Override, deadline: Instant) -> Result<(), Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let system = self.system(deadline).await?;
            if wanted.is_set(&system) {
                return Ok(());
            }
            if Instant::now() + pause >= deadline {
                return Err(Error::NotVerified {
                    bmc: self.client.bmc().to_owned(),
                    wanted: format!("boot override Once {} {}", wanted.target, wanted.mode),
                    seen: shown(&system),
                    waited: began.elapsed(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Override {
    /// Whether the system has this override. Its mode counts only where the BMC has a mode.
    fn is_set(&self, system: &Resource) -> bool {
        let Some(boot) = system.value.get("Boot") else {
            return false;
        };
        text(boot, "/BootSourceOverrideEnabled") == Some("Once")
            && text(boot, "/BootSourceOverrideTarget") == Some(self.target)
            && text(boot, "/BootSourceOverrideMode").is_none_or(|mode| mode == self.mode)
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
