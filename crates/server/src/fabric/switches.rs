//! The switches as they are used: read from the store, and again when one of them has changed.
//!
//! They are kept, so that requests to a switch are counted over all its nodes; a number that the store
//! raises with every change tells whether they are still the ones. So what an operator says about a
//! switch counts from the next use on, in every process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_core::port_plan::{SiteModel, SwitchModel};
use bessemer_fabric::{OvsdbAddress, OvsdbSwitch, Switch, ThrottledSwitch};
use bessemer_store::{Error, SwitchRecord, SwitchSettings};
use bessemer_tls::{ClientIdentity, Trust, authorities_from_pem, client_config, client_config_as};
use tracing::warn;

use crate::keyring::purpose;
use crate::site::Site;

/// The switches of the store, of one moment.
#[derive(Default)]
pub(crate) struct Switches {
    generation: u64,
    known: BTreeMap<String, Known>,
    /// As far as port plans are concerned.
    pub(crate) model: SiteModel,
}

/// A switch and how it is spoken to.
struct Known {
    record: SwitchRecord,
    driver: Driver,
}

/// How a switch is spoken to.
#[derive(Clone)]
pub(crate) enum Driver {
    /// Its ports are ours to move.
    Ours(Arc<dyn Switch>),
    /// They are not.
    Flat,
    /// They are, but its key or certificate cannot be read.
    Unusable,
}

impl Switches {
    /// What the store says of the switch of this name.
    pub(crate) fn record(&self, name: &str) -> Option<&SwitchRecord> {
        self.known.get(name).map(|known| &known.record)
    }

    /// How the switch of this name is spoken to.
    pub(crate) fn driver(&self, name: &str) -> Option<&Driver> {
        self.known.get(name).map(|known| &known.driver)
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

/// The switches that were read last.
#[derive(Default)]
pub(super) struct Loaded(Mutex<Arc<Switches>>);

impl Loaded {
    /// The switches as they are in the store at this moment.
    pub(super) async fn at_present(&self, site: &Site) -> Result<Arc<Switches>, Error> {
        let kept = self.kept();
        let generation = site.store.switch_generation().await?;
        if generation == kept.generation {
            return Ok(kept);
        }
        let (generation, records) = site.store.all_switches().await?;
        let read = Arc::new(load(generation, records, &kept, site));
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another use of them may have been quicker, and even later.
        if latest.generation < generation {
            *latest = read.clone();
        }
        Ok(latest.clone())
    }

    fn kept(&self) -> Arc<Switches> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

/// Puts the switches together; a driver that is the same as before is kept.
fn load(generation: u64, records: Vec<SwitchRecord>, before: &Switches, site: &Site) -> Switches {
    let usual = site.config.usual_vlans();
    let mut switches = Switches {
        generation,
        ..Switches::default()
    };
    for record in records {
        let kept = before.known.get(&record.name);
        let kept = kept.filter(|kept| kept.record.generation == record.generation);
        let driver = match kept {
            Some(kept) => kept.driver.clone(),
            None => driver(&record, site),
        };
        let model = SwitchModel {
            vlans: record.settings.vlans.on(usual),
            largest_mtu: record.settings.largest_mtu,
            storm_limit: None,
        };
        switches.model.switches.insert(record.name.clone(), model);
        let name = record.name.clone();
        switches.known.insert(name, Known { record, driver });
    }
    switches
}

fn driver(record: &SwitchRecord, site: &Site) -> Driver {
    if !record.driver.is_ours() {
        return Driver::Flat;
    }
    let key = record.settings.key_sealed.as_deref();
    let key = key.map(|sealed| site.keyring.open(&purpose::switch_key(record.id), sealed));
    let driver = match key.transpose() {
        Ok(key) => ovsdb(&record.name, &record.settings, key.as_deref()),
        Err(error) => Err(("key", error.to_string())),
    };
    match driver {
        Ok(driver) => {
            let limit = site.config.switch_requests.into();
            Driver::Ours(Arc::new(ThrottledSwitch::new(Arc::new(driver), limit)))
        }
        Err((field, problem)) => {
            warn!(
                switch = record.name,
                "its `{field}` cannot be used: {problem}"
            );
            Driver::Unusable
        }
    }
}

/// The driver of a switch that speaks OVSDB; or which of the settings is wrong, and why.
pub(crate) fn ovsdb(
    name: &str,
    settings: &SwitchSettings,
    key: Option<&[u8]>,
) -> Result<OvsdbSwitch, (&'static str, String)> {
    let address: OvsdbAddress = settings
        .address
        .parse()
        .map_err(|error: bessemer_fabric::Error| ("address", error.to_string()))?;
    let secured = matches!(address, OvsdbAddress::Tls { .. });
    let driver = OvsdbSwitch::new(name, address);
    let trust = match &settings.authority {
        None if secured => return Err(("authority", "needed where TLS is spoken".to_owned())),
        None => None,
        Some(authority) => {
            let authorities = authorities_from_pem(authority.as_bytes());
            let authorities = authorities.map_err(|error| ("authority", error.to_string()))?;
            Some(Trust::Authorities(authorities))
        }
    };
    let identity = match (&settings.certificate, key) {
        (None, None) => None,
        (Some(_), None) => return Err(("key", "needed with a certificate".to_owned())),
        (None, Some(_)) => return Err(("certificate", "needed with a key".to_owned())),
        (Some(certificate), Some(key)) => {
            let identity = ClientIdentity::from_pem(certificate.as_bytes(), key);
            Some(identity.map_err(|error| ("certificate", error.to_string()))?)
        }
    };
    let trust = match (trust, &identity) {
        (Some(trust), _) => trust,
        (None, None) => return Ok(driver),
        (None, Some(_)) => return Err(("authority", "needed with a certificate".to_owned())),
    };
    let tls = match &identity {
        Some(identity) => client_config_as(&trust, identity),
        None => client_config(&trust),
    };
    Ok(driver.with_tls(tls.map_err(|error| ("certificate", error.to_string()))?))
}
