//! Addresses that are not free: who has them and had them, and reserving, releasing and moving them.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::Timestamp;
use bessemer_core::id::ProjectId;
use bessemer_store::{
    AddressFilter, AddressHistoryEntry as HistoryRecord, AddressHistoryFilter, AddressRecord,
    AddressSort, Error, NetworkRecord, Reservation,
};
use bessemer_wire::api::{Address, AddressHistoryEntry, AddressMove, AddressReserve, Page};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Answer, Body, Caller, Path, Query};
use super::problem::{Kind, Refusal};
use super::{answer_with, networks, page, reference, values};
use crate::site::Site;

/// The longest description of an address, in characters.
const MAX_DESCRIPTION: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, reserve))
        .routes(routes!(history))
        .routes(routes!(show, release))
        .routes(routes!(move_to))
}

/// Which addresses are listed, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AddressQuery {
    /// Only addresses of this network, by name or id.
    network: Option<String>,
    /// Only addresses of this subnet, by CIDR or id.
    subnet: Option<String>,
    /// Only addresses of this server, by name or id.
    server: Option<String>,
    /// Only addresses of this project, by name or id; operators see those of all.
    project: Option<String>,
    /// Only addresses that a server has (`true`), or none (`false`).
    allocated: Option<bool>,
    /// What they are sorted by: `address` unless given, by subnet then; `-` reverses.
    #[param(inline)]
    sort: Option<SortBy>,
    /// Where to go on: `next` of the page before, in the same order.
    cursor: Option<String>,
    /// How many addresses at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// What addresses are sorted by.
#[derive(Clone, Copy, Deserialize, ToSchema)]
enum SortBy {
    #[serde(rename = "address")]
    Address,
    #[serde(rename = "-address")]
    AddressDescending,
    #[serde(rename = "since")]
    Since,
    #[serde(rename = "-since")]
    SinceDescending,
}

impl From<SortBy> for AddressSort {
    fn from(sort: SortBy) -> Self {
        match sort {
            SortBy::Address => Self::Address,
            SortBy::AddressDescending => Self::AddressDescending,
            SortBy::Since => Self::Since,
            SortBy::SinceDescending => Self::SinceDescending,
        }
    }
}

/// Which part of the history is shown.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Only of this address.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// Only of this network, by name or id.
    network: Option<String>,
    /// Only of this server, by name or id; by id also if it is gone.
    server: Option<String>,
    /// Only what was so at this moment, such as `2026-11-21T10:00:00Z`.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// How many entries at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// List the addresses that are not free.
///
/// Members see those of their project, operators all.
#[utoipa::path(get, path = "/v1/addresses", tag = "addresses", operation_id = "list_addresses",
    params(AddressQuery), responses((status = 200, body = Page<Address>)))]
async fn list(
    State(site): State<Site>,
    caller: Caller,
    Query(query): Query<AddressQuery>,
) -> Answer<Page<Address>> {
    let limit = page::limit(query.limit)?;
    let filter = AddressFilter {
        project: match &query.project {
            Some(name) => Some(networks::project_of(&site, &caller, "project", Some(name)).await?),
            None => caller.scope(),
        },
        network: match &query.network {
            Some(network) => Some(networks::visible(&site, &caller, network).await?.id),
            None => None,
        },
        subnet: match &query.subnet {
            Some(subnet) => Some(site.store.subnet(caller.scope(), subnet).await?.id),
            None => None,
        },
        server: match &query.server {
            Some(server) => Some(site.store.server(caller.scope(), server).await?.id),
            None => None,
        },
        allocated: query.allocated,
    };
    let sort = query.sort.map_or_else(AddressSort::default, Into::into);
    let store = &site.store;
    let (addresses, next) = store.addresses(filter, sort, query.cursor, limit).await?;
    Ok(Json(Page {
        items: addresses.into_iter().map(view).collect(),
        next,
    }))
}

/// Reserve an address.
///
/// The next free one, or a given one: it stays the project's until it is released, whether a server
/// has it or not. An order can name it for its server.
#[utoipa::path(post, path = "/v1/addresses", tag = "addresses", operation_id = "reserve_address",
    request_body = AddressReserve, responses((status = 201, body = Address)))]
