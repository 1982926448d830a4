//! The site's switches, and bringing a node's ports where the lifecycle wants them.
//!
//! What ports must carry is decided by [`port_plan::plan`]; here its inputs are gathered and its
//! outcome is handed to the switches: one transaction each, the one that the agent boots through
//! last.

mod drift;
mod health;
pub(crate) mod overlay;
mod switches;

use std::sync::Arc;

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::{self, Attachment, DeclaredPort, PlanError, PortState, SwitchPlan};
use bessemer_core::reason::Failure;
use bessemer_fabric::{FlatSwitch, OnFailure, Switch};
use bessemer_store::NodeRecord;
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use self::switches::Loaded;
use crate::failure::store_failure;
use crate::sightings::Place;
use crate::site::Site;
use crate::{attachments, wiring};

pub(crate) use drift::Drift;
pub(crate) use switches::{Driver, Switches, ovsdb};

/// The switches of the site. Nothing is kept but what the store has, and how many requests each has at
/// this moment.
#[derive(Default)]
pub struct Fabric {
    loaded: Loaded,
}

impl Fabric {
    /// The switches as they are in the store at this moment.
    pub(crate) async fn switches(
        &self,
        site: &Site,
    ) -> Result<Arc<Switches>, bessemer_store::Error> {
        self.loaded.at_present(site).await
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
        let switches = self.switches(site).await.map_err(store_failure)?;
        let plans = plans(node, role, &switches, site).await?;
        // A node that is parked is to stay as far parked as it got.
        let on_failure = match role {
            PortRole::Parked => OnFailure::Keep,
            _ => OnFailure::RollBack,
        };
        let apply = async |plan| {
            let applied = apply(node, plan, on_failure, &switches, deadline).await;
            note(site, node, plan, &applied).await;
            applied.map(drop).map_err(|error| failure(&error))
        };
        if role == PortRole::Parked {
            let all = join_all(plans.iter().map(apply)).await;
            return all.into_iter().collect();
        }
        for (index, plan) in plans.iter().enumerate() {
            if let Err(failure) = apply(plan).await {
                take_back(node, &plans[..index], &switches, site, deadline).await;
                return Err(failure);
            }
        }
        Ok(())
    }
}

impl Fabric {
    /// What the switches of `node` must carry in `role`.
    pub(crate) async fn wanted(
        &self,
        node: &NodeRecord,
        role: PortRole,
        site: &Site,
    ) -> Result<Vec<SwitchPlan>, Failure> {
        let switches = self.switches(site).await.map_err(store_failure)?;
        plans(node, role, &switches, site).await
    }

    /// Reads what these ports of a switch carry, and writes it down. Of a switch that is not ours to
    /// ask, nothing is read.
    pub(crate) async fn read(
        &self,
        switch: &str,
        ports: &[String],
        site: &Site,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let switches = self.switches(site).await.map_err(store_failure)?;
        let driver = match switches.driver(switch) {
            Some(Driver::Ours(driver)) => driver,
            Some(Driver::Unusable) => return Err(failure(&unusable(switch))),
            Some(Driver::Flat) | None => return Ok(()),
        };
        let read = driver.read(ports, deadline).await;
        health::note(site, switch, read.as_deref()).await;
        read.map(drop).map_err(|error| failure(&error))
    }
}

/// Brings the switches that `done` has changed back to what they carried before, or parks them if that
/// is not known: the node is not where it was to go, so none of its ports may be.
async fn take_back(
    node: &NodeRecord,
    done: &[SwitchPlan],
    switches: &Switches,
    site: &Site,
    deadline: Instant,
) {
    let role = node.port_role.unwrap_or(PortRole::Parked);
    let before = match plans(node, role, switches, site).await {
        Ok(before) => before,
        Err(failure) => {
            warn!("ports cannot be taken back: {}", failure.message);
            return;
        }
    };
    for plan in before {
        if done.iter().any(|done| done.switch == plan.switch) {
            let applied = apply(node, &plan, OnFailure::Keep, switches, deadline).await;
            note(site, node, &plan, &applied).await;
        }
    }
}

