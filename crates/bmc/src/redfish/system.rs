//! The computer system: finding it, and reading which machine it is.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_core::hardware::MachineIdentity;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::RedfishBmc;
use super::goal::Goal;
use super::quirks::Quirks;
use super::resource::{Resource, last_segment, link, text, words};
use crate::{Error, Identity};

/// Managers of a system that are looked at.
const MOST_MANAGERS: usize = 4;

/// How long ago the computer system may have been read for what is asked for next to rest on it.
const LATELY: Duration = Duration::from_secs(1);

/// The computer system as it was read.
#[derive(Debug)]
pub(super) struct Look {
    system: Resource,
    at: Instant,
    /// How often it had been asked to change by then.
    changes: u64,
}

impl RedfishBmc {
    /// Reads the computer system, which says most of what there is to know in one request.
    pub(super) async fn system(&self, deadline: Instant) -> Result<Resource, Error> {
        let (at, changes) = (Instant::now(), self.system_changes.load(Ordering::Relaxed));
        let system = self.read_system(deadline).await?;
        self.client.governor().set_tempo(Quirks::of(&system).tempo);
        *self.last_look() = Some(Look {
            system: system.clone(),
            at,
            changes,
        });
        Ok(system)
    }

    /// The same for who only wants to know something in turn, of thousands: nothing of it is kept.
    pub(super) async fn system_in_passing(&self, deadline: Instant) -> Result<Resource, Error> {
        let system = self.system(deadline).await;
        *self.last_look() = None;
        system
    }

    /// The same as it was a moment ago, if nothing was changed through us since: requests are what costs
    /// most with many BMCs.
    pub(super) async fn system_lately(&self, deadline: Instant) -> Result<Resource, Error> {
        match self.seen_lately() {
            Some(system) => Ok(system),
            None => self.system(deadline).await,
        }
    }

    /// The same for bringing `goal` about. What was seen a moment ago is enough to ask for it; that it is
    /// reached is only believed of a look that is taken for it.
    pub(super) async fn system_before(
        &self,
        goal: &impl Goal,
        deadline: Instant,
    ) -> Result<Resource, Error> {
        match self.seen_lately().filter(|seen| !goal.is_reached(seen)) {
            Some(system) => Ok(system),
            None => self.system(deadline).await,
        }
    }

    /// Whatever it is about to be asked for, and however that ends: what was seen of it counts no more.
    pub(super) fn system_may_change(&self) {
        self.system_changes.fetch_add(1, Ordering::Relaxed);
    }

    fn seen_lately(&self) -> Option<Resource> {
        let changes = self.system_changes.load(Ordering::Relaxed);
        let last = self.last_look();
        let valid = |look: &&Look| look.at.elapsed() < LATELY && look.changes == changes;
        last.as_ref().filter(valid).map(|look| look.system.clone())
    }

    fn last_look(&self) -> MutexGuard<'_, Option<Look>> {
        // Replaced as a whole, so a panic elsewhere cannot have broken it.
        self.last_look
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
