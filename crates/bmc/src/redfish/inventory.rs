//! What the machine is made of, as far as the BMC tells.
//!
//! Best effort: collections may be missing, members may be gone by the time they are read, and
//! any property may be null. What could not be read is reported beside what could.

use std::collections::BTreeSet;

use bessemer_core::net::MacAddress;
use serde_json::Value;
use tokio::time::Instant;

use super::client::Client;
use super::resource::{Resource, is_absent, link, number, short, text, texts, words};
use super::system::managers;
use crate::{BmcInventory, BootOption, Cpu, Drive, Error, MediaDrive, Nic, StorageController};

/// Resources read for one inventory. A machine with 60 drives stays well below.
const MOST_RESOURCES: usize = 512;

/// Things found that could not be read, of which more are not listed.
const MOST_UNREAD: usize = 32;

/// Reads everything below `system`.
pub(super) async fn read(
    client: &Client,
    system: &Resource,
    deadline: Instant,
) -> Result<BmcInventory, Error> {
    let mut reader = Reader {
        client,
        deadline,
        left: MOST_RESOURCES,
        inventory: BmcInventory::default(),
    };
    reader.memory(system);
    reader.cpus(system).await?;
    reader.nics(system).await?;
    reader.storage(system).await?;
    reader.boot_options(system).await?;
    reader.media_drives(system).await?;
    Ok(reader.inventory)
}

struct Reader<'a> {
    client: &'a Client,
    deadline: Instant,
    left: usize,
    inventory: BmcInventory,
}

impl Reader<'_> {
    /// One total, which all makers have, rather than one request for each of 32 modules.
    fn memory(&mut self, system: &Resource) {
        self.inventory.memory_mib = memory_mib(&system.value);
        if self.inventory.memory_mib.is_none() {
            self.note("the BMC does not say how much memory there is".to_owned());
        }
    }

    async fn cpus(&mut self, system: &Resource) -> Result<(), Error> {
        for processor in self.collection(&system.value, "Processors").await? {
            self.inventory.cpus.extend(cpu(&processor.value));
        }
        Ok(())
    }

    async fn nics(&mut self, system: &Resource) -> Result<(), Error> {
        for interface in self.collection(&system.value, "EthernetInterfaces").await? {
            if !is_nic(&interface.value) {
                continue;
            }
            match nic(&interface) {
                Some(nic) => self.inventory.nics.push(nic),
                None => self.note(format!("{} has no usable MAC address", interface.path)),
            }
        }
        Ok(())
    }

    async fn storage(&mut self, system: &Resource) -> Result<(), Error> {
        // A drive can be reached through more than one controller.
        let mut paths = BTreeSet::new();
        for storage in self.collection(&system.value, "Storage").await? {
            self.controllers(&storage).await?;
            paths.extend(drive_paths(&storage.value).take(MOST_RESOURCES));
        }
        for path in paths {
            let Some(drive) = self.resource(&path).await? else {
                continue;
            };
            self.inventory.drives.extend(self::drive(&drive));
        }
        Ok(())
    }

    /// Controllers stand in the storage itself (older) or in a collection (newer); where they are
    /// in both, they are the same.
    async fn controllers(&mut self, storage: &Resource) -> Result<(), Error> {
        let found: Vec<_> = match embedded_controllers(&storage.value) {
            [] if storage.value.get("Controllers").is_some() => {
                let members = self.collection(&storage.value, "Controllers").await?;
                let each = members.iter();
                each.filter_map(|member| controller(storage, &member.value))
                    .collect()
            }
            // Drives on the processor's own lanes have none.
            embedded => embedded
                .iter()
                .filter_map(|value| controller(storage, value))
                .collect(),
        };
        let all = &mut self.inventory.storage_controllers;
        let room = MOST_RESOURCES.saturating_sub(all.len());
        all.extend(found.into_iter().take(room));
        Ok(())
    }

    async fn boot_options(&mut self, system: &Resource) -> Result<(), Error> {
        let Some(boot) = system.value.get("Boot") else {
            return Ok(());
        };
        let order = boot.get("BootOrder").map(texts).unwrap_or_default();
        let mut options = Vec::new();
        for option in self.collection(boot, "BootOptions").await? {
            options.push(boot_option(&option));
        }
        // Those that are not in the order come last.
        options.sort_by_key(|option| {
            let place = order
                .iter()
                .position(|reference| *reference == option.reference);
            place.unwrap_or(usize::MAX)
        });
        self.inventory.boot_options = options;
        Ok(())
    }

    /// Of the system; where it has none, of its managers.
    async fn media_drives(&mut self, system: &Resource) -> Result<(), Error> {
        let mut drives = Vec::new();
        if system.value.get("VirtualMedia").is_some() {
            drives = self.collection(&system.value, "VirtualMedia").await?;
        }
        if drives.is_empty() {
            for path in managers(system) {
                if let Some(manager) = self.resource(path).await? {
                    drives.extend(self.collection(&manager.value, "VirtualMedia").await?);
                }
            }
        }
        let media_drives = drives.iter().map(media_drive);
        self.inventory.media_drives.extend(media_drives);
        Ok(())
    }

    /// All members of the collection that `value` links to as `name`.
    async fn collection(&mut self, value: &Value, name: &str) -> Result<Vec<Resource>, Error> {
        let Some(path) = value.get(name).and_then(link) else {
            self.note(format!("the BMC lists no {name}"));
            return Ok(Vec::new());
        };
        let members = match self.client.members(path, self.deadline).await {
            Ok(members) => members,
            Err(error) => {
                self.pass_over(error)?;
                return Ok(Vec::new());
            }
        };
        let mut resources = Vec::with_capacity(members.len());
        for member in members {
            resources.extend(self.resource(&member).await?);
        }
        Ok(resources)
    }

    async fn resource(&mut self, path: &str) -> Result<Option<Resource>, Error> {
        if self.left == 0 {
            self.note(format!(
                "{path} and others: more than {MOST_RESOURCES} resources"
            ));
            return Ok(None);
        }
        self.left -= 1;
        match self.client.get(path, self.deadline).await {
            Ok(resource) => Ok(Some(resource)),
            Err(error) => {
                self.pass_over(error)?;
                Ok(None)
            }
        }
    }

    /// One part that cannot be read is no reason to throw away the others; a BMC that is gone is.
    fn pass_over(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Refused { .. } | Error::Protocol { .. } | Error::Forbidden { .. } => {
                self.note(error.to_string());
                Ok(())
            }
            error => Err(error),
        }
    }

    fn note(&mut self, problem: String) {
        if self.inventory.unread.len() < MOST_UNREAD {
            self.inventory.unread.push(problem);
        }
    }
}

