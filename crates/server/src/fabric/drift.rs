//! Ports that no longer carry what they were brought to carry.

use std::sync::Arc;

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::{Difference, PortPlan, PortState, SwitchPlan};
use bessemer_core::reason::Failure;
use bessemer_fabric::{OnFailure, Switch};
use bessemer_store::NodeRecord;
use tokio::time::Instant;

use super::{Driver, Fabric, failure, health, plans, unusable};
use crate::failure::store_failure;
use crate::sightings::Place;
use crate::site::Site;

/// The ports of one switch that are not as planned.
pub struct Drift {
    plan: SwitchPlan,
    driver: Arc<dyn Switch>,
    /// What is not as planned.
    pub differences: Vec<Difference>,
    /// The ports as they were found.
    pub before: Vec<PortState>,
}

impl Drift {
    /// What was found, for people.
    pub fn told(&self) -> String {
        let told = self.differences.iter().map(Difference::to_string);
        let told: Vec<_> = told.collect();
        format!("{}: {}", self.plan.switch, told.join("; "))
    }

    /// Which switch it is.
    pub fn switch(&self) -> &str {
        &self.plan.switch
    }
}

impl Fabric {
    /// What is not as planned on the ports of `node`, which should be in `role`.
    pub async fn drifts(
        &self,
        node: &NodeRecord,
        role: PortRole,
        site: &Site,
        deadline: Instant,
    ) -> Result<Vec<Drift>, Failure> {
        let switches = self.switches(site).await.map_err(store_failure)?;
        let mut drifts = Vec::new();
        for plan in plans(node, role, &switches, site).await? {
            let driver = match switches.driver(&plan.switch) {
                Some(Driver::Ours(driver)) => driver.clone(),
                Some(Driver::Unusable) => return Err(failure(&unusable(&plan.switch))),
                Some(Driver::Flat) | None => continue,
            };
            let ports: Vec<_> = plan
                .ports
                .iter()
                .flat_map(PortPlan::ports)
                .cloned()
                .collect();
            let read = driver.read(&ports, deadline).await;
            health::note(site, &plan.switch, read.as_deref()).await;
            let before = read.map_err(|error| {
                let told = format!("ports {} of {}: {error}", ports.join(", "), plan.switch);
                let trouble = Some(error.cause());
                site.sightings.note(node.id, Place::Switch, trouble, told);
                failure(&error)
            })?;
            let differences = plan.ports.iter().flat_map(|port| port.differences(&before));
            let differences: Vec<_> = differences.collect();
            if differences.iter().any(Difference::misdirects) {
                drifts.push(Drift {
                    plan,
                    driver,
                    differences,
                    before,
                });
            }
        }
        Ok(drifts)
    }

    /// Puts the ports of `drift` back and gives them as they are then. Whatever becomes of it, they
    /// are not put back to what they should not be.
    pub async fn put_back(
        &self,
        drift: &Drift,
        site: &Site,
        deadline: Instant,
    ) -> Result<Vec<PortState>, Failure> {
        let plan = &drift.plan;
        let applied = drift.driver.apply(&plan.ports, OnFailure::Keep, deadline);
        let after = applied.await.map(|applied| applied.after);
        health::note(site, &plan.switch, after.as_deref()).await;
        after.map_err(|error| failure(&error))
    }
}
