//! The site's switches, and bringing a node's ports where the lifecycle wants them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::{self, SiteVlans};
use bessemer_core::reason::Failure;
use bessemer_fabric::{OvsdbSwitch, PortPlan, Switch};
use bessemer_store::NodeRecord;
use tokio::time::Instant;

use crate::config::{Config, SwitchDriver};
use crate::sightings::Place;
use crate::site::Site;

/// The switches by name.
pub struct Fabric {
    switches: HashMap<String, Arc<dyn Switch>>,
}

impl Fabric {
    /// The switches that the configuration names; nothing is connected to yet. The error names
    /// the switch and what is wrong with it.
    pub fn new(config: &Config) -> Result<Self, (String, String)> {
        let mut switches: HashMap<String, Arc<dyn Switch>> = HashMap::new();
        for switch in &config.switch {
            let driver: Arc<dyn Switch> = match switch.driver {
                SwitchDriver::Ovsdb => {
                    let address = switch
                        .address
                        .parse()
                        .map_err(|error| (switch.name.clone(), format!("{error}")))?;
                    Arc::new(OvsdbSwitch::new(switch.name.clone(), address))
                }
            };
            switches.insert(switch.name.clone(), driver);
        }
        Ok(Self { switches })
    }

    /// Puts every port of `node` where `role` wants it and sees it there. Ports without a switch
    /// of ours are left alone: the site is flat for them.
    pub async fn connect(
        &self,
        node: &NodeRecord,
        role: PortRole,
        site: &Site,
    ) -> Result<(), Failure> {
        let tenant = match role {
            PortRole::Tenant => Some(tenant_vlan(node, site).await?),
            PortRole::Parked | PortRole::Standby | PortRole::Provisioning => None,
        };
        let vlans = SiteVlans {
            parked: site.config.parked_vlan,
            provisioning: site.config.provisioning.as_ref().and_then(|each| each.vlan),
            standby: site
                .config
                .provisioning
                .as_ref()
                .and_then(|each| each.standby_vlan),
        };
        let limit = Duration::from_secs(u64::from(site.config.timing.bmc_deadline));
        let deadline = Instant::now() + limit;
        for (index, port) in node.ports.iter().enumerate() {
            let (Some(name), Some(switch_port)) = (&port.switch, &port.switch_port) else {
                continue;
            };
            let Some(switch) = self.switches.get(name) else {
                return Err(Failure::operator(format!(
                    "port {} is on switch `{name}`, which the configuration does not name",
                    port.mac
                )));
            };
            let vlan = port_plan::vlan(role, index == 0, vlans, tenant);
            let plan = PortPlan::access(vlan, format!("{} {}", node.name, role_name(role)))
                .map_err(|error| failure(&error))?
                .isolated(index == 0 && port_plan::isolated(role));
            let applied = switch.apply_port(switch_port, &plan, deadline).await;
            let told = match &applied {
                Ok(()) => format!(
                    "port {switch_port} of {name}: VLAN {vlan} ({}), read back",
                    role_name(role)
                ),
                Err(error) => format!("port {switch_port} of {name}: {error}"),
            };
            let well = applied.is_ok();
            site.sightings.note(node.id, Place::Switch, well, told);
            applied.map_err(|error| failure(&error))?;
        }
        Ok(())
    }
}

async fn tenant_vlan(node: &NodeRecord, site: &Site) -> Result<u16, Failure> {
    let store = |error: bessemer_store::Error| Failure::transient(error.to_string());
    let Some(server) = node.server else {
        return Err(Failure::permanent(
            "the node has no server whose network it could be put on",
        ));
    };
    let server = site
        .store
        .server(None, &server.to_string())
        .await
        .map_err(store)?;
    let network = site
        .store
        .network(&server.network.to_string())
        .await
        .map_err(store)?;
    Ok(network.vlan)
}

fn role_name(role: PortRole) -> &'static str {
    match role {
        PortRole::Parked => "parked",
        PortRole::Standby => "standby",
        PortRole::Provisioning => "provisioning",
        PortRole::Tenant => "tenant",
    }
}

fn failure(error: &bessemer_fabric::Error) -> Failure {
    Failure {
        class: error.class(),
        message: error.to_string(),
    }
}