/// The property may be a fraction; beyond 1 EiB it is nonsense.
fn memory_mib(system: &Value) -> Option<u64> {
    let gib = system
        .pointer("/MemorySummary/TotalSystemMemoryGiB")
        .and_then(Value::as_f64);
    let mib = gib.map(|gib| gib * 1024.0);
    mib.filter(|mib| (1.0..1e12).contains(mib))
        .map(|mib| mib.round() as u64)
}

/// Accelerators are listed beside the processors.
fn cpu(value: &Value) -> Option<Cpu> {
    if is_absent(value) || text(value, "/ProcessorType").is_some_and(|kind| kind != "CPU") {
        return None;
    }
    Some(Cpu {
        model: words(value, "/Model"),
        cores: small(value, "/TotalCores"),
        threads: small(value, "/TotalThreads"),
    })
}

/// Not the machine's end of the cable-less link to its own BMC.
fn is_nic(value: &Value) -> bool {
    value.pointer("/Links/HostInterface").is_none() && !is_absent(value)
}

fn nic(interface: &Resource) -> Option<Nic> {
    let value = &interface.value;
    let mac = text(value, "/PermanentMACAddress").or_else(|| text(value, "/MACAddress"));
    Some(Nic {
        id: short(interface.id()),
        mac: mac?.parse::<MacAddress>().ok()?,
        link_up: text(value, "/LinkStatus").map(|status| status == "LinkUp"),
        speed_mbps: small(value, "/SpeedMbps"),
    })
}

fn drive_paths(storage: &Value) -> impl Iterator<Item = String> {
    let drives = storage.get("Drives").and_then(Value::as_array);
    let links = drives.into_iter().flatten().filter_map(link);
    links.map(|path| path.trim_end_matches('/').to_owned())
}

fn drive(drive: &Resource) -> Option<Drive> {
    let value = &drive.value;
    (!is_absent(value)).then(|| Drive {
        id: short(drive.id()),
        model: words(value, "/Model"),
        serial: words(value, "/SerialNumber"),
        size_bytes: number(value, "/CapacityBytes"),
    })
}

fn embedded_controllers(storage: &Value) -> &[Value] {
    let embedded = storage.get("StorageControllers").and_then(Value::as_array);
    embedded.map(Vec::as_slice).unwrap_or_default()
}

fn controller(storage: &Resource, value: &Value) -> Option<StorageController> {
    (!is_absent(value)).then(|| StorageController {
        id: short(storage.id()),
        model: words(value, "/Model"),
        serial: words(value, "/SerialNumber"),
        firmware_version: words(value, "/FirmwareVersion"),
    })
}

fn boot_option(option: &Resource) -> BootOption {
    let value = &option.value;
    let reference = words(value, "/BootOptionReference");
    BootOption {
        reference: reference.unwrap_or_else(|| short(option.id())),
        name: words(value, "/DisplayName"),
        device_path: words(value, "/UefiDevicePath"),
        enabled: value.get("BootOptionEnabled").and_then(Value::as_bool) != Some(false),
    }
}

fn media_drive(drive: &Resource) -> MediaDrive {
    let value = &drive.value;
    let image = words(value, "/Image").or_else(|| words(value, "/ImageName"));
    MediaDrive {
        id: short(drive.id()),
        kinds: value.get("MediaTypes").map(texts).unwrap_or_default(),
        image,
    }
}

/// What one resource, whatever it is, would add to an inventory.
pub(super) fn of_one(resource: &Resource) -> BmcInventory {
    let value = &resource.value;
    let controllers = embedded_controllers(value).iter();
    BmcInventory {
        cpus: cpu(value).into_iter().collect(),
        memory_mib: memory_mib(value),
        nics: nic(resource)
            .filter(|_| is_nic(value))
            .into_iter()
            .collect(),
        drives: drive(resource).into_iter().collect(),
        storage_controllers: controllers
            .filter_map(|each| controller(resource, each))
            .take(MOST_RESOURCES)
            .collect(),
        boot_options: vec![boot_option(resource)],
        media_drives: vec![media_drive(resource)],
        unread: drive_paths(value).take(MOST_UNREAD).collect(),
    }
}

fn small(value: &Value, pointer: &str) -> Option<u32> {
    number(value, pointer).and_then(|number| u32::try_from(number).ok())
}