async fn reserve(
    State(site): State<Site>,
    caller: Caller,
    Body(request): Body<AddressReserve>,
) -> Result<impl IntoResponse, Refusal> {
    let reservation = check(&site, &caller, request).await?;
    let reserved = site.store.reserve_address(&reservation, site.now()).await;
    let address = reserved.map_err(|error| {
        let exhausted = matches!(error, Error::Exhausted { .. });
        let refusal = Refusal::from(error);
        if exhausted {
            refusal.field("network")
        } else {
            refusal
        }
    })?;
    let (network, text) = (address.network, address.address);
    let location = format!("/v1/networks/{network}/addresses/{text}");
    Ok(answer_with(StatusCode::CREATED, &location, view(address)))
}

/// Show an address that is not free.
#[utoipa::path(get, path = "/v1/networks/{network}/addresses/{address}", tag = "addresses",
    operation_id = "show_address",
    params(("network" = String, Path, description = "Name or id"),
        ("address" = String, Path, description = "The address")),
    responses((status = 200, body = Address)))]
async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path((network, address)): Path<(String, IpAddr)>,
) -> Answer<Address> {
    Ok(Json(view(find(&site, &caller, &network, address).await?)))
}

/// Release a reserved address.
///
/// It is free then; or, if a server has it, goes when the server goes.
#[utoipa::path(delete, path = "/v1/networks/{network}/addresses/{address}", tag = "addresses",
    operation_id = "release_address",
    params(("network" = String, Path, description = "Name or id"),
        ("address" = String, Path, description = "The address")),
    responses((status = 204)))]
async fn release(
    State(site): State<Site>,
    caller: Caller,
    Path((network, address)): Path<(String, IpAddr)>,
) -> Result<StatusCode, Refusal> {
    let address = find(&site, &caller, &network, address).await?;
    site.store.release_address(&address, site.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Move a reserved address to a server.
///
/// From then on it is that server's: in what is shown here, and in what its next deployment (or that
/// of the server which had it) writes down. Systems that run are for their owner to change.
#[utoipa::path(post, path = "/v1/networks/{network}/addresses/{address}/move", tag = "addresses",
    operation_id = "move_address",
    params(("network" = String, Path, description = "Name or id"),
        ("address" = String, Path, description = "The address")),
    request_body = AddressMove, responses((status = 200, body = Address)))]
async fn move_to(
    State(site): State<Site>,
    caller: Caller,
    Path((network, address)): Path<(String, IpAddr)>,
    Body(request): Body<AddressMove>,
) -> Answer<Address> {
    let address = find(&site, &caller, &network, address).await?;
    let server = site.store.server(caller.scope(), &request.server).await;
    let server = reference("server", server)?.id;
    let now = site.now();
    let moved = site.store.move_address(&address, server, now).await?;
    Ok(Json(view(moved)))
}

/// Tell who had which address when, the latest first.
///
/// Kept for two years after it ended. Members see what was their project's, operators all.
#[utoipa::path(get, path = "/v1/addresses/history", tag = "addresses",
    operation_id = "address_history",
    params(HistoryQuery), responses((status = 200, body = Page<AddressHistoryEntry>)))]
