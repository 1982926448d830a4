//! Where makers differ from the standard, or use its freedom differently. The only place that
//! knows a maker's name; every entry says how it is known.

use std::time::Duration;

use super::resource::{Resource, text};
use crate::BootMode;
use crate::governor::Tempo;

/// What is done differently for one maker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quirks {
    /// Beginning of `Manufacturer`, in lowercase; empty for everybody else.
    maker: &'static str,
    /// JSON pointer to the serial number that SMBIOS type 1 shows to the operating system.
    pub(super) serial: &'static str,
    /// The best `BootSourceOverrideTarget` for the CD drive that the BMC imitates.
    pub(super) virtual_media: &'static str,
    /// The firmware's own setting of the boot mode.
    pub(super) boot_mode: Option<BootModeAttribute>,
    /// How fast the BMC is asked.
    pub(super) tempo: Tempo,
}

/// Until the maker is known, and for everybody else: half of what the rate limiter of Google's gBMC
/// (`tlbmc`, `redfish_rate_limiter_module.md`) lets through by default.
pub(super) const STANDARD_TEMPO: Tempo = Tempo {
    per_second: 50,
    burst: 100,
    between_power: Duration::ZERO,
};

/// What a refused login holds if only all sessions are taken: of the Base registry (DSP8011), and
/// Dell's own, with which iDRAC 9 answers 503 (stmcginnis/gofish issue 75).
pub(super) const NO_SESSION_LEFT: [&[u8]; 2] = [b"SessionLimitExceeded", b"RAC0218"];

/// A firmware attribute (DSP0268, Bios) that says how the firmware boots. Names and values are the
/// maker's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BootModeAttribute {
    pub(super) name: &'static str,
    uefi: &'static str,
    legacy: &'static str,
}

impl BootModeAttribute {
    /// The attribute's value for `mode`.
    pub(super) fn value(&self, mode: BootMode) -> &'static str {
        match mode {
            BootMode::Uefi => self.uefi,
            BootMode::Legacy => self.legacy,
        }
    }

    /// The mode that a `Bios` resource, or what is pending for it, names.
    pub(super) fn of(&self, bios: &Resource) -> Option<BootMode> {
        let value = bios.value.get("Attributes")?.get(self.name)?.as_str()?;
        [BootMode::Uefi, BootMode::Legacy]
            .into_iter()
            .find(|mode| self.value(*mode) == value)
    }
}

const STANDARD: Quirks = Quirks {
    maker: "",
    serial: "/SerialNumber",
    virtual_media: "Cd",
    boot_mode: None,
    tempo: STANDARD_TEMPO,
};

const BY_MAKER: [Quirks; 3] = [
    // Dell: SMBIOS has the service tag. Redfish has it as SKU, and in SerialNumber that of the
    // main board (R750: SKU F54P1G3, whose letters also make up its UUID; SerialNumber
    // CNIVC0014M0388).
    // BootSourceOverrideMode follows the attribute BootMode (R750: Uefi; registry: Bios, Uefi).
    // The Redfish service of iDRAC 9 was seen to restart several times a day under monitoring whose
    // reads follow each other closely (bb-Ricardo/check_redfish issue 67).
    Quirks {
        maker: "dell",
        serial: "/SKU",
        boot_mode: Some(BootModeAttribute {
            name: "BootMode",
            uefi: "Uefi",
            legacy: "Bios",
        }),
        tempo: Tempo {
            per_second: 10,
            burst: 40,
            ..STANDARD_TEMPO
        },
        ..STANDARD
    },
    // HPE: what the firmware goes by is its attribute BootMode (DL385 Gen10 Plus v2: Uefi; the
    // other value is LegacyBios).
    Quirks {
        maker: "hpe",
        boot_mode: Some(BootModeAttribute {
            name: "BootMode",
            uefi: "Uefi",
            legacy: "LegacyBios",
        }),
        ..STANDARD
    },
    // Supermicro: virtual media are USB devices, and the BMC lists UsbCd beside Cd (821GE).
    Quirks {
        maker: "supermicro",
        virtual_media: "UsbCd",
        ..STANDARD
    },
];

impl Quirks {
    /// The quirks of the maker of this system.
    pub(super) fn of(system: &Resource) -> &'static Self {
        let maker = text(&system.value, "/Manufacturer")
            .unwrap_or_default()
            .to_lowercase();
        BY_MAKER
            .iter()
            .find(|quirks| maker.starts_with(quirks.maker))
            .unwrap_or(&STANDARD)
    }
}
