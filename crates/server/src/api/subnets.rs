//! Subnets of networks, and how much of each is in use. Who may change a network may change its
//! subnets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::SubnetId;
use bessemer_core::subnet::{IpSubnet, SubnetFault, SubnetPlan};
use bessemer_store::{NewSubnet, SubnetChanges, SubnetFilter, SubnetRecord};
use bessemer_wire::api::{Page, Subnet, SubnetCreate, SubnetUpdate, SubnetUsage};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{Answer, Body, Caller, Path, Query};
use super::problem::{Kind, Refusal};
use super::{answer_with, networks, page};
use crate::config::Config;
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(show, update, delete))
}

/// Which subnets are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubnetQuery {
    /// Only subnets of this network, by name or id.
    network: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// How many subnets at most: 1 to 1000, 100 unless given.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Add a subnet to a network.
///
/// Servers that are on the network already get no address of it.
#[utoipa::path(post, path = "/v1/networks/{network}/subnets", tag = "networks",
    operation_id = "create_subnet",
    params(("network" = String, Path, description = "Name or id")),
    request_body = SubnetCreate, responses((status = 201, body = Subnet)))]
async fn create(
    State(site): State<Site>,
    caller: Caller,
    Path(network): Path<String>,
    Body(request): Body<SubnetCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let network = networks::changeable(&site, &caller, &network).await?;
    let subnet = check(&site.config, "", request)?;
    let now = site.now();
    site.store.create_subnet(network.id, &subnet, now).await?;
    let id = subnet.id.to_string();
    let location = format!("/v1/subnets/{id}");
    let subnet = site.store.subnet(None, &id).await?;
    Ok(answer_with(StatusCode::CREATED, &location, view(subnet)))
}

/// List subnets with their use, in the order in which they were made.
#[utoipa::path(get, path = "/v1/subnets", tag = "networks", operation_id = "list_subnets",
    params(SubnetQuery), responses((status = 200, body = Page<Subnet>)))]
async fn list(
    State(site): State<Site>,
    caller: Caller,
    Query(query): Query<SubnetQuery>,
) -> Answer<Page<Subnet>> {
    let limit = page::limit(query.limit)?;
    let filter = SubnetFilter {
        visible_to: caller.scope(),
        network: match &query.network {
            Some(network) => Some(networks::visible(&site, &caller, network).await?.id),
            None => None,
        },
    };
    let (subnets, next) = site.store.subnets(filter, query.cursor, limit).await?;
    Ok(Json(Page {
        items: subnets.into_iter().map(view).collect(),
        next,
    }))
}

/// Show a subnet.
#[utoipa::path(get, path = "/v1/subnets/{subnet}", tag = "networks", operation_id = "show_subnet",
    params(("subnet" = String, Path, description = "Id, or CIDR with `%2F`")),
    responses((status = 200, body = Subnet)))]
async fn show(
    State(site): State<Site>,
    caller: Caller,
    Path(subnet): Path<String>,
) -> Answer<Subnet> {
    let subnet = site.store.subnet(caller.scope(), &subnet).await?;
    Ok(Json(view(subnet)))
}

/// Change a subnet.
///
/// For servers that are deployed from now on: what runs is not touched.
#[utoipa::path(patch, path = "/v1/subnets/{subnet}", tag = "networks", operation_id = "update_subnet",
    params(("subnet" = String, Path, description = "Id, or CIDR with `%2F`")),
    request_body = SubnetUpdate, responses((status = 200, body = Subnet)))]
