//! The computer system: finding it, and reading which machine it is.

use bessemer_core::hardware::MachineIdentity;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::RedfishBmc;
use super::quirks::Quirks;
use super::resource::{Resource, last_segment, link, text, words};
use crate::{Error, Identity};

/// Managers of a system that are looked at.
const MOST_MANAGERS: usize = 4;

impl RedfishBmc {
    /// Reads the computer system, which says most of what there is to know in one request.
    pub(super) async fn system(&self, deadline: Instant) -> Result<Resource, Error> {
        let system = self.read_system(deadline).await?;
        self.client.governor().set_tempo(Quirks::of(&system).tempo);
        Ok(system)
    }

    async fn read_system(&self, deadline: Instant) -> Result<Resource, Error> {
        match self
            .client
            .get(&self.system_path(deadline).await?, deadline)
            .await
        {
            // Its firmware may have been renewed since the path was read.
            Err(Error::Refused { status: 404, .. }) => {
                self.system_path.forget();
                let path = self.system_path(deadline).await?;
                self.client.get(&path, deadline).await
            }
            result => result,
        }
    }

    async fn system_path(&self, deadline: Instant) -> Result<String, Error> {
        self.system_path.or_find(self.find_system(deadline)).await
    }

    async fn find_system(&self, deadline: Instant) -> Result<String, Error> {
        let collection = self.client.systems_path(deadline).await?;
        let members = self.client.members(&collection, deadline).await?;
        let ids = || {
            members
                .iter()
                .map(|path| last_segment(path).to_owned())
                .collect()
        };
        let bmc = self.client.bmc().to_owned();
        match (&self.wanted_system, members.as_slice()) {
            (_, []) => Err(self.client.nonsense(format!("{collection} has no members"))),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(Error::SeveralSystems {
                bmc,
                systems: ids(),
            }),
            (Some(wanted), _) => members
                .iter()
                .find(|path| last_segment(path) == wanted)
                .cloned()
                .ok_or_else(|| Error::NoSuchSystem {
                    bmc,
                    wanted: wanted.clone(),
                    systems: ids(),
                }),
        }
    }
}

/// Paths of the managers of a system.
pub(super) fn managers(system: &Resource) -> impl Iterator<Item = &str> {
    let managers = system.value.pointer("/Links/ManagedBy");
    let managers = managers.and_then(Value::as_array).into_iter().flatten();
    managers.filter_map(link).take(MOST_MANAGERS)
}

/// Which machine the system is.
pub(super) fn identity(system: &Resource) -> Identity {
    let value = &system.value;
    let serial = words(value, Quirks::of(system).serial).unwrap_or_default();
    let uuid = text(value, "/UUID").and_then(|uuid| Uuid::parse_str(uuid).ok());
    Identity {
        machine: MachineIdentity {
            serial,
            uuid: uuid.filter(|uuid| !uuid.is_nil()),
        },
        manufacturer: words(value, "/Manufacturer"),
        model: words(value, "/Model"),
        bios_version: words(value, "/BiosVersion"),
    }
}
