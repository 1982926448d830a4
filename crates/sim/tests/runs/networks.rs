//! Networks that tenants make for an order and delete after it, from pools that are too small for all of
//! them: VLANs and VNIs are given, given back and given to others.

use std::time::Duration;

use bessemer_core::network::NetworkKind;
use bessemer_core::subnet::AddressPool;
use bessemer_wire::api::{NetworkCreate, SubnetCreate};

use crate::world::World;

/// Of a tenant who waits until a server has left their network.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(20);

/// Makes the network number `number` of a tenant, with a VLAN or VNI from the site's pool; its name, or
/// `None` if it is refused.
pub(crate) async fn make(
    world: &World,
    kind: NetworkKind,
    (machine, number): (usize, u32),
) -> Option<String> {
    let name = format!("n{machine}-{number}");
    let request = NetworkCreate {
        name: name.clone(),
        kind,
        scope: None,
        project: None,
        vlan: None,
        vni: None,
        mtu: None,
        physical_network: None,
        subnets: vec![subnet(machine, number)],
    };
    // Whoever does not know whether they were heard looks first.
    let what = format!("make network {name}");
    let make = async |api: &bessemer_client::Client| match api.network(&name).await {
        Err(error) if error.is_not_found() => api.create_network(&request).await,
        found => found,
    };
    world.ask(&what, make).await?;
    Some(name)
}

fn subnet(machine: usize, number: u32) -> SubnetCreate {
    let prefix = format!("10.{machine}.{number}");
    let address = |last: u8| format!("{prefix}.{last}").parse().unwrap();
    SubnetCreate {
        cidr: format!("{prefix}.0/24").parse().unwrap(),
        gateway: Some(address(1)),
        dns: vec![],
        routes: vec![],
        pools: Some(vec![AddressPool {
            first: address(10),
            last: address(12),
        }]),
    }
}

/// Deletes a network, as soon as no server is on it any more, or leaves it for the site's end.
pub(crate) async fn delete_soon(world: &World, network: &str) {
    for _ in 0..TRIES {
        if delete(world, network).await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes a network; whether it is gone.
pub(crate) async fn delete(world: &World, network: &str) -> bool {
    let what = format!("delete network {network}");
    let deleted = async |api: &bessemer_client::Client| match api.delete_network(network).await {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    };
    world.ask(&what, deleted).await.is_some()
}
