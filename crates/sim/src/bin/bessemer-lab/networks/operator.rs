//! What the operator does: machines with their bonds, an image, flavors, networks of two projects.

use std::path::Path;

use anyhow::{Context, Result};
use bessemer_sim::rack::{
    NodeDescription, RackDescription, StateDirectory, VLAN_OTHER_TENANT, VLANS_OF_TENANTS,
};
use futures_util::future::try_join_all;

use crate::catalogue::add_image;
use crate::demo::shell::Shell;
use crate::enroll::{enroll, know_switches, wait_for};

/// Where it all takes place.
pub(super) struct Site<'a> {
    /// The operator's.
    pub(super) shell: Shell,
    pub(super) bessemer: &'a Path,
    pub(super) directory: &'a StateDirectory,
    pub(super) rack: &'a RackDescription,
}

/// The bonded NICs of a node.
const BOND: &str = "bond0";

/// Machines that are for rent, an image, and a flavor. All machines are alike but for their NICs: which of
/// them an order gets follows from the bond that it names.
pub(super) async fn prepare(site: &Site<'_>, os_image: &Path) -> Result<()> {
    know_switches(&site.shell, site.rack).await?;
    let nodes = site.rack.nodes.iter().map(|node| available(site, node));
    tokio::try_join!(try_join_all(nodes), image(site, os_image))?;
    let node = site.rack.nodes.first().context("the racks are empty")?;
    let flavor = ["flavor", "create", "metal", "--from-node", &node.name];
    site.shell.json(&flavor).await.map(drop)
}

/// Enrolls a node, waits until it is for rent, and bonds its NICs if there are two.
async fn available(site: &Site<'_>, node: &NodeDescription) -> Result<()> {
    enroll(&site.shell, site.directory, node, "uefi_http").await?;
    let for_rent = |node: &serde_json::Value| node["provision_state"] == "available";
    wait_for(&site.shell, node, for_rent).await?;
    if node.nics.len() > 1 {
        let mut group = vec!["node", "port-group", "create", &node.name, BOND];
        for nic in &node.nics {
            group.extend(["--member", &nic.mac]);
        }
        site.shell.json(&group).await?;
    }
    Ok(())
}

async fn image(site: &Site<'_>, os_image: &Path) -> Result<()> {
    let image = add_image(os_image)?;
    let image: Vec<_> = image.iter().map(String::as_str).collect();
    site.shell.json(&image).await.map(drop)
}

/// Two networks of one project, the first of them with IPv6, too; and two of another project, of which
/// one goes through tunnels between the racks.
pub(super) async fn networks(site: &Site<'_>) -> Result<()> {
    let vlans = VLANS_OF_TENANTS.map(|vlan| vlan.to_string());
    let other = VLAN_OTHER_TENANT.to_string();
    for line in [
        format!(
            "network create front --project alpha --scope private --vlan {} \
             --subnet 192.168.100.0/24 --gateway 192.168.100.1 \
             --pool 192.168.100.10-192.168.100.99",
            vlans[0]
        ),
        "subnet create fd00:100::/64 --network front --pool fd00:100::10-fd00:100::99".to_owned(),
        format!(
            "network create back --project alpha --scope private --vlan {} --subnet 10.101.0.0/24",
            vlans[1]
        ),
        format!(
            "network create other --project beta --scope private --vlan {other} \
             --subnet 192.168.200.0/24 --gateway 192.168.200.1 \
             --pool 192.168.200.10-192.168.200.99"
        ),
        "network create far --project beta --scope private --kind vxlan --vni 5000 \
         --subnet 10.202.0.0/24"
            .to_owned(),
    ] {
        let words: Vec<_> = line.split_whitespace().collect();
        site.shell.json(&words).await?;
    }
    Ok(())
}
