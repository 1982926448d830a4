//! Networks: what servers are put on. Operators make the ones that everybody may use; every project
//! makes its own, whose VLAN or VNI comes from the site's pool.

mod mtu;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::{NetworkId, ProjectId};
use bessemer_core::network::{NetworkKind, NetworkScope, VNIS};
use bessemer_store::{
    NetworkChanges, NetworkFilter, NetworkRecord, NetworkSort, NewNetwork, NumberFrom,
};
use bessemer_wire::api::{Network, NetworkCreate, NetworkUpdate, Page};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Answer, Body, Caller, Path, Query};
use super::problem::{Kind, Refusal};
use super::{answer_with, page, subnets, values};
use crate::config::Config;
use crate::site::Site;

/// The most subnets that a network is made with; more can be added.
const MAX_FIRST_SUBNETS: usize = 8;

/// Bytes in a packet unless told otherwise (IEEE 802.3).
const USUAL_MTU: u16 = 1500;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
}

/// Which networks are listed, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NetworkQuery {
    /// Only networks of this kind.
    kind: Option<NetworkKind>,
    /// Only networks of this scope.
    scope: Option<NetworkScope>,
    /// Only the private networks of this project, by name or id.
    project: Option<String>,
    /// What they are sorted by: `name` unless given; `-` reverses.
    #[param(inline)]
    sort: Option<SortBy>,
    /// Where to go on: `next` of the page before, in the same order.
    cursor: Option<String>,
    /// How many networks at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// What networks are sorted by.
#[derive(Clone, Copy, Deserialize, ToSchema)]
enum SortBy {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDescending,
    #[serde(rename = "created_at")]
    Created,
    #[serde(rename = "-created_at")]
    CreatedDescending,
}

impl From<SortBy> for NetworkSort {
    fn from(sort: SortBy) -> Self {
        match sort {
            SortBy::Name => Self::Name,
            SortBy::NameDescending => Self::NameDescending,
            SortBy::Created => Self::Created,
            SortBy::CreatedDescending => Self::CreatedDescending,
        }
    }
}

/// List networks.
///
/// Members see the public and shared ones and their project's own; operators see all.
#[utoipa::path(get, path = "/v1/networks", tag = "networks", operation_id = "list_networks",
    params(NetworkQuery), responses((status = 200, body = Page<Network>)))]
async fn list(
    State(site): State<Site>,
    caller: Caller,
    Query(query): Query<NetworkQuery>,
) -> Answer<Page<Network>> {
    let limit = page::limit(query.limit)?;
    let filter = NetworkFilter {
        visible_to: caller.scope(),
        kind: query.kind,
        scope: query.scope,
        project: match &query.project {
            Some(project) => Some(project_of(&site, &caller, "project", Some(project)).await?),
            None => None,
        },
    };
    let sort = query.sort.map_or_else(NetworkSort::default, Into::into);
    let (networks, next) = site
        .store
        .networks(filter, sort, query.cursor, limit)
        .await?;
    Ok(Json(Page {
        items: networks.into_iter().map(view).collect(),
        next,
    }))
}

/// Make a network.
///
/// Members make private ones, for their own project. A VLAN id or VNI that is not given is taken
/// from the site's pool (`fabric.vlan_pool`, `fabric.vni_pool`).
#[utoipa::path(post, path = "/v1/networks", tag = "networks", operation_id = "create_network",
    request_body = NetworkCreate,
    responses((status = 201, body = Network)))]
async fn create(
    State(site): State<Site>,
    caller: Caller,
    Body(request): Body<NetworkCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let network = check(&site, &caller, request).await?;
    site.store.create_network(&network, site.now()).await?;
    let id = network.id.to_string();
    let location = format!("/v1/networks/{id}");
    let network = site.store.network(None, &id).await?;
    Ok(answer_with(StatusCode::CREATED, &location, view(network)))
}

/// Show a network.
#[utoipa::path(get, path = "/v1/networks/{network}", tag = "networks", operation_id = "show_network",
    params(("network" = String, Path, description = "Name or id")),
    responses((status = 200, body = Network)))]
async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(network): Path<String>,
) -> Answer<Network> {
    Ok(Json(view(visible(&site, &caller, &network).await?)))
}

/// Change a network.
///
/// Its kind and its VLAN or VNI stay: they are on switch ports. Members change their own. An MTU that a
/// server on it could not be given, with its other networks and its switches, is refused.
#[utoipa::path(patch, path = "/v1/networks/{network}", tag = "networks", operation_id = "update_network",
    params(("network" = String, Path, description = "Name or id")),
    request_body = NetworkUpdate, responses((status = 200, body = Network)))]
