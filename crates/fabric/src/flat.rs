//! Switches that are not ours to change.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{Error, PortPlan, PortState, Switch};

/// The switch of a site without switch control: there is nothing to apply, and every port reads
/// as given. What such a site gives up, that a tenant's machine is kept from the provisioning
/// network by nothing but its own boot order, is for the site's operator to know.
#[derive(Debug, Clone)]
pub struct FlatSwitch {
    name: String,
}

impl FlatSwitch {
    /// The switch called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Switch for FlatSwitch {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_port<'a>(
        &'a self,
        _port: &'a str,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<PortState, Error>> {
        async { Ok(PortState::Uncontrolled) }.boxed()
    }

    fn apply_port<'a>(
        &'a self,
        _port: &'a str,
        _plan: &'a PortPlan,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_port_is_as_planned() {
        let switch = FlatSwitch::new("office");
        let plan = PortPlan::access(100, "tenant").unwrap();
        switch.apply_port("1", &plan, Instant::now()).await.unwrap();
        assert!(
            switch
                .read_port("1", Instant::now())
                .await
                .unwrap()
                .satisfies(&plan)
        );
    }
}
