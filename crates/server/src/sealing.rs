//! Changing the key under which secrets are sealed, while servers run.
//!
//! A rotation has no moment at which it may not be killed. The new key is put before the old one in the
//! key file, by one rename; from then on every server seals with the new one and opens what is under
//! either, since it looks whether the file has changed. What is in the database is sealed anew value by
//! value, each only if nobody has changed it meanwhile. Whoever finds two keys in the file goes on with
//! that: the command that began it, or any server, now and then. The old key leaves the file an hour
//! after, once nothing is sealed by it: what servers tell each other of nodes (`sightings`) is not sealed
//! anew, since it is kept for no longer than that.

use std::path::Path;
use std::time::Duration;

use bessemer_core::id::{ImageId, NodeId, ServerId, SwitchId};
use bessemer_store::{SealedPlace, SealedValue, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::keyring::{Forgotten, Keyring, KeyringError, purpose};
use crate::server::StartError;
use crate::site::Site;

/// How nothing that is sealed begins.
const NO_KEY: [u8; 12] = [0; 12];

/// Secrets read at a time.
const BATCH: u32 = 100;

/// From one look for what is under an older key to the next.
const INTERVAL: Duration = Duration::from_secs(600);

/// How long an older key is kept at least: longer than any request that has sealed with it takes.
const KEPT: Duration = Duration::from_secs(3600);

/// What a change of the key has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Whether it has been begun now; if not, one that had been begun before goes on.
    pub is_new: bool,
    /// What is sealed with the newest key now.
    pub sealed: SealedAnew,
}

/// What came of sealing anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SealedAnew {
    /// How many secrets are under the newest key now that were not before.
    pub values: u64,
    /// What no key in the file opens: it has to be entered again.
    pub unreadable: Vec<String>,
}

/// Seals all that is not under the newest key with that one.
///
/// # Errors
/// If the database or the key file fails. What was sealed anew until then is.
pub async fn seal_anew(store: &Store, keyring: &Keyring) -> Result<SealedAnew, StartError> {
    let mut result = SealedAnew::default();
    for place in SealedPlace::ALL {
        let mut after = None;
        loop {
            let newest = keyring.newest();
            let values = store.sealed_otherwise(place, &newest, after, BATCH).await?;
            let Some(last) = values.last() else {
                break;
            };
            after = Some(last.id);
            for value in &values {
                let purpose = purpose_of(value);
                let secret = match keyring.open(&purpose, &value.sealed) {
                    Ok(secret) => Zeroizing::new(secret),
                    Err(KeyringError::Sealed { .. }) => {
                        result.unreadable.push(purpose);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                let anew = keyring.seal(&purpose, &secret)?;
                result.values += u64::from(store.seal_anew(value, &anew).await?);
            }
        }
    }
    Ok(result)
}

/// Reads the key for the data folder `data`; makes one only if nothing in the database is sealed.
///
/// # Errors
/// If there is no key, or if it opens nothing of what is sealed.
pub(crate) async fn keyring_for(store: &Store, data: &Path) -> Result<Keyring, StartError> {
    let mut some = Vec::new();
    for place in SealedPlace::ALL {
        some.extend(store.sealed_otherwise(place, &NO_KEY, None, BATCH).await?);
    }
    let keyring = Keyring::of_folder(data, some.is_empty())?;
    let closed: Vec<_> = some
        .iter()
        .map(|value| (purpose_of(value), &value.sealed))
        .filter(|(purpose, sealed)| keyring.open(purpose, sealed).is_err())
        .map(|(purpose, _)| purpose)
        .collect();
    if closed.is_empty() {
        return Ok(keyring);
    }
    if closed.len() == some.len() {
        return Err(keyring.is_another_one().into());
    }
    // Somebody's backup or somebody's hand: no reason to leave all the other machines alone.
    error!(secrets = ?closed, "no key opens these: enter them again");
    Ok(keyring)
}

/// Goes on with a rotation, if one is under way, until `stop`.
pub(crate) async fn watch(site: Site, stop: CancellationToken) {
    let mut told = false;
    loop {
        if site.keyring.has_older() {
            match seal_anew(&site.store, &site.keyring).await {
                Ok(done) => finish(&site.keyring, &done, &mut told),
                Err(error) => warn!(%error, "secrets are not sealed anew; trying again later"),
            }
        }
        if timeout(INTERVAL, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Says how far it is, and lets the older key go. `told` is whether it has been said that it may.
fn finish(keyring: &Keyring, done: &SealedAnew, told: &mut bool) {
    if done.values > 0 {
        info!("{} secrets are sealed with the newest key now", done.values);
    }
    if !done.unreadable.is_empty() {
        error!(secrets = ?done.unreadable, "no key opens these: enter them again");
        return;
    }
    match keyring.forget_older(KEPT) {
        Ok(Forgotten::NotYet) => {}
        Ok(Forgotten::Yes) => {
            info!("nothing is sealed with an older key: it has left the key file");
        }
        Ok(Forgotten::NotOurs(keys)) if !*told => {
            *told = true;
            info!("an hour after every server has the newest key, the older one can leave {keys}");
        }
        Ok(Forgotten::NotOurs(_)) => {}
        Err(error) => warn!(%error, "an older key stays in the key file"),
    }
}

fn purpose_of(value: &SealedValue) -> String {
    match value.place {
        SealedPlace::BmcPassword => purpose::bmc_password(NodeId(value.id)),
        SealedPlace::IpmiKey => purpose::ipmi_key(NodeId(value.id)),
        SealedPlace::SwitchKey => purpose::switch_key(SwitchId(value.id)),
        SealedPlace::ImageCredentials => purpose::image_credentials(ImageId(value.id)),
        SealedPlace::UserData => purpose::user_data(ServerId(value.id)),
    }
}
