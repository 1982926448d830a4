//! The disk that carries the operating system: which one it is, told before an order and the same
//! ever after.
//!
//! Kernel names change from boot to boot, so they choose nothing but on the machine that has just
//! been inspected. What is chosen is kept as a [`DiskIdentity`], which the agent looks for before it
//! writes a byte. Whoever knows better than the rule gives a [`RootDiskHint`], as Ironic's users know
//! it (`root_device` in its "Specifying the disk for deployment"). It is strict: a hint that no disk
//! answers to, or more than one, chooses none at all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flavor::FlavorDisk;
use crate::hardware::{Disk, DiskIdentity, Inventory};

/// The longest text in a hint, in characters.
const MAX_TEXT: usize = 128;

/// What is to be true of the root disk, and of no other disk of the machine. What is absent does not
/// matter; at least one thing is there. Texts are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RootDiskHint {
    /// Serial number: equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name: equal, whichever prefix it is written with (`naa.`, `eui.`, `0x`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Model: contained in what the disk says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Kernel name at the last inspection, such as `nvme0n1`. It may be another disk's at the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// At least so many GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size_gib: Option<u64>,
    /// At most so many GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size_gib: Option<u64>,
    /// Whether it spins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
}

/// A hint that says nothing, or nothing that can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// It names nothing.
    #[error("a root disk hint names at least one property, such as serial=SERIAL or size>=400G")]
    Nothing,
    /// There is no such property.
    #[error(
        "`{0}` is no property of a root disk: they are serial, wwn, model, name, rotational \
         (with =) and size (with >= or <=), with commas between"
    )]
    UnknownKey(String),
    /// A property is there twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// A text is empty, too long, or could not be written down again.
    #[error("`{0}` needs a value of 1 to 128 characters, without commas and control characters")]
    Text(&'static str),
    /// Neither true nor false.
    #[error("`rotational` is true or false")]
    Rotational,
    /// A size that cannot be read.
    #[error("a size is written with its unit, as size>=400G or size<=2T (GiB, TiB)")]
    Size,
    /// No disk can be so.
    #[error("no disk has both at least {least} GiB and at most {most} GiB")]
    Contradiction {
        /// The smaller bound, which is the larger number.
        least: u64,
        /// The larger bound.
        most: u64,
    },
}

impl RootDiskHint {
    /// Whether it says something that a disk can be.
    pub fn check(&self) -> Result<(), HintError> {
        if *self == Self::default() {
            return Err(HintError::Nothing);
        }
        for (key, text) in self.texts() {
            let good = |text: &str| {
                let fits = (1..=MAX_TEXT).contains(&text.chars().count());
                fits && !text.trim().is_empty()
                    && !text.contains(|c: char| c == ',' || c.is_control())
            };
            if text.is_some_and(|text| !good(text)) {
                return Err(HintError::Text(key));
            }
        }
        match (self.min_size_gib, self.max_size_gib) {
            (Some(least), Some(most)) if least > most => {
                Err(HintError::Contradiction { least, most })
            }
            (Some(0), _) | (_, Some(0)) => Err(HintError::Size),
            _ => Ok(()),
        }
    }

