//! How a machine is made to load the agent, and how the way is chosen.
//!
//! Every room has machines of several ages: some fetch a file over HTTP by themselves, some know
//! only PXE, some sit where there is no DHCP of ours at all. The management controller says what
//! its machine can be made to do; an operator may know better.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hardware::FirmwareMode;

/// How a machine loads the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootMethod {
    /// The UEFI firmware fetches one file over HTTP, told by DHCP (UEFI Specification 2.10,
    /// §24.7).
    UefiHttp,
    /// The firmware's PXE loads iPXE by TFTP, and that fetches kernel and RAM disk over HTTP. BIOS
    /// and UEFI.
    Pxe,
    /// The management controller imitates a CD drive with an image made for this one boot. UEFI
    /// only; needs no DHCP.
    VirtualMedia,
}

impl BootMethod {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UefiHttp, Self::Pxe, Self::VirtualMedia];

    /// Its name in the API, the command line and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::UefiHttp => "uefi_http",
            Self::Pxe => "pxe",
            Self::VirtualMedia => "virtual_media",
        }
    }

    /// The way for a machine that can be made to do `abilities`: the one with the fewest parts.
    /// HTTP needs no TFTP and no boot loader; virtual media needs a management controller that
    /// reads tens of megabytes through a slow processor, so it comes last, but it is all there is
    /// without DHCP (`dhcp` is false). `None` if the machine can be made to do nothing of it.
    pub fn choose(abilities: &BootAbilities, dhcp: bool) -> Option<Self> {
        let uefi = abilities.firmware_mode != Some(FirmwareMode::Bios);
        let possible = |method: &Self| match method {
            Self::UefiHttp => dhcp && uefi && abilities.uefi_http,
            Self::Pxe => dhcp && abilities.pxe,
            Self::VirtualMedia => uefi && abilities.virtual_media,
        };
        Self::ALL.into_iter().find(possible)
    }
}

impl std::fmt::Display for BootMethod {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a management controller said that its machine can be made to boot from, and whether one can
/// watch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootAbilities {
    /// A file over HTTP.
    pub uefi_http: bool,
    /// PXE.
    pub pxe: bool,
    /// An image that the management controller fetches.
    pub virtual_media: bool,
    /// How the firmware boots at present, where known.
    #[serde(default)]
    pub firmware_mode: Option<FirmwareMode>,
    /// Whether it says that it carries the machine's serial console over IPMI; absent where it was
    /// not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_over_lan: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: BootAbilities = BootAbilities {
        uefi_http: true,
        pxe: true,
        virtual_media: true,
        firmware_mode: None,
        serial_over_lan: None,
    };

    /// Stored in the database and sent by the API (invariant 7).
    #[test]
    fn names_are_pinned() {
        let names = ["uefi_http", "pxe", "virtual_media"];
        for (method, name) in BootMethod::ALL.into_iter().zip(names) {
            assert_eq!(method.name(), name);
            assert_eq!(
                serde_json::to_string(&method).unwrap(),
                format!("\"{name}\"")
            );
            let read: BootMethod = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert_eq!(read, method);
        }
        let stored =
            r#"{"uefi_http":true,"pxe":false,"virtual_media":true,"firmware_mode":"bios"}"#;
        let abilities = BootAbilities {
            pxe: false,
            firmware_mode: Some(FirmwareMode::Bios),
            ..EVERYTHING
        };
        assert_eq!(serde_json::to_string(&abilities).unwrap(), stored);
        assert_eq!(
            serde_json::from_str::<BootAbilities>(stored).unwrap(),
            abilities
        );
        let watched = r#"{"uefi_http":true,"pxe":true,"virtual_media":true,"firmware_mode":null,"serial_over_lan":false}"#;
        let abilities = BootAbilities {
            serial_over_lan: Some(false),
            ..EVERYTHING
        };
        assert_eq!(serde_json::to_string(&abilities).unwrap(), watched);
        assert_eq!(
            serde_json::from_str::<BootAbilities>(watched).unwrap(),
            abilities
        );
    }

    #[test]
    fn the_way_with_the_fewest_parts_is_chosen() {
        let choose = BootMethod::choose;
        assert_eq!(choose(&EVERYTHING, true), Some(BootMethod::UefiHttp));
        assert_eq!(choose(&EVERYTHING, false), Some(BootMethod::VirtualMedia));
        let no_http = BootAbilities {
            uefi_http: false,
            ..EVERYTHING
        };
        assert_eq!(choose(&no_http, true), Some(BootMethod::Pxe));
        let bios = BootAbilities {
            firmware_mode: Some(FirmwareMode::Bios),
            ..EVERYTHING
        };
        assert_eq!(choose(&bios, true), Some(BootMethod::Pxe));
        assert_eq!(choose(&bios, false), None);
        assert_eq!(choose(&BootAbilities::default(), true), None);
    }
}
