//! Servers of one tenant reach each other, on whichever racks they are.

use anyhow::{Result, bail};
use serde_json::json;

use super::tenant::{Server, Tenant};
use super::{Figures, seen};

/// Sends from each server to every address of the other one.
pub(super) async fn between(
    tenant: &Tenant<'_>,
    servers: &[Server],
    figures: &mut Figures,
) -> Result<()> {
    let [one, other] = servers else {
        bail!("two servers were to be compared");
    };
    for (from, to) in [(one, other), (other, one)] {
        for address in to.addresses.concat() {
            tenant
                .run(from, &format!("sudo ping -c 3 -W 5 -q {address}"))
                .await?;
        }
    }
    let what = format!("{} and {} reach each other", one.name, other.name);
    let nodes = [&one.node, &other.node];
    let addresses = [one.addresses.concat(), other.addresses.concat()];
    seen(
        figures,
        &what,
        json!({ "nodes": nodes, "addresses": addresses }),
    );
    Ok(())
}