    /// Whether this disk answers to it.
    pub fn matches(&self, disk: &Disk) -> bool {
        let equal = |wanted: &Option<String>, found: &str| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| wanted.trim().eq_ignore_ascii_case(found.trim()))
        };
        let model = self.model.as_deref().is_none_or(|part| {
            let model = disk.model.to_ascii_lowercase();
            model.contains(&part.trim().to_ascii_lowercase())
        });
        let wwn = self.wwn.as_deref().is_none_or(|wanted| {
            let found = disk.wwn.as_deref();
            found.is_some_and(|found| bare_wwn(wanted) == bare_wwn(found))
        });
        equal(&self.serial, &disk.serial)
            && wwn
            && model
            && equal(&self.name, &disk.name)
            && self.rotational.is_none_or(|spins| spins == disk.rotational)
            && self.allows_size(u128::from(disk.size_bytes), u128::from(disk.size_bytes))
    }

    /// Whether a disk of this kind can answer to it, as far as a flavor says what its disks are.
    pub fn may_match(&self, kind: &FlavorDisk) -> bool {
        let nominal = u128::from(kind.size_gib) << 30;
        let tolerance = nominal / 50;
        self.rotational.is_none_or(|spins| spins == kind.rotational)
            && self.allows_size(nominal - tolerance, nominal + tolerance)
    }

    /// Whether a disk of `least` to `most` bytes can be of the right size.
    fn allows_size(&self, least: u128, most: u128) -> bool {
        let bytes = |gib: u64| u128::from(gib) << 30;
        self.min_size_gib.is_none_or(|gib| bytes(gib) <= most)
            && self.max_size_gib.is_none_or(|gib| least <= bytes(gib))
    }

    fn texts(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("serial", self.serial.as_deref()),
            ("wwn", self.wwn.as_deref()),
            ("model", self.model.as_deref()),
            ("name", self.name.as_deref()),
        ]
    }

    /// Takes in one condition as it is written, such as `size>=400G`.
    fn add(&mut self, condition: &str) -> Result<(), HintError> {
        let unknown = || HintError::UnknownKey(condition.chars().take(40).collect());
        let at = condition.find(['=', '<', '>']).ok_or_else(unknown)?;
        let (key, rest) = condition.split_at(at);
        let (operator, value) = match rest.strip_prefix('=') {
            Some(value) => ("=", value),
            None => rest.split_at_checked(2).ok_or_else(unknown)?,
        };
        let value = value.trim();
        match (key.trim(), operator) {
            ("serial", "=") => once("serial", &mut self.serial, text("serial", value)?),
            ("wwn", "=") => once("wwn", &mut self.wwn, text("wwn", value)?),
            ("model", "=") => once("model", &mut self.model, text("model", value)?),
            ("name", "=") => {
                let name = value.strip_prefix("/dev/").unwrap_or(value);
                once("name", &mut self.name, text("name", name)?)
            }
            ("rotational", "=") => {
                let spins = value.parse().map_err(|_| HintError::Rotational)?;
                once("rotational", &mut self.rotational, spins)
            }
            ("size", ">=") => once("size>=", &mut self.min_size_gib, gib(value)?),
            ("size", "<=") => once("size<=", &mut self.max_size_gib, gib(value)?),
            ("size", _) => Err(HintError::Size),
            _ => Err(unknown()),
        }
    }
}

/// A world-wide name without what says which kind it is.
fn bare_wwn(wwn: &str) -> String {
    let wwn = wwn.trim().to_ascii_lowercase();
    let bare = ["naa.", "eui.", "uuid.", "0x"].iter();
    let bare = bare.filter_map(|prefix| wwn.strip_prefix(prefix)).next();
    bare.unwrap_or(&wwn).to_owned()
}

fn text(key: &'static str, value: &str) -> Result<String, HintError> {
    if value.is_empty() {
        return Err(HintError::Text(key));
    }
    Ok(value.to_owned())
}

fn once<T>(key: &'static str, place: &mut Option<T>, value: T) -> Result<(), HintError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HintError::Twice(key)),
    }
}

fn gib(value: &str) -> Result<u64, HintError> {
    let unit_at = value
        .find(|c: char| !c.is_ascii_digit())
        .ok_or(HintError::Size)?;
    let (number, unit) = value.split_at(unit_at);
    let factor = match unit {
        "G" | "GiB" => 1,
        "T" | "TiB" => 1024,
        _ => return Err(HintError::Size),
    };
    let number: u64 = number.parse().map_err(|_| HintError::Size)?;
    number.checked_mul(factor).ok_or(HintError::Size)
}

