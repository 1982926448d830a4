//! What the operating system made of its networks at its first boot, without help.

use anyhow::{Context, Result, ensure};
use bessemer_sim::rack::{VLANS_OF_TENANTS, ask_switch};
use serde_json::{Value, json};

use super::operator::Site;
use super::tenant::{Server, Tenant};
use super::{Figures, seen};

/// Bond, both tagged networks and every address are as ordered, and the switch sees its partner.
pub(super) async fn check(
    site: &Site<'_>,
    tenant: &Tenant<'_>,
    server: &Server,
    figures: &mut Figures,
) -> Result<()> {
    let bond = tenant
        .run(server, "sudo cat /proc/net/bonding/bond0")
        .await?;
    for part in ["IEEE 802.3ad", "LACP rate: fast"] {
        ensure!(
            bond.contains(part),
            "{}: no `{part}` in {bond}",
            server.name
        );
    }
    let members = bond.matches("Slave Interface:").count();
    ensure!(members == 2, "{}: {members} members", server.name);

    let links = tenant.run(server, "ip -j address").await?;
    let links: Vec<Value> = serde_json::from_str(&links)?;
    for (vlan, wanted) in VLANS_OF_TENANTS.iter().zip(&server.addresses) {
        let name = format!("bond0.{vlan}");
        let link = links.iter().find(|link| link["ifname"] == *name);
        let link = link.with_context(|| format!("{} has no {name}", server.name))?;
        let has = link["addr_info"].as_array().into_iter().flatten();
        let has: Vec<_> = has.filter_map(|each| each["local"].as_str()).collect();
        for address in wanted {
            ensure!(
                has.contains(&address.to_string().as_str()),
                "{}: {name} has {has:?}, not {address}",
                server.name
            );
        }
    }
    ensure!(
        server
            .addresses
            .concat()
            .iter()
            .any(|address| address.is_ipv6()),
        "{} was to have IPv6",
        server.name
    );
    let members = negotiated(site, server).await?;
    let figure = json!({
        "seconds": (server.seconds * 10.0).round() / 10.0,
        "node": server.node,
        "addresses": server.addresses,
        "lacp_members": members,
    });
    seen(
        figures,
        &format!("{}, bonded, first boot", server.name),
        figure,
    );
    Ok(())
}

/// The members over which the switch and the server speak LACP, as the switch sees it.
pub(super) async fn negotiated(site: &Site<'_>, server: &Server) -> Result<usize> {
    let node = site.rack.node(&server.node)?;
    let switch = site
        .rack
        .switch_of(node)
        .context("the node has no switch")?;
    let nic = node.nics.first().context("the node has no NIC")?;
    let bond = format!("lag-{}", nic.switch_port);
    let shown = ask_switch(switch, &["lacp/show", &bond]).await?;
    ensure!(shown.contains("active negotiated"), "{shown}");
    Ok(shown.matches(": current attached").count())
}
