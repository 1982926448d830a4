//! Networks: where servers are reached. Everybody sees them; operators change them.

use std::net::Ipv4Addr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::NetworkId;
use bessemer_store::NetworkRecord;
use bessemer_wire::api::{Network, NetworkCreate, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Admin, Answer, Body, Caller, Path};
use super::problem::Refusal;
use super::{answer_with, page, values};
use crate::config::Config;
use crate::site::Site;

/// The most addresses in a pool.
const MAX_POOL: u32 = 65_536;

/// The most name servers of a network: resolvers ask no more than three.
const MAX_DNS: usize = 3;

/// Bytes in a packet unless told otherwise (IEEE 802.3).
const USUAL_MTU: u16 = 1500;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, delete))
}

/// List networks.
#[utoipa::path(get, path = "/v1/networks", tag = "networks", operation_id = "list_networks",
    responses((status = 200, body = Page<Network>)))]
async fn list(State(site): State<Site>, _: Caller) -> Answer<Page<Network>> {
    let networks = site.store.networks().await?;
    Ok(Json(page::whole(networks.into_iter().map(view).collect())))
}

/// Make a network.
#[utoipa::path(post, path = "/v1/networks", tag = "networks", operation_id = "create_network",
    request_body = NetworkCreate,
    responses((status = 201, body = Network)))]
async fn create(
    State(site): State<Site>,
    _: Admin,
    Body(request): Body<NetworkCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let network = check(&site.config, request)?;
    site.store.create_network(&network).await?;
    let location = format!("/v1/networks/{}", network.id);
    Ok(answer_with(StatusCode::CREATED, &location, view(network)))
}

/// Show a network.
#[utoipa::path(get, path = "/v1/networks/{network}", tag = "networks", operation_id = "show_network",
    params(("network" = String, Path, description = "Name or id")),
    responses((status = 200, body = Network)))]
async fn show(State(site): State<Site>, _: Caller, Path(network): Path<String>) -> Answer<Network> {
    Ok(Json(view(site.store.network(&network).await?)))
}

/// Delete a network.
///
/// Not while there is a server on it.
#[utoipa::path(delete, path = "/v1/networks/{network}", tag = "networks", operation_id = "delete_network",
    params(("network" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    _: Admin,
    Path(network): Path<String>,
) -> Result<StatusCode, Refusal> {
    let network = site.store.network(&network).await?;
    site.store.delete_network(network.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(config: &Config, request: NetworkCreate) -> Result<NetworkRecord, Refusal> {
    values::name("name", &request.name)?;
    check_vlan(config, request.vlan)?;
    check_pool(&request)?;
    if let Some(gateway) = request.gateway {
        check_host(&request, "gateway", gateway)?;
        if (request.pool_first..=request.pool_last).contains(&gateway) {
            return Err(Refusal::invalid(
                "gateway",
                "It lies in the pool of the servers' addresses.",
            )
            .remedy("Take a gateway outside of `pool_first` to `pool_last`."));
        }
    }
    if request.dns.len() > MAX_DNS {
        return Err(Refusal::invalid(
            "dns",
            format!("At most {MAX_DNS} name servers are asked."),
        ));
    }
    let usable = |address: &Ipv4Addr| !address.is_unspecified() && !address.is_multicast();
    if let Some(index) = request.dns.iter().position(|address| !usable(address)) {
        return Err(Refusal::invalid(
            format!("dns[{index}]"),
            "No name server has this address.",
        ));
    }
    let mtu = request.mtu.unwrap_or(USUAL_MTU);
    if !(1280..=9216).contains(&mtu) {
        return Err(Refusal::invalid(
            "mtu",
            format!("{mtu} is not from 1280 to 9216 bytes."),
        ));
    }
    Ok(NetworkRecord {
        id: NetworkId(Uuid::now_v7()),
        name: request.name,
        vlan: request.vlan,
        subnet: request.subnet,
        gateway: request.gateway,
        dns: request.dns,
        pool_first: request.pool_first,
        pool_last: request.pool_last,
        mtu,
        used: 0,
    })
}

/// A tenant's network is never one of the site's own (invariant 5).
fn check_vlan(config: &Config, vlan: u16) -> Result<(), Refusal> {
    values::vlan("vlan", vlan)?;
    let provisioning = config.provisioning.as_ref();
    let standby = provisioning.and_then(|network| network.standby_vlan);
    let provisioning = provisioning.and_then(|network| network.vlan);
    let whose = match vlan {
        vlan if Some(vlan) == provisioning => "the provisioning network's",
        vlan if Some(vlan) == standby => "that of nodes in standby",
        vlan if vlan == config.parked_vlan => "the one that parked ports are in",
        _ => return Ok(()),
    };
    Err(Refusal::invalid("vlan", format!("VLAN {vlan} is {whose}."))
        .remedy("Take a VLAN that only this network has."))
}

fn check_pool(request: &NetworkCreate) -> Result<(), Refusal> {
    check_host(request, "pool_first", request.pool_first)?;
    check_host(request, "pool_last", request.pool_last)?;
    let (first, last) = (u32::from(request.pool_first), u32::from(request.pool_last));
    if first > last {
        return Err(Refusal::invalid(
            "pool_last",
            "It comes before `pool_first`.",
        ));
    }
    if last - first >= MAX_POOL {
        return Err(Refusal::invalid(
            "pool_last",
            format!("A pool has at most {MAX_POOL} addresses."),
        ));
    }
    Ok(())
}

fn check_host(request: &NetworkCreate, field: &str, address: Ipv4Addr) -> Result<(), Refusal> {
    if request.subnet.contains_host(address) {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("{address} is no host address of {}.", request.subnet),
    ))
}

/// The network as the API shows it.
fn view(network: NetworkRecord) -> Network {
    Network {
        id: network.id,
        name: network.name,
        vlan: network.vlan,
        subnet: network.subnet,
        gateway: network.gateway,
        dns: network.dns,
        pool_first: network.pool_first,
        pool_last: network.pool_last,
        mtu: network.mtu,
        used: network.used,
    }
}