/// Applies a plan; the ports as they are then, read back.
async fn apply(
    node: &NodeRecord,
    plan: &SwitchPlan,
    on_failure: OnFailure,
    switches: &Switches,
    deadline: Instant,
) -> Result<Vec<PortState>, bessemer_fabric::Error> {
    let flat;
    let switch: &dyn Switch = match switches.driver(&plan.switch) {
        Some(Driver::Ours(switch)) => &**switch,
        // The plan knows only switches of the store: there is always one.
        Some(Driver::Unusable) | None => return Err(unusable(&plan.switch)),
        Some(Driver::Flat) => {
            flat = FlatSwitch::new(plan.switch.clone(), declared(node, &plan.switch, switches));
            &flat
        }
    };
    let applied = switch.apply(&plan.ports, on_failure, deadline).await;
    applied.map(|applied| applied.after)
}

fn unusable(switch: &str) -> bessemer_fabric::Error {
    bessemer_fabric::Error::NoCredentials {
        switch: switch.to_owned(),
    }
}

/// What is known of the ports of `node` on a switch that is not ours.
fn declared(node: &NodeRecord, switch: &str, switches: &Switches) -> Vec<DeclaredPort> {
    let ports = node
        .ports
        .iter()
        .filter(|port| port.switch.as_deref() == Some(switch));
    let nics = node.inventory.iter().flat_map(|inventory| &inventory.nics);
    let known = ports.filter_map(|port| {
        let nic = nics.clone().find(|nic| nic.mac == port.mac);
        Some(DeclaredPort {
            port: port.switch_port.clone()?,
            segment: wiring::physical_network(port, switches),
            neighbor: nic.and_then(|nic| nic.lldp.clone()),
        })
    });
    known.collect()
}

/// Notes what became of a plan: with the node for `explain`, and with the switch.
async fn note(
    site: &Site,
    node: &NodeRecord,
    plan: &SwitchPlan,
    applied: &Result<Vec<PortState>, bessemer_fabric::Error>,
) {
    for port in &plan.ports {
        let names: Vec<_> = port.ports().iter().map(String::as_str).collect();
        let place = format!("port {} of {}", names.join(" and "), plan.switch);
        let told = match applied {
            Ok(_) => format!("{place}: {port}, read back"),
            Err(error) => format!("{place}: {error}"),
        };
        let trouble = applied.as_ref().err().map(bessemer_fabric::Error::cause);
        site.sightings.note(node.id, Place::Switch, trouble, told);
    }
    health::note(site, &plan.switch, applied.as_deref()).await;
}

/// Whether the switches of `node` can carry these attachments.
///
/// # Errors
/// What they cannot carry, and why.
pub(crate) fn check(
    node: &NodeRecord,
    attachments: &[Attachment],
    switches: &Switches,
) -> Result<(), PlanError> {
    let (tenant, model) = (PortRole::Tenant, &switches.model);
    port_plan::plan(
        &wiring::of(node, switches).node_ports(),
        tenant,
        attachments,
        model,
    )
    .map(drop)
}

/// What the switches of `node` must carry in `role`.
async fn plans(
    node: &NodeRecord,
    role: PortRole,
    switches: &Switches,
    site: &Site,
) -> Result<Vec<SwitchPlan>, Failure> {
    let attachments = match role {
        PortRole::Tenant => attachments(node, switches, site).await?,
        _ => Vec::new(),
    };
    let ports = wiring::of(node, switches).node_ports();
    port_plan::plan(&ports, role, &attachments, &switches.model).map_err(|error| cannot_be(&error))
}

/// What the node's server is attached to.
async fn attachments(
    node: &NodeRecord,
    switches: &Switches,
    site: &Site,
) -> Result<Vec<Attachment>, Failure> {
    let server = node.server.ok_or_else(|| {
        Failure::permanent(
            Cause::Overtaken,
            "the node has no server whose networks it could be put on",
        )
    })?;
    let server = site.store.server(None, &server.to_string()).await;
    let server = server.map_err(store_failure)?;
    let placed = attachments::of_server(&site.store, switches, &server, node).await;
    let placed = placed.map_err(|error| match error {
        attachments::Error::Store(error) => store_failure(error),
        error => Failure::operator(Cause::SwitchCannotCarry, error.to_string()),
    })?;
    Ok(placed.into_iter().map(|each| each.plan).collect())
}

/// A plan that cannot be is an operator's to mend.
fn cannot_be(error: &PlanError) -> Failure {
    Failure::operator(error.cause(), error.to_string())
}

fn failure(error: &bessemer_fabric::Error) -> Failure {
    error.failure()
}