async fn update(
    State(site): State<Site>,
    caller: Caller,
    Path(subnet): Path<String>,
    Body(request): Body<SubnetUpdate>,
) -> Answer<Subnet> {
    let subnet = changeable(&site, &caller, &subnet).await?;
    let before = subnet.plan;
    // Checked here for the sake of the words, and once more by the store, under its lock.
    let plan = SubnetPlan {
        cidr: before.cidr,
        gateway: request.gateway.unwrap_or(before.gateway),
        dns: request.dns.clone().unwrap_or(before.dns),
        routes: request.routes.clone().unwrap_or(before.routes),
        pools: request.pools.clone().unwrap_or(before.pools),
    };
    plan.check().map_err(|fault| refuse("", &fault))?;
    let changes = SubnetChanges {
        gateway: request.gateway,
        dns: request.dns,
        routes: request.routes,
        pools: request.pools,
    };
    site.store.change_subnet(subnet.id, changes).await?;
    let subnet = site.store.subnet(None, &subnet.id.to_string()).await?;
    Ok(Json(view(subnet)))
}

/// Delete a subnet.
///
/// Not while an address of it is in use or reserved.
#[utoipa::path(delete, path = "/v1/subnets/{subnet}", tag = "networks", operation_id = "delete_subnet",
    params(("subnet" = String, Path, description = "Id, or CIDR with `%2F`")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    caller: Caller,
    Path(subnet): Path<String>,
) -> Result<StatusCode, Refusal> {
    let subnet = changeable(&site, &caller, &subnet).await?;
    site.store.delete_subnet(subnet.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn changeable(site: &Site, caller: &Caller, subnet: &str) -> Result<SubnetRecord, Refusal> {
    let subnet = site.store.subnet(caller.scope(), subnet).await?;
    let network = subnet.network.to_string();
    networks::changeable(site, caller, &network).await?;
    Ok(subnet)
}

/// Checks a new subnet; `within` is put before the names of its fields.
pub(super) fn check(
    config: &Config,
    within: &str,
    request: SubnetCreate,
) -> Result<NewSubnet, Refusal> {
    let usual = || SubnetPlan::usual_pools(request.cidr, request.gateway);
    let plan = SubnetPlan {
        cidr: request.cidr,
        gateway: request.gateway,
        dns: request.dns,
        routes: request.routes,
        pools: request.pools.unwrap_or_else(usual),
    };
    plan.check().map_err(|fault| refuse(within, &fault))?;
    check_apart(config, &format!("{within}cidr"), plan.cidr)?;
    Ok(NewSubnet {
        id: SubnetId(Uuid::now_v7()),
        plan,
    })
}

/// Refuses a subnet that has addresses of the provisioning network: an agent leaves once nobody
/// answers for the conductor's address any more, and a tenant's server that has it would answer.
fn check_apart(config: &Config, field: &str, cidr: IpSubnet) -> Result<(), Refusal> {
    let Some(provisioning) = &config.provisioning else {
        return Ok(());
    };
    let relayed = provisioning.relayed.iter().map(|each| each.subnet);
    let mut ours = relayed.chain([provisioning.subnet]).map(IpSubnet::from);
    match ours.find(|ours| ours.overlaps(cidr)) {
        Some(ours) => Err(Refusal::new(
            Kind::Conflict,
            format!("{cidr} overlaps {ours}, on which machines boot."),
        )
        .field(field)
        .remedy("Take other addresses.")),
        None => Ok(()),
    }
}

fn refuse(within: &str, fault: &SubnetFault) -> Refusal {
    let refusal = Refusal::invalid(format!("{within}{}", fault.field), &fault.message);
    if fault.remedy.is_empty() {
        refusal
    } else {
        refusal.remedy(fault.remedy)
    }
}

/// The subnet as the API shows it.
pub(super) fn view(subnet: SubnetRecord) -> Subnet {
    Subnet {
        id: subnet.id,
        network: subnet.network,
        network_name: subnet.network_name,
        usage: SubnetUsage {
            pool: subnet.plan.size(),
            free: subnet.free,
            allocated: subnet.allocated,
            reserved: subnet.reserved,
        },
        cidr: subnet.plan.cidr,
        gateway: subnet.plan.gateway,
        dns: subnet.plan.dns,
        routes: subnet.plan.routes,
        pools: subnet.plan.pools,
        created_at: subnet.created_at,
    }
}
