//! Flavors: what is offered for rent, and the exact matching of machines to it.
//!
//! A flavor never lands on a machine that is merely big enough: either the hardware is exactly
//! what the flavor says, or the order fails and says what is short.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hardware::{Disk, Inventory};

/// What a flavor demands of a machine. Every value must be met exactly, but memory and disk sizes
/// may differ by what firmware and makers keep for themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlavorHardware {
    /// Processor architecture, such as `x86_64`.
    pub architecture: String,
    /// Hardware threads.
    pub threads: u32,
    /// Nominal memory in MiB. A machine matches if the kernel sees no more than this, and no less
    /// than 90 % of it: firmware and kernel keep some for themselves.
    pub memory_mib: u64,
    /// Disks.
    pub disks: Vec<FlavorDisk>,
    /// Processor model, where it matters: it must be contained in what the processor says.
    #[serde(default)]
    pub cpu_model: Option<String>,
    /// Product name, where it matters: equal to what SMBIOS says.
    #[serde(default)]
    pub product: Option<String>,
}

/// A number of equal disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlavorDisk {
    /// How many, exactly.
    pub count: u32,
    /// Size in GiB; within 2 % of it counts as equal, as makers round differently.
    pub size_gib: u64,
    /// Whether they spin.
    #[serde(default)]
    pub rotational: bool,
}

/// One thing about a machine that is not as a flavor demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mismatch {
    /// What: `threads`, `memory_mib`, `disks`, …
    pub what: String,
    /// What the flavor demands.
    pub wanted: String,
    /// What the machine has.
    pub found: String,
}

impl FlavorHardware {
    /// Everything about `inventory` that is not as this flavor demands; empty for a match.
    pub fn mismatches(&self, inventory: &Inventory) -> Vec<Mismatch> {
        let mut list = Vec::new();
        let mut check = |what: &str, ok: bool, wanted: String, found: String| {
            if !ok {
                list.push(Mismatch {
                    what: what.into(),
                    wanted,
                    found,
                });
            }
        };
        let cpu = &inventory.cpu;
        let architecture = self.architecture == cpu.architecture;
        check(
            "architecture",
            architecture,
            self.architecture.clone(),
            cpu.architecture.clone(),
        );
        check(
            "threads",
            self.threads == cpu.threads,
            self.threads.to_string(),
            cpu.threads.to_string(),
        );
        let least = self.memory_mib - self.memory_mib / 10;
        let memory = (least..=self.memory_mib).contains(&inventory.memory_mib);
        check(
            "memory_mib",
            memory,
            self.memory_mib.to_string(),
            inventory.memory_mib.to_string(),
        );
        if let Some(model) = &self.cpu_model {
            check(
                "cpu_model",
                cpu.model.contains(model.as_str()),
                model.clone(),
                cpu.model.clone(),
            );
        }
        if let Some(product) = &self.product {
            let equal = *product == inventory.product;
            check("product", equal, product.clone(), inventory.product.clone());
        }
        let disks = self.disks_match(&inventory.disks);
        check(
            "disks",
            disks,
            self.disks_text(),
            disks_text(&inventory.disks),
        );
        list
    }

    fn disks_match(&self, disks: &[Disk]) -> bool {
        let mut left: Vec<&Disk> = disks.iter().collect();
        for wanted in &self.disks {
            for _ in 0..wanted.count {
                let Some(index) = left.iter().position(|disk| wanted.is(disk)) else {
                    return false;
                };
                left.swap_remove(index);
            }
        }
        left.is_empty()
    }

    fn disks_text(&self) -> String {
        let parts: Vec<_> = self
            .disks
            .iter()
            .map(|disk| {
                let kind = if disk.rotational { "HDD" } else { "SSD" };
                format!("{} x {} GiB {kind}", disk.count, disk.size_gib)
            })
            .collect();
        if parts.is_empty() {
            "none".into()
        } else {
            parts.join(" + ")
        }
    }

    /// The flavor that exactly this machine has.
    pub fn of(inventory: &Inventory) -> Self {
        let mut disks: Vec<FlavorDisk> = Vec::new();
        for disk in &inventory.disks {
            match disks.iter_mut().find(|known| known.is(disk)) {
                Some(known) => known.count += 1,
                None => disks.push(FlavorDisk {
                    count: 1,
                    size_gib: disk.size_bytes.div_ceil(1 << 30),
                    rotational: disk.rotational,
                }),
            }
        }
        Self {
            architecture: inventory.cpu.architecture.clone(),
            threads: inventory.cpu.threads,
            // Memory modules come in whole GiB.
            memory_mib: inventory.memory_mib.div_ceil(1024) * 1024,
            disks,
            cpu_model: None,
            product: None,
        }
    }
}

impl FlavorDisk {
    fn is(&self, disk: &Disk) -> bool {
        let wanted = u128::from(self.size_gib) << 30;
        let difference = wanted.abs_diff(u128::from(disk.size_bytes));
        self.rotational == disk.rotational && difference * 50 <= wanted
    }
}

fn disks_text(disks: &[Disk]) -> String {
    let parts: Vec<_> = disks
        .iter()
        .map(|disk| {
            let kind = if disk.rotational { "HDD" } else { "SSD" };
            format!("{} {} GiB {kind}", disk.name, disk.size_bytes >> 30)
        })
        .collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join(" + ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Cpu, FirmwareMode, MachineIdentity, Transport};

    fn disk(name: &str, size_bytes: u64, rotational: bool) -> Disk {
        Disk {
            name: name.into(),
            size_bytes,
            model: String::new(),
            serial: name.into(),
            wwn: None,
            rotational,
            transport: Transport::Nvme,
        }
    }

    fn machine(memory_mib: u64, disks: Vec<Disk>) -> Inventory {
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
                model: "Xeon 6530".into(),
                architecture: "x86_64".into(),
                sockets: 1,
                cores: 4,
                threads: 8,
            },
            memory_mib,
            disks,
            nics: vec![],
        }
    }

    #[test]
    fn a_machine_matches_its_own_flavor() {
        let machine = machine(
            31_800,
            vec![
                disk("a", 480_103_981_056, false),
                disk("b", 480_103_981_056, false),
            ],
        );
        let flavor = FlavorHardware::of(&machine);
        assert_eq!(flavor.memory_mib, 32_768);
        assert_eq!(
            flavor.disks,
            [FlavorDisk {
                count: 2,
                size_gib: 448,
                rotational: false
            }]
        );
        assert!(flavor.mismatches(&machine).is_empty());
    }

    #[test]
    fn a_low_flavor_does_not_land_on_a_big_machine() {
        let small = FlavorHardware::of(&machine(31_800, vec![disk("a", 480 << 30, false)]));
        let big = machine(
            64_000,
            vec![disk("a", 480 << 30, false), disk("b", 480 << 30, false)],
        );
        let what: Vec<_> = small
            .mismatches(&big)
            .into_iter()
            .map(|each| each.what)
            .collect();
        assert_eq!(what, ["memory_mib", "disks"]);
    }
}
