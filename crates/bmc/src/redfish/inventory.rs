//! What the machine is made of, as far as the BMC tells.
//!
//! Best effort: collections may be missing, members may be gone by the time they are read, and
//! any property may be null. What could not be read is reported beside what could.

use std::collections::BTreeSet;

use bessemer_core::net::MacAddress;
use serde_json::Value;
use tokio::time::Instant;

use super::client::Client;
use super::resource::{Resource, is_absent, link, number, text, texts};
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
        let gib = system
            .value
            .pointer("/MemorySummary/TotalSystemMemoryGiB")
            .and_then(Value::as_f64);
        // The property may be a fraction; beyond 1 EiB it is nonsense.
        let mib = gib
            .map(|gib| gib * 1024.0)
            .filter(|mib| (1.0..1e12).contains(mib));
        match mib {
            Some(mib) => self.inventory.memory_mib = Some(mib.round() as u64),
            None => self.note("the BMC does not say how much memory there is".to_owned()),
        }
    }

    async fn cpus(&mut self, system: &Resource) -> Result<(), Error> {
        for processor in self.collection(&system.value, "Processors").await? {
            let value = &processor.value;
            // Accelerators are listed beside the processors.
            if is_absent(value) || text(value, "/ProcessorType").is_some_and(|kind| kind != "CPU") {
                continue;
            }
            self.inventory.cpus.push(Cpu {
                model: text(value, "/Model").map(str::to_owned),
                cores: small(value, "/TotalCores"),
                threads: small(value, "/TotalThreads"),
            });
        }
        Ok(())
    }

    async fn nics(&mut self, system: &Resource) -> Result<(), Error> {
        for interface in self.collection(&system.value, "EthernetInterfaces").await? {
            let value = &interface.value;
            // The machine's end of the cable-less link to its own BMC.
            if value.pointer("/Links/HostInterface").is_some() || is_absent(value) {
                continue;
            }
            let mac = text(value, "/PermanentMACAddress").or_else(|| text(value, "/MACAddress"));
            let Some(mac) = mac.and_then(|mac| mac.parse::<MacAddress>().ok()) else {
                self.note(format!("{} has no usable MAC address", interface.path));
                continue;
            };
            self.inventory.nics.push(Nic {
                id: interface.id().to_owned(),
                mac,
                link_up: text(value, "/LinkStatus").map(|status| status == "LinkUp"),
                speed_mbps: small(value, "/SpeedMbps"),
            });
        }
        Ok(())
    }

    async fn storage(&mut self, system: &Resource) -> Result<(), Error> {
        // A drive can be reached through more than one controller.
        let mut paths = BTreeSet::new();
        for storage in self.collection(&system.value, "Storage").await? {
            self.controllers(&storage).await?;
            let drives = storage.value.get("Drives").and_then(Value::as_array);
            let links = drives.into_iter().flatten().filter_map(link);
            paths.extend(links.map(|path| path.trim_end_matches('/').to_owned()));
        }
        for path in paths {
            let Some(drive) = self.resource(&path).await? else {
                continue;
            };
            let value = &drive.value;
            if is_absent(value) {
                continue;
            }
            self.inventory.drives.push(Drive {
                id: drive.id().to_owned(),
                model: text(value, "/Model").map(str::to_owned),
                serial: text(value, "/SerialNumber").map(str::to_owned),
                size_bytes: number(value, "/CapacityBytes"),
            });
        }
        Ok(())
    }

    /// Controllers stand in the storage itself (older) or in a collection (newer); where they are
    /// in both, they are the same.
    async fn controllers(&mut self, storage: &Resource) -> Result<(), Error> {
        let embedded = storage.value.get("StorageControllers");
        let embedded = embedded
            .and_then(Value::as_array)
            .filter(|all| !all.is_empty());
        let controllers = match embedded {
            Some(embedded) => embedded.clone(),
            // Drives on the processor's own lanes have none.
            None if storage.value.get("Controllers").is_none() => Vec::new(),
            None => {
                let members = self.collection(&storage.value, "Controllers").await?;
                members.into_iter().map(|member| member.value).collect()
            }
        };
        let owned = |value: &Value, pointer| text(value, pointer).map(str::to_owned);
        for controller in controllers.iter().filter(|value| !is_absent(value)) {
            self.inventory.storage_controllers.push(StorageController {
                id: storage.id().to_owned(),
                model: owned(controller, "/Model"),
                serial: owned(controller, "/SerialNumber"),
                firmware_version: owned(controller, "/FirmwareVersion"),
            });
        }
        Ok(())
    }

    async fn boot_options(&mut self, system: &Resource) -> Result<(), Error> {
        let Some(boot) = system.value.get("Boot") else {
            return Ok(());
        };
        let order = boot.get("BootOrder").map(texts).unwrap_or_default();
        let mut options = Vec::new();
        for option in self.collection(boot, "BootOptions").await? {
            let value = &option.value;
            let owned = |pointer| text(value, pointer).map(str::to_owned);
            options.push(BootOption {
                reference: owned("/BootOptionReference").unwrap_or_else(|| option.id().to_owned()),
                name: owned("/DisplayName"),
                device_path: owned("/UefiDevicePath"),
                enabled: value.get("BootOptionEnabled").and_then(Value::as_bool) != Some(false),
            });
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
        for drive in drives {
            let value = &drive.value;
            let image = text(value, "/Image").or_else(|| text(value, "/ImageName"));
            self.inventory.media_drives.push(MediaDrive {
                id: drive.id().to_owned(),
                kinds: value.get("MediaTypes").map(texts).unwrap_or_default(),
                image: image.map(str::to_owned),
            });
        }
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

fn small(value: &Value, pointer: &str) -> Option<u32> {
    number(value, pointer).and_then(|number| u32::try_from(number).ok())
}
