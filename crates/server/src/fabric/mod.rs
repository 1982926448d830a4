//! The site's switches, and bringing a node's ports where the lifecycle wants them.
//!
//! What ports must carry is decided by [`port_plan::plan`]; here its inputs are gathered and its
//! outcome is handed to the switches: one transaction each, the one that the agent boots through
//! last.

mod drift;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::{
    self, Attachment, DeclaredPort, PlanError, SiteModel, SiteVlans, SwitchModel, SwitchPlan,
};
use bessemer_core::reason::Failure;
use bessemer_fabric::{FlatSwitch, OnFailure, OvsdbSwitch, Switch, ThrottledSwitch};
use bessemer_store::NodeRecord;
use bessemer_tls::{ClientIdentity, Trust, authorities_from_pem, client_config, client_config_as};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use crate::config::{self, Config, SwitchDriver};
use crate::sightings::Place;
use crate::site::Site;
use crate::{attachments, wiring};

pub(crate) use drift::Drift;

/// The switches by name.
pub struct Fabric {
    switches: HashMap<String, Known>,
}

/// A switch of the configuration.
enum Known {
    /// Its ports are ours to move.
    Ours(Arc<dyn Switch>),
    /// They are not.
    Flat,
}

impl Fabric {
    /// The switches that the configuration names; nothing is connected to yet. The error names
    /// the switch and what is wrong with it.
    pub fn new(config: &Config) -> Result<Self, (String, String)> {
        let mut switches = HashMap::new();
        for switch in &config.switch {
            let known = match switch.driver {
                SwitchDriver::Ovsdb => {
                    let driver = ovsdb(switch).map_err(|error| (switch.name.clone(), error))?;
                    let limit = config.switch_requests.into();
                    Known::Ours(Arc::new(ThrottledSwitch::new(Arc::new(driver), limit)))
                }
                SwitchDriver::Flat => Known::Flat,
            };
            switches.insert(switch.name.clone(), known);
        }
        Ok(Self { switches })
    }