async fn history(
    State(site): State<Site>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> Answer<Page<AddressHistoryEntry>> {
    let limit = page::limit(query.limit)?;
    let filter = AddressHistoryFilter {
        project: caller.scope(),
        address: query.address,
        network: match &query.network {
            // Its id will do when it is gone.
            Some(network) => Some(match network.parse() {
                Ok(id) => id,
                Err(_) => networks::visible(&site, &caller, network).await?.id,
            }),
            None => None,
        },
        server: match &query.server {
            Some(server) => Some(match server.parse() {
                Ok(id) => id,
                Err(_) => site.store.server(caller.scope(), server).await?.id,
            }),
            None => None,
        },
        at: query.at,
    };
    let store = &site.store;
    let (entries, next) = store.address_history(filter, query.cursor, limit).await?;
    let admin = caller.is_admin();
    Ok(Json(Page {
        items: entries.into_iter().map(|line| entry(line, admin)).collect(),
        next,
    }))
}

async fn find(
    site: &Site,
    caller: &Caller,
    network: &str,
    address: IpAddr,
) -> Result<AddressRecord, Refusal> {
    let network = networks::visible(site, caller, network).await?;
    let found = site
        .store
        .address(caller.scope(), network.id, address)
        .await;
    Ok(found?)
}

async fn check(
    site: &Site,
    caller: &Caller,
    request: AddressReserve,
) -> Result<Reservation, Refusal> {
    if !request.description.is_empty() {
        values::text("description", &request.description, MAX_DESCRIPTION)?;
    }
    let network = site.store.network(caller.scope(), &request.network).await;
    let network = reference("network", network)?;
    let project = owner(site, caller, &network, &request).await?;
    let subnet = match &request.subnet {
        Some(subnet) => Some(subnet_of(&network, subnet)?),
        None => None,
    };
    if let Some(address) = request.address {
        check_address(&network, "address", address)?;
        check_pool(caller, &network, "address", address)?;
    }
    let limit = site.config.fabric.addresses_per_project;
    Ok(Reservation {
        network: network.id,
        subnet,
        address: request.address,
        project,
        description: request.description,
        limit: (!caller.is_admin()).then_some(limit),
    })
}

/// Whose a reserved address is to be.
async fn owner(
    site: &Site,
    caller: &Caller,
    network: &NetworkRecord,
    request: &AddressReserve,
) -> Result<Option<ProjectId>, Refusal> {
    if request.nobody {
        if !caller.is_admin() {
            return Err(Refusal::new(
                Kind::Forbidden,
                "Only operators keep addresses from everybody.",
            )
            .field("nobody"));
        }
        return Ok(None);
    }
    let named = request.project.as_deref();
    let project = networks::project_of(site, caller, "project", named).await?;
    match network.project {
        // A private network's addresses are of use to its project alone.
        Some(owner) if named.is_none() => Ok(Some(owner)),
        Some(owner) if owner != project => Err(Refusal::invalid(
            "project",
            "The network is another project's own.",
        )),
        _ => Ok(Some(project)),
    }
}

fn subnet_of(
    network: &NetworkRecord,
    cidr_or_id: &str,
) -> Result<bessemer_core::id::SubnetId, Refusal> {
    let named = |id: String, cidr: String| id == cidr_or_id || cidr == cidr_or_id;
    let mut subnets = network.subnets.iter();
    let found = subnets.find(|subnet| named(subnet.id.to_string(), subnet.plan.cidr.to_string()));
    found.map(|subnet| subnet.id).ok_or_else(|| {
        let (name, which) = (&network.name, values::quoted(cidr_or_id));
        Refusal::unknown("subnet", format!("Network {name} has no subnet {which}."))
    })
}

/// Refuses an address that no host of the network's subnets can have.
pub(super) fn check_address(
    network: &NetworkRecord,
    field: &str,
    address: IpAddr,
) -> Result<(), Refusal> {
    let mut subnets = network.subnets.iter().map(|subnet| &subnet.plan);
    let Some(subnet) = subnets.find(|plan| plan.cidr.contains_host(address)) else {
        let all = network.subnets.iter();
        let all: Vec<_> = all.map(|subnet| subnet.plan.cidr.to_string()).collect();
        let detail = format!(
            "{address} is no host address of a subnet of network {} ({}).",
            network.name,
            if all.is_empty() {
                "it has none".to_owned()
            } else {
                all.join(", ")
            }
        );
        return Err(Refusal::invalid(field, detail));
    };
    if subnet.gateway == Some(address) {
        let detail = format!("{address} is the gateway of {}.", subnet.cidr);
        return Err(Refusal::invalid(field, detail));
    }
    Ok(())
}

/// Refuses members an address that a network of everybody gives to nobody: it is likely the
/// operators' own.
pub(super) fn check_pool(
    caller: &Caller,
    network: &NetworkRecord,
    field: &str,
    address: IpAddr,
) -> Result<(), Refusal> {
    let mut subnets = network.subnets.iter();
    let in_pool = subnets.any(|subnet| subnet.plan.in_pool(address));
    if in_pool || network.project.is_some() || caller.is_admin() {
        return Ok(());
    }
    let detail = format!("{address} is in no pool of network {}.", network.name);
    Err(Refusal::invalid(field, detail)
        .remedy("Take one of the pools, or have an operator reserve it for your project."))
}

/// The address as the API shows it.
fn view(address: AddressRecord) -> Address {
    let (server, server_name) = address.server.unzip();
    Address {
        address: address.address,
        subnet: address.subnet,
        cidr: address.cidr,
        network: address.network,
        network_name: address.network_name,
        project: address.project,
        server,
        server_name,
        reserved: address.reserved,
        description: address.description,
        since: address.since,
    }
}

/// An entry as the API shows it: nodes are the operators' business.
fn entry(line: HistoryRecord, admin: bool) -> AddressHistoryEntry {
    AddressHistoryEntry {
        address: line.address,
        subnet: line.subnet,
        network: line.network,
        network_name: line.network_name,
        project: line.project,
        server: line.server,
        server_name: line.server_name,
        node: line.node.filter(|_| admin),
        since: line.since,
        until: line.until,
    }
}