async fn update(
    State(site): State<Site>,
    caller: Caller,
    Path(network): Path<String>,
    Body(request): Body<NetworkUpdate>,
) -> Answer<Network> {
    let network = changeable(&site, &caller, &network).await?;
    if let Some(name) = &request.name {
        values::name("name", name)?;
    }
    if let Some(mtu) = request.mtu {
        check_mtu(mtu)?;
        mtu::check_servers(&site, &network, mtu).await?;
    }
    if let Some(physical_network) = &request.physical_network {
        check_physical_network(&caller, physical_network.as_deref())?;
    }
    let changes = NetworkChanges {
        name: request.name,
        scope: request.scope,
        mtu: request.mtu,
        physical_network: request.physical_network,
    };
    site.store.change_network(network.id, changes).await?;
    let network = site.store.network(None, &network.id.to_string()).await?;
    Ok(Json(view(network)))
}

/// Delete a network, with its subnets.
///
/// Not while a server is on it, or an address of it is reserved.
#[utoipa::path(delete, path = "/v1/networks/{network}", tag = "networks", operation_id = "delete_network",
    params(("network" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    caller: Caller,
    Path(network): Path<String>,
) -> Result<StatusCode, Refusal> {
    let network = changeable(&site, &caller, &network).await?;
    site.store.delete_network(network.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The network that the path names, if the caller may use it.
pub(super) async fn visible(
    site: &Site,
    caller: &Caller,
    network: &str,
) -> Result<NetworkRecord, Refusal> {
    Ok(site.store.network(caller.scope(), network).await?)
}

/// The network that the path names, if the caller may change it.
pub(super) async fn changeable(
    site: &Site,
    caller: &Caller,
    network: &str,
) -> Result<NetworkRecord, Refusal> {
    let network = visible(site, caller, network).await?;
    may_change(caller, network.project)?;
    Ok(network)
}

/// Refuses members who would change what is not their project's own.
pub(super) fn may_change(caller: &Caller, owner: Option<ProjectId>) -> Result<(), Refusal> {
    if caller.is_admin() || owner == Some(caller.project()) {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Forbidden,
        "Public and shared networks are the operators' to change.",
    )
    .remedy("Make a private network of your own, or ask an operator."))
}

/// The project that `name` (or id) means; the caller's without one. Members name their own only.
pub(super) async fn project_of(
    site: &Site,
    caller: &Caller,
    field: &str,
    name: Option<&str>,
) -> Result<ProjectId, Refusal> {
    let Some(name) = name else {
        return Ok(caller.project());
    };
    let projects = site.store.projects().await?;
    let mut projects = projects.into_iter();
    let found = projects.find(|each| each.name == name || each.id.to_string() == name);
    match found.map(|project| project.id) {
        Some(project) if caller.is_admin() || project == caller.project() => Ok(project),
        _ => Err(Refusal::unknown(
            field,
            format!("There is no project {}.", values::quoted(name)),
        )),
    }
}

async fn check(
    site: &Site,
    caller: &Caller,
    request: NetworkCreate,
) -> Result<NewNetwork, Refusal> {
    values::name("name", &request.name)?;
    let scope = check_scope(caller, &request)?;
    if request.physical_network.is_some() {
        check_physical_network(caller, request.physical_network.as_deref())?;
    }
    let number = number(&site.config, caller, &request)?;
    let mtu = request.mtu.unwrap_or(USUAL_MTU);
    check_mtu(mtu)?;
    let private = scope == NetworkScope::Private;
    let project = if private {
        let name = request.project.as_deref();
        Some(project_of(site, caller, "project", name).await?)
    } else {
        None
    };
    if request.subnets.len() > MAX_FIRST_SUBNETS {
        let detail = format!("A network is made with at most {MAX_FIRST_SUBNETS} subnets.");
        return Err(Refusal::invalid("subnets", detail).remedy("Add the others one by one."));
    }
    let mut new = Vec::with_capacity(request.subnets.len());
    for (index, subnet) in request.subnets.into_iter().enumerate() {
        let within = format!("subnets[{index}].");
        new.push(subnets::check(&site.config, &within, subnet)?);
    }
    let limit = site.config.fabric.networks_per_project;
    Ok(NewNetwork {
        id: NetworkId(Uuid::now_v7()),
        name: request.name,
        kind: request.kind,
        scope,
        project,
        number,
        mtu,
        physical_network: request.physical_network,
        subnets: new,
        limit: (private && !caller.is_admin()).then_some(limit),
    })
}

fn check_scope(caller: &Caller, request: &NetworkCreate) -> Result<NetworkScope, Refusal> {
    let usual = if caller.is_admin() && request.project.is_none() {
        NetworkScope::Public
    } else {
        NetworkScope::Private
    };
    let scope = request.scope.unwrap_or(usual);
    if scope != NetworkScope::Private && !caller.is_admin() {
        return Err(Refusal::new(
            Kind::Forbidden,
            "Public and shared networks are made by operators.",
        )
        .field("scope")
        .remedy("Make a private one, or ask an operator."));
    }
    if scope != NetworkScope::Private && request.project.is_some() {
        return Err(
            Refusal::invalid("project", "Only private networks are a project's own.")
                .remedy("Leave it out, or say `scope: private`."),
        );
    }
    Ok(scope)
}

/// Where the network's VLAN id or VNI comes from.
fn number(
    config: &Config,
    caller: &Caller,
    request: &NetworkCreate,
) -> Result<NumberFrom, Refusal> {
    let (field, given, other) = match request.kind {
        NetworkKind::Vlan => ("vlan", request.vlan.map(u32::from), ("vni", request.vni)),
        NetworkKind::Vxlan => ("vni", request.vni, ("vlan", request.vlan.map(u32::from))),
    };
    let kind = request.kind.name();
    if let (name, Some(_)) = other {
        return Err(Refusal::invalid(
            name,
            format!("A {kind} network has none."),
        ));
    }
    match given {
        Some(_) if !caller.is_admin() => Err(Refusal::new(
            Kind::Forbidden,
            "It is chosen from the site's pool; only operators give one.",
        )
        .field(field)
        .remedy("Leave it out.")),
        Some(number) => {
            check_number(config, request.kind, number)?;
            Ok(NumberFrom::Given(number))
        }
        None => from_pool(config, request.kind, field),
    }
}

fn check_number(config: &Config, kind: NetworkKind, number: u32) -> Result<(), Refusal> {
    match kind {
        // Only what fits 16 bits is read as a VLAN.
        NetworkKind::Vlan => check_vlan(config, u16::try_from(number).unwrap_or(u16::MAX)),
        NetworkKind::Vxlan if VNIS.contains(number) => Ok(()),
        NetworkKind::Vxlan => Err(Refusal::invalid(
            "vni",
            format!("{number} is not from 1 to {}.", VNIS.last),
        )),
    }
}

/// A tenant's network is never one of the site's own (invariant 5). Those of single switches are the
/// store's to refuse, which knows them.
fn check_vlan(config: &Config, vlan: u16) -> Result<(), Refusal> {
    values::vlan("vlan", vlan)?;
    let usual = config.usual_vlans();
    let whose = match vlan {
        vlan if Some(vlan) == usual.provisioning => "the provisioning network's",
        vlan if Some(vlan) == usual.standby => "that of nodes in standby",
        vlan if vlan == usual.parked => "the one that parked ports are in",
        _ => return Ok(()),
    };
    Err(Refusal::invalid("vlan", format!("VLAN {vlan} is {whose}."))
        .remedy("Take a VLAN that only this network has."))
}

/// The pool that numbers of this kind are taken from, without the site's own.
fn from_pool(config: &Config, kind: NetworkKind, field: &str) -> Result<NumberFrom, Refusal> {
    let own = config.usual_vlans().all().map(u32::from).collect();
    let (key, pool, own) = match kind {
        NetworkKind::Vlan => ("vlan_pool", &config.fabric.vlan_pool, own),
        NetworkKind::Vxlan => ("vni_pool", &config.fabric.vni_pool, Vec::new()),
    };
    let pool = pool.as_ref().ok_or_else(|| {
        let detail = format!("None is given, and the site has no pool (`fabric.{key}`).");
        Refusal::invalid(field, detail)
            .remedy("An operator gives one, or configures a pool for everybody.")
    })?;
    Ok(NumberFrom::Pool {
        name: format!("pool `fabric.{key}` ({pool})"),
        ranges: pool.without(&own),
    })
}

fn check_mtu(mtu: u16) -> Result<(), Refusal> {
    if (1280..=9216).contains(&mtu) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "mtu",
        format!("{mtu} is not from 1280 to 9216 bytes."),
    ))
}

/// What a network is part of is a matter of cables.
fn check_physical_network(caller: &Caller, name: Option<&str>) -> Result<(), Refusal> {
    if !caller.is_admin() {
        return Err(Refusal::new(
            Kind::Forbidden,
            "Only operators say which physical network a network is part of.",
        )
        .field("physical_network")
        .remedy("Leave it out, or ask an operator."));
    }
    name.map_or(Ok(()), |name| values::name("physical_network", name))
}

/// The network as the API shows it.
fn view(network: NetworkRecord) -> Network {
    Network {
        id: network.id,
        name: network.name,
        kind: network.kind,
        scope: network.scope,
        project: network.project,
        vlan: network.vlan,
        vni: network.vni,
        mtu: network.mtu,
        physical_network: network.physical_network,
        servers: network.servers,
        subnets: network.subnets.into_iter().map(subnets::view).collect(),
        created_at: network.created_at,
    }
}
