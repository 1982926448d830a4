//! A bound on what a switch is asked for at the same time.
//!
//! Switches have small processors: a site that moves a thousand nodes at once must not have a
//! thousand requests at one of them. Those that wait here wait in the order in which they came.

use std::sync::Arc;

use bessemer_core::overlay::Tunnels;
use bessemer_core::port_plan::{PortPlan, PortState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::{Applied, Error, OnFailure, Switch, TunnelsApplied};

/// A switch of which no more than a number of things are asked at the same time.
#[derive(Debug)]
pub struct ThrottledSwitch {
    switch: Arc<dyn Switch>,
    places: Semaphore,
    limit: usize,
}

impl ThrottledSwitch {
    /// `switch`, with at most `limit` requests in flight; 0 is taken for 1.
    pub fn new(switch: Arc<dyn Switch>, limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            switch,
            places: Semaphore::new(limit),
            limit,
        }
    }

    async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // It is never closed, so only time can run out.
            Ok(Err(_)) | Err(_) => Err(Error::Busy {
                switch: self.switch.name().to_owned(),
                limit: self.limit,
            }),
        }
    }
}

impl Switch for ThrottledSwitch {
    fn name(&self) -> &str {
        self.switch.name()
    }

    fn read<'a>(
        &'a self,
        ports: &'a [String],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<PortState>, Error>> {
        async move {
            let _place = self.place(deadline).await?;
            self.switch.read(ports, deadline).await
        }
        .boxed()
    }

    fn apply<'a>(
        &'a self,
        plans: &'a [PortPlan],
        on_failure: OnFailure,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Applied, Error>> {
        async move {
            let _place = self.place(deadline).await?;
            self.switch.apply(plans, on_failure, deadline).await
        }
        .boxed()
    }

    fn set_tunnels<'a>(
        &'a self,
        tunnels: &'a [Tunnels],
        deadline: Instant,
    ) -> BoxFuture<'a, Result<TunnelsApplied, Error>> {
        async move {
            let _place = self.place(deadline).await?;
            self.switch.set_tunnels(tunnels, deadline).await
        }
        .boxed()
    }
}