    /// Puts every port of `node` where `role` wants it and sees it there. Ports without a switch
    /// of ours are left alone: the site is flat for them.
    ///
    /// When a node is parked, all its switches are asked at once, so that one that does not answer
    /// does not keep the others from it; otherwise the first that fails ends it, and those before it
    /// are taken back.
    pub async fn connect(
        &self,
        node: &NodeRecord,
        role: PortRole,
        site: &Site,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let plans = plans(node, role, site).await?;
        // A node that is parked is to stay as far parked as it got.
        let on_failure = match role {
            PortRole::Parked => OnFailure::Keep,
            _ => OnFailure::RollBack,
        };
        let apply = async |plan| {
            let applied = self.apply(node, plan, on_failure, deadline).await;
            note(site, node, plan, &applied);
            applied.map_err(|error| failure(&error))
        };
        if role == PortRole::Parked {
            let all = join_all(plans.iter().map(apply)).await;
            return all.into_iter().collect();
        }
        for (index, plan) in plans.iter().enumerate() {
            if let Err(failure) = apply(plan).await {
                self.take_back(node, &plans[..index], site, deadline).await;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Brings the switches that `done` has changed back to what they carried before, or parks them if
    /// that is not known: the node is not where it was to go, so none of its ports may be.
    async fn take_back(
        &self,
        node: &NodeRecord,
        done: &[SwitchPlan],
        site: &Site,
        deadline: Instant,
    ) {
        let role = node.port_role.unwrap_or(PortRole::Parked);
        let before = match plans(node, role, site).await {
            Ok(before) => before,
            Err(failure) => {
                warn!("ports cannot be taken back: {}", failure.message);
                return;
            }
        };
        for plan in before {
            if done.iter().any(|done| done.switch == plan.switch) {
                let applied = self.apply(node, &plan, OnFailure::Keep, deadline).await;
                note(site, node, &plan, &applied);
            }
        }
    }

    async fn apply(
        &self,
        node: &NodeRecord,
        plan: &SwitchPlan,
        on_failure: OnFailure,
        deadline: Instant,
    ) -> Result<(), bessemer_fabric::Error> {
        match self.switches.get(&plan.switch) {
            Some(Known::Ours(switch)) => {
                let applied = switch.apply(&plan.ports, on_failure, deadline).await;
                applied.map(drop)
            }
            Some(Known::Flat) => {
                let switch = FlatSwitch::new(plan.switch.clone(), declared(node, &plan.switch));
                let applied = switch.apply(&plan.ports, on_failure, deadline).await;
                applied.map(drop)
            }
            // The plan knows only switches of the configuration.
            None => Ok(()),
        }
    }
}

/// The driver of a switch that speaks OVSDB. Files are read here, once.
fn ovsdb(switch: &config::Switch) -> Result<OvsdbSwitch, String> {
    let address = switch.address.parse().map_err(|error| format!("{error}"))?;
    let driver = OvsdbSwitch::new(switch.name.clone(), address);
    let Some(authority) = &switch.authority else {
        return Ok(driver);
    };
    let trust = authorities_from_pem(&pem(authority)?).map_err(|error| error.to_string())?;
    let trust = Trust::Authorities(trust);
    let tls = match (&switch.certificate, &switch.key) {
        (Some(certificate), Some(key)) => ClientIdentity::from_pem(&pem(certificate)?, &pem(key)?)
            .and_then(|identity| client_config_as(&trust, &identity)),
        _ => client_config(&trust),
    };
    Ok(driver.with_tls(tls.map_err(|error| error.to_string())?))
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// What is known of the ports of `node` on a switch that is not ours.
fn declared(node: &NodeRecord, switch: &str) -> Vec<DeclaredPort> {
    let ports = node
        .ports
        .iter()
        .filter(|port| port.switch.as_deref() == Some(switch));
    let nics = node.inventory.iter().flat_map(|inventory| &inventory.nics);
    let known = ports.filter_map(|port| {
        let nic = nics.clone().find(|nic| nic.mac == port.mac);
        Some(DeclaredPort {
            port: port.switch_port.clone()?,
            segment: port.physical_network.clone(),
            neighbor: nic.and_then(|nic| nic.lldp.clone()),
        })
    });
    known.collect()
}

fn note(
    site: &Site,
    node: &NodeRecord,
    plan: &SwitchPlan,
    applied: &Result<(), bessemer_fabric::Error>,
) {
    for port in &plan.ports {
        let names: Vec<_> = port.ports().iter().map(String::as_str).collect();
        let place = format!("port {} of {}", names.join(" and "), plan.switch);
        let told = match applied {
            Ok(()) => format!("{place}: {port}, read back"),
            Err(error) => format!("{place}: {error}"),
        };
        site.sightings
            .note(node.id, Place::Switch, applied.is_ok(), told);
    }
}

/// Whether the switches of `node` can carry these attachments.
///
/// # Errors
/// What they cannot carry, and why.
pub(crate) fn check(
    node: &NodeRecord,
    attachments: &[Attachment],
    config: &Config,
) -> Result<(), PlanError> {
    let tenant = PortRole::Tenant;
    port_plan::plan(
        &wiring::of(node).node_ports(),
        tenant,
        attachments,
        &model(config),
    )
    .map(drop)
}

/// What the switches of `node` must carry in `role`.
async fn plans(node: &NodeRecord, role: PortRole, site: &Site) -> Result<Vec<SwitchPlan>, Failure> {
    let attachments = match role {
        PortRole::Tenant => attachments(node, site).await?,
        _ => Vec::new(),
    };
    port_plan::plan(
        &wiring::of(node).node_ports(),
        role,
        &attachments,
        &model(&site.config),
    )
    .map_err(|error| cannot_be(&error))
}

/// The switches as the configuration describes them.
fn model(config: &Config) -> SiteModel {
    let provisioning = config.provisioning.as_ref();
    let vlans = SiteVlans {
        parked: config.parked_vlan,
        provisioning: provisioning.and_then(|each| each.vlan),
        standby: provisioning.and_then(|each| each.standby_vlan),
        rescue: None,
    };
    let model = SwitchModel {
        vlans,
        largest_mtu: None,
        storm_limit: None,
    };
    let switches = config.switch.iter();
    SiteModel {
        switches: switches
            .map(|switch| (switch.name.clone(), model))
            .collect(),
    }
}

/// What the node's server is attached to.
async fn attachments(node: &NodeRecord, site: &Site) -> Result<Vec<Attachment>, Failure> {
    let store = |error: bessemer_store::Error| Failure::transient(error.to_string());
    let server = node.server.ok_or_else(|| {
        Failure::permanent("the node has no server whose networks it could be put on")
    })?;
    let server = site.store.server(None, &server.to_string()).await;
    let server = server.map_err(store)?;
    let placed = attachments::of_server(&site.store, &server, node).await;
    let placed = placed.map_err(|error| match error {
        attachments::Error::Store(error) => store(error),
        error => Failure::operator(error.to_string()),
    })?;
    Ok(placed.into_iter().map(|each| each.plan).collect())
}

/// A plan that cannot be is an operator's to mend.
fn cannot_be(error: &PlanError) -> Failure {
    Failure::operator(error.to_string())
}

fn failure(error: &bessemer_fabric::Error) -> Failure {
    Failure {
        class: error.class(),
        message: error.to_string(),
    }
}
