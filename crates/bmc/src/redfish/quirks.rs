//! Where makers differ from the standard, or use its freedom differently. The only place that
//! knows a maker's name; every entry says how it is known.

use super::resource::{Resource, text};
use crate::BootMode;

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
}

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
};

const BY_MAKER: [Quirks; 3] = [
    // Dell: SMBIOS has the service tag. Redfish has it as SKU, and in SerialNumber that of the
    // main board (R750: SKU F54P1G3, whose letters also make up its UUID; SerialNumber
    // CNIVC0014M0388).
    // BootSourceOverrideMode follows the attribute BootMode (R750: Uefi; registry: Bios, Uefi).
    Quirks {
        maker: "dell",
        serial: "/SKU",
        boot_mode: Some(BootModeAttribute {
            name: "BootMode",
            uefi: "Uefi",
            legacy: "Bios",
        }),
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
