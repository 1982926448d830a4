//! Switches that are not ours to change.

use bessemer_core::overlay::Tunnels;
use bessemer_core::port_plan::{DeclaredPort, PortPlan, PortState, check_flat};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::switch::ports_of;
use crate::{Applied, Error, OnFailure, Switch, TunnelsApplied};

/// The switch of a site without switch control: there is nothing to apply. What is known of its ports
/// (what LLDP told, which physical network was declared) is held against every plan. What such a site
/// gives up, that a tenant's machine is kept from the provisioning network by nothing but its own boot
/// order, is for the site's operator to know.
#[derive(Debug, Clone)]
pub struct FlatSwitch {
    name: String,
    declared: Vec<DeclaredPort>,
}

impl FlatSwitch {
    /// The switch called `name`, of whose ports `declared` is known.
    pub fn new(name: impl Into<String>, declared: Vec<DeclaredPort>) -> Self {
        Self {
            name: name.into(),
            declared,
        }
    }
}

impl Switch for FlatSwitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(
        &'a self,
        ports: &'a [String],
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PortState>, Error>> {
        async { Ok(ports.iter().map(PortState::uncontrolled).collect()) }.boxed()
    }

    fn apply<'a>(
        &'a self,
        plans: &'a [PortPlan],
        _on_failure: OnFailure,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Applied, Error>> {
        async move {
            for plan in plans {
                check_flat(&self.name, plan, &self.declared)?;
            }
            let ports = ports_of(plans);
            let states: Vec<_> = ports.iter().map(PortState::uncontrolled).collect();
            Ok(Applied {
                before: states.clone(),
                after: states,
            })
        }
        .boxed()
    }

    fn set_tunnels<'a>(
        &'a self,
        tunnels: &'a [Tunnels],
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<TunnelsApplied, Error>> {
        async move {
            match tunnels.first() {
                None => Ok(TunnelsApplied::default()),
                Some(network) => Err(Error::Unable {
                    switch: self.name.clone(),
                    port: network.beside.clone(),
                    problem: format!(
                        "VNI {} needs tunnels, and this switch is not ours to change",
                        network.vni
                    ),
                }),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::hardware::LldpNeighbor;
    use bessemer_core::port_plan::PortMode;
    use bessemer_core::reason::FailureClass;

    #[tokio::test]
    async fn tunnels_are_for_switches_that_are_ours() {
        let switch = FlatSwitch::new("office", vec![]);
        switch.set_tunnels(&[], Instant::now()).await.unwrap();
        let tunnels = Tunnels {
            vni: 5000,
            vlan: 100,
            remotes: ["10.50.0.2".parse().unwrap()].into(),
            beside: "7".to_owned(),
        };
        let error = switch.set_tunnels(&[tunnels], Instant::now()).await;
        assert_eq!(error.unwrap_err().class(), FailureClass::Operator);
    }

    #[tokio::test]
    async fn a_plan_is_checked_and_nothing_applied() {
        let plan = PortPlan::port("7", PortMode::Access { vlan: 100 }, "tenant").unwrap();
        let heard = |port: &str| DeclaredPort {
            port: "7".to_owned(),
            segment: None,
            neighbor: Some(LldpNeighbor {
                chassis: "52:54:00:00:00:01".to_owned(),
                port: port.to_owned(),
                system_name: Some("office".to_owned()),
            }),
        };
        let plans = [plan];
        let good = FlatSwitch::new("office", vec![heard("7")]);
        let applied = good.apply(&plans, OnFailure::RollBack, Instant::now());
        let after = applied.await.unwrap().after;
        assert_eq!(plans[0].differences(&after), []);
        let wrong = FlatSwitch::new("office", vec![heard("8")]);
        let applied = wrong.apply(&plans, OnFailure::RollBack, Instant::now());
        let error = applied.await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Operator);
        assert!(error.to_string().contains("port `8`"), "{error}");
    }
}
