//! Changing the key under which secrets are sealed, while servers run.
//!
//! A rotation has no moment at which it may not be killed. The new key is put before the old one in the
//! key file, by one rename; from then on every server seals with the new one and opens what is under
//! either, since it looks whether the file has changed. What is in the database is sealed anew value by value, each
//! only if nobody has changed it meanwhile. Whoever finds two keys in the file goes on with that: the
//! command that began it, or any server, now and then. The old key leaves the file an hour after, once
//! nothing is sealed by it.

use std::time::Duration;

use bessemer_core::id::{ImageId, NodeId, ServerId, SwitchId};
use bessemer_store::{SealedPlace, SealedValue, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::keyring::{Keyring, KeyringError, purpose};
use crate::server::StartError;
use crate::site::Site;

/// Secrets read at a time.
const BATCH: u32 = 100;

/// From one look for what is under an older key to the next.
const INTERVAL: Duration = Duration::from_secs(600);

/// How long an older key is kept at least: longer than any request that has sealed with it takes.
const KEPT: Duration = Duration::from_secs(3600);

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

/// Whether anything is sealed.
///
/// # Errors
/// If the database fails.
pub(crate) async fn is_anything_sealed(store: &Store) -> Result<bool, StartError> {
    for place in SealedPlace::ALL {
        let any = store.sealed_otherwise(place, &[0; 12], None, 1).await?;
        if !any.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks that the key is the one by which the database's secrets are sealed.
///
/// # Errors
/// If it is another one.
pub(crate) async fn check(store: &Store, keyring: &Keyring) -> Result<(), StartError> {
    for place in SealedPlace::ALL {
        let newest = keyring.newest();
        for value in store.sealed_otherwise(place, &newest, None, 1).await? {
            if keyring.open(&purpose_of(&value), &value.sealed).is_err() {
                return Err(keyring.is_another_one().into());
            }
        }
    }
    Ok(())
}

/// Goes on with a rotation, if one is under way, until `stop`.
pub(crate) async fn watch(site: Site, stop: CancellationToken) {
    loop {
        if site.keyring.has_older() {
            match seal_anew(&site.store, &site.keyring).await {
                Ok(done) => finish(&site.keyring, &done),
                Err(error) => warn!(%error, "secrets are not sealed anew; trying again later"),
            }
        }
        if timeout(INTERVAL, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

fn finish(keyring: &Keyring, done: &SealedAnew) {
    if done.values > 0 {
        info!("{} secrets are sealed with the newest key now", done.values);
    }
    if !done.unreadable.is_empty() {
        error!(secrets = ?done.unreadable, "no key opens these: enter them again");
    } else if done.values == 0 {
        match keyring.forget_older(KEPT) {
            Ok(false) => {}
            Ok(true) => info!("nothing is sealed with an older key: it has left the key file"),
            Err(error) => warn!(%error, "an older key stays in the key file"),
        }
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