/// As it is written: `model=PM9A3,size>=400G,rotational=false`.
impl FromStr for RootDiskHint {
    type Err = HintError;

    fn from_str(text: &str) -> Result<Self, HintError> {
        let mut hint = Self::default();
        for condition in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            hint.add(condition)?;
        }
        hint.check()?;
        Ok(hint)
    }
}

impl fmt::Display for RootDiskHint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.texts().into_iter();
        let texts = texts.filter_map(|(key, text)| text.map(|text| format!("{key}={text}")));
        let least = self.min_size_gib.map(|gib| format!("size>={gib}G"));
        let most = self.max_size_gib.map(|gib| format!("size<={gib}G"));
        let spins = self.rotational.map(|spins| format!("rotational={spins}"));
        let parts: Vec<_> = texts.chain(least).chain(most).chain(spins).collect();
        formatter.write_str(&parts.join(","))
    }
}

/// Why a machine has no root disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRootDisk {
    /// There is no hint, and no disk is large enough.
    #[error("no disk has {needed} bytes; the largest one has {largest}")]
    TooSmall {
        /// What it must hold, in bytes.
        needed: u64,
        /// Size of the largest disk, in bytes.
        largest: u64,
    },
    /// No disk is as the hint says.
    #[error("no disk answers to the root disk hint `{hint}`; there is {disks}")]
    NoMatch {
        /// The hint, as it is written.
        hint: String,
        /// Every disk of the machine, for people.
        disks: String,
    },
    /// More than one disk is as the hint says.
    #[error("several disks answer to the root disk hint `{hint}`: {disks}")]
    SeveralMatch {
        /// The hint, as it is written.
        hint: String,
        /// Those disks, for people.
        disks: String,
    },
    /// The one that the hint names cannot hold it.
    #[error("disk {disk}, which the root disk hint `{hint}` names, has less than {needed} bytes")]
    HintTooSmall {
        /// The hint, as it is written.
        hint: String,
        /// The disk, for people.
        disk: String,
        /// What it must hold, in bytes.
        needed: u64,
    },
    /// Another disk has the same serial number (or none) and the same size.
    #[error(
        "the root disk cannot be told from another disk by serial number, world-wide name and \
         size: {disks}"
    )]
    Indistinct {
        /// Those disks, for people.
        disks: String,
    },
}

/// The disk that carries an operating system of `needed` bytes: the one that the hint names, if there
/// is one; otherwise the smallest one that is large enough, solid state before spinning, then by
/// name.
pub fn choose<'i>(
    inventory: &'i Inventory,
    hint: Option<&RootDiskHint>,
    needed: u64,
) -> Result<&'i Disk, NoRootDisk> {
    let disks = &inventory.disks;
    let disk = match hint {
        Some(hint) => hinted(disks, hint, needed)?,
        None => {
            let large_enough = disks.iter().filter(|disk| disk.size_bytes >= needed);
            let best =
                large_enough.min_by_key(|disk| (disk.rotational, disk.size_bytes, &disk.name));
            let largest = disks.iter().map(|disk| disk.size_bytes).max();
            best.ok_or(NoRootDisk::TooSmall {
                needed,
                largest: largest.unwrap_or(0),
            })?
        }
    };
    let identity = disk.identity();
    let same: Vec<_> = disks.iter().filter(|other| identity.is(other)).collect();
    if same.len() > 1 {
        let disks = told(same);
        return Err(NoRootDisk::Indistinct { disks });
    }
    Ok(disk)
}

fn hinted<'i>(disks: &'i [Disk], hint: &RootDiskHint, needed: u64) -> Result<&'i Disk, NoRootDisk> {
    let matching: Vec<_> = disks.iter().filter(|disk| hint.matches(disk)).collect();
    let hint = hint.to_string();
    match matching[..] {
        [] => Err(NoRootDisk::NoMatch {
            hint,
            disks: told(disks),
        }),
        [disk] if disk.size_bytes < needed => Err(NoRootDisk::HintTooSmall {
            hint,
            disk: disk.to_string(),
            needed,
        }),
        [disk] => Ok(disk),
        _ => Err(NoRootDisk::SeveralMatch {
            hint,
            disks: told(matching),
        }),
    }
}

