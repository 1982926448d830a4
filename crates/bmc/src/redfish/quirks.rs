//! Where makers differ from the standard, or use its freedom differently. The only place that
//! knows a maker's name; every entry says how it is known.

use super::resource::{Resource, text};

/// What is done differently for one maker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quirks {
    /// Beginning of `Manufacturer`, in lowercase; empty for everybody else.
    maker: &'static str,
    /// JSON pointer to the serial number that SMBIOS type 1 shows to the operating system.
    pub(super) serial: &'static str,
    /// `BootSourceOverrideTarget` for the CD drive that the BMC imitates.
    pub(super) virtual_media: &'static str,
}

const STANDARD: Quirks = Quirks {
    maker: "",
    serial: "/SerialNumber",
    virtual_media: "Cd",
};

const BY_MAKER: [Quirks; 2] = [
    // Dell: SMBIOS has the service tag. Redfish has it as SKU, and in SerialNumber that of the
    // main board (R750: SKU F54P1G3, whose letters also make up its UUID; SerialNumber
    // CNIVC0014M0388).
    Quirks {
        maker: "dell",
        serial: "/SKU",
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
