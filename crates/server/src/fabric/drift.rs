//! Ports that no longer carry what they were brought to carry.

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::{Difference, PortPlan, PortState, SwitchPlan};
use bessemer_core::reason::Failure;
use bessemer_fabric::OnFailure;
use bessemer_store::NodeRecord;
use tokio::time::Instant;

use super::{Fabric, Known, failure, plans};
use crate::sightings::Place;
use crate::site::Site;

/// The ports of one switch that are not as planned.
pub struct Drift {
    plan: SwitchPlan,
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
        let mut drifts = Vec::new();
        for plan in plans(node, role, site).await? {
            let Some(Known::Ours(switch)) = self.switches.get(&plan.switch) else {
                continue;
            };
            let ports: Vec<_> = plan
                .ports
                .iter()
                .flat_map(PortPlan::ports)
                .cloned()
                .collect();
            let read = switch.read(&ports, deadline).await;
            let before = read.map_err(|error| {
                let told = format!("ports {} of {}: {error}", ports.join(", "), plan.switch);
                site.sightings.note(node.id, Place::Switch, false, told);
                failure(&error)
            })?;
            let differences = plan.ports.iter().flat_map(|port| port.differences(&before));
            let differences: Vec<_> = differences.collect();
            if differences.iter().any(Difference::misdirects) {
                drifts.push(Drift {
                    plan,
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
        deadline: Instant,
    ) -> Result<Vec<PortState>, Failure> {
        let Some(Known::Ours(switch)) = self.switches.get(&drift.plan.switch) else {
            return Ok(Vec::new());
        };
        let applied = switch.apply(&drift.plan.ports, OnFailure::Keep, deadline);
        match applied.await {
            Ok(applied) => Ok(applied.after),
            Err(error) => Err(failure(&error)),
        }
    }
}