/// The disk of a deployment, as it is now known: the one with the identity that was fixed when it was
/// ordered.
pub fn deployed<'i>(inventory: &'i Inventory, identity: &DiskIdentity) -> Option<&'i Disk> {
    inventory.disks.iter().find(|disk| identity.is(disk))
}

fn told<'d>(disks: impl IntoIterator<Item = &'d Disk>) -> String {
    let texts: Vec<_> = disks.into_iter().map(ToString::to_string).collect();
    if texts.is_empty() {
        "none".into()
    } else {
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Cpu, FirmwareMode, MachineIdentity, Transport};

    const GIB: u64 = 1 << 30;

    fn disk(name: &str, gib: u64, rotational: bool) -> Disk {
        Disk {
            name: name.into(),
            size_bytes: gib * GIB,
            model: "Maker PM9A3".into(),
            serial: format!("SN-{name}"),
            wwn: Some(format!("naa.50-{name}")),
            rotational,
            transport: Transport::Sata,
        }
    }

    fn machine(disks: Vec<Disk>) -> Inventory {
        Inventory {
            identity: MachineIdentity {
                serial: "S".into(),
                uuid: None,
            },
            manufacturer: "M".into(),
            product: "P".into(),
            firmware_version: String::new(),
            firmware_mode: FirmwareMode::Uefi,
            cpu: Cpu {
                model: "CPU".into(),
                architecture: "x86_64".into(),
                sockets: 1,
                cores: 4,
                threads: 8,
            },
            memory_mib: 1024,
            disks,
            nics: vec![],
        }
    }

    fn three() -> Inventory {
        machine(vec![
            disk("sda", 100, true),
            disk("sdb", 400, false),
            disk("sdc", 200, false),
        ])
    }

    fn chosen(inventory: &Inventory, hint: &str, needed: u64) -> Result<String, NoRootDisk> {
        let hint: RootDiskHint = hint.parse().unwrap();
        choose(inventory, Some(&hint), needed).map(|disk| disk.name.clone())
    }

    #[test]
    fn without_a_hint_it_is_the_smallest_solid_state_one_that_fits() {
        let machine = three();
        assert_eq!(choose(&machine, None, 150 * GIB).unwrap().name, "sdc");
        assert_eq!(choose(&machine, None, 300 * GIB).unwrap().name, "sdb");
        let error = choose(&machine, None, 500 * GIB).unwrap_err();
        let (needed, largest) = (500 * GIB, 400 * GIB);
        assert_eq!(error, NoRootDisk::TooSmall { needed, largest });
    }

    #[test]
    fn a_hint_names_one_disk_whatever_the_rule_says() {
        for (hint, name) in [
            ("serial=SN-sda", "sda"),
            ("serial= sn-SDA ", "sda"),
            ("wwn=0x50-sdb", "sdb"),
            ("model=pm9a3,rotational=true", "sda"),
            ("size>=300G", "sdb"),
            ("size>=100G,size<=200G,rotational=false", "sdc"),
            ("size<=1T,name=/dev/sdc", "sdc"),
        ] {
            assert_eq!(chosen(&three(), hint, GIB).unwrap(), name, "{hint}");
        }
    }

    #[test]
    fn a_hint_that_does_not_name_exactly_one_disk_chooses_none() {
        let error = chosen(&three(), "serial=GONE", GIB)
            .unwrap_err()
            .to_string();
        for part in ["serial=GONE", "sda (100 GiB HDD", "serial number SN-sdc"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = chosen(&three(), "rotational=false", GIB).unwrap_err();
        assert!(matches!(error, NoRootDisk::SeveralMatch { .. }));
        let error = error.to_string();
        assert!(
            error.contains("SN-sdb") && error.contains("SN-sdc"),
            "{error}"
        );
        assert!(!error.contains("SN-sda"), "it does not answer: {error}");
        let error = chosen(&three(), "name=sda", 101 * GIB).unwrap_err();
        assert!(matches!(error, NoRootDisk::HintTooSmall { .. }), "{error}");
        let error = chosen(&machine(vec![]), "name=sda", 1).unwrap_err();
        assert!(error.to_string().ends_with("there is none"), "{error}");
    }

    #[test]
    fn disks_that_cannot_be_told_apart_are_not_guessed_between() {
        let mut machine = three();
        for disk in &mut machine.disks {
            (disk.serial, disk.wwn) = (String::new(), None);
        }
        // Their sizes differ.
        assert_eq!(choose(&machine, None, GIB).unwrap().name, "sdc");
        machine.disks[1].size_bytes = machine.disks[2].size_bytes;
        for hint in [None, Some("name=sdb".parse().unwrap())] {
            let error = choose(&machine, hint.as_ref(), GIB).unwrap_err();
            assert!(matches!(error, NoRootDisk::Indistinct { .. }), "{error}");
        }
        // The third one can be told from both.
        assert_eq!(chosen(&machine, "name=sda", GIB).unwrap(), "sda");
    }

    /// What is written is what is read, and what is stored (invariant 7).
    #[test]
    fn a_hint_is_read_as_it_is_written() {
        let text = "serial=S 1,wwn=naa.5,model=PM,name=sda,size>=400G,size<=2048G,rotational=false";
        let hint: RootDiskHint = text.parse().unwrap();
        assert_eq!(hint.to_string(), text);
        let stored = r#"{"serial":"S 1","wwn":"naa.5","model":"PM","name":"sda","min_size_gib":400,"max_size_gib":2048,"rotational":false}"#;
        assert_eq!(serde_json::to_string(&hint).unwrap(), stored);
        assert_eq!(serde_json::from_str::<RootDiskHint>(stored).unwrap(), hint);
        assert!(serde_json::from_str::<RootDiskHint>(r#"{"vendor":"x"}"#).is_err());
    }

    #[test]
    fn nonsense_is_named() {
        for (text, part) in [
            ("", "at least one"),
            (",", "at least one"),
            ("vendor=x", "`vendor=x` is no property"),
            ("sda", "`sda` is no property"),
            ("serial=", "`serial` needs a value"),
            ("serial=A,serial=B", "`serial` is given twice"),
            ("size>=1G,size>=2G", "`size>=` is given twice"),
            (
                "size>=800G,size<=400G",
                "at least 800 GiB and at most 400 GiB",
            ),
            ("size=480G", "size>=400G"),
            ("size>=400", "unit"),
            ("size>=0G", "unit"),
            ("size>=99999999999999999T", "unit"),
            ("size>", "no property"),
            ("rotational=maybe", "true or false"),
            ("serial>=A", "no property"),
        ] {
            let error = text.parse::<RootDiskHint>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = RootDiskHint {
            model: Some("x".repeat(129)),
            ..RootDiskHint::default()
        };
        assert_eq!(long.check(), Err(HintError::Text("model")));
    }

    #[test]
    fn a_flavor_knows_size_and_kind_of_its_disks() {
        let kind = FlavorDisk {
            count: 2,
            size_gib: 400,
            rotational: false,
        };
        for (hint, may) in [
            ("serial=A", true),
            ("size>=400G", true),
            ("size>=408G", true),
            ("size>=409G", false),
            ("size<=391G", false),
            ("rotational=true", false),
        ] {
            let parsed: RootDiskHint = hint.parse().unwrap();
            assert_eq!(parsed.may_match(&kind), may, "{hint}");
        }
    }
}
