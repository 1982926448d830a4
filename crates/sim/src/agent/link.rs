//! The cable between a machine's NIC and its switch port.
//!
//! A simulated machine reaches conductor and tenants over loopback whatever its port carries, so who
//! may be reached is asked here before anything is sent: what is on a real wire decided by frames.

use tokio::sync::watch;

/// A cable to a switch port.
#[derive(Debug, Clone)]
pub struct Link {
    vlan: watch::Receiver<Option<u16>>,
    provisioning: u16,
    parked: u16,
}

impl Link {
    /// A cable to the port that is in `vlan` (`None`: in no single one), where the conductor is in
    /// VLAN `provisioning` and nobody is in VLAN `parked`.
    pub fn new(vlan: watch::Receiver<Option<u16>>, provisioning: u16, parked: u16) -> Self {
        Self {
            vlan,
            provisioning,
            parked,
        }
    }

    /// Whether the port is in the conductor's network.
    pub fn reaches_conductor(&self) -> bool {
        *self.vlan.borrow() == Some(self.provisioning)
    }

    /// Waits until the port is in the conductor's network.
    pub async fn until_with_conductor(&self) {
        let provisioning = Some(self.provisioning);
        self.until(|vlan| vlan == provisioning).await;
    }

    /// Waits until the port is in another network than the conductor's.
    pub async fn until_away(&self) {
        let provisioning = Some(self.provisioning);
        self.until(|vlan| vlan != provisioning).await;
    }

    /// Waits until the port is in a tenant's network.
    pub(super) async fn until_with_tenants(&self) {
        let others = [Some(self.provisioning), Some(self.parked), None];
        self.until(|vlan| !others.contains(&vlan)).await;
    }

    async fn until(&self, wanted: impl Fn(Option<u16>) -> bool) {
        let mut vlan = self.vlan.clone();
        // A switch that is gone changes nothing any more.
        if vlan.wait_for(|vlan| wanted(*vlan)).await.is_err() {
            std::future::pending().await
        }
    }
}
