//! Explaining a server to its tenant: the same as of its node, without what is the site's own.

use axum::Json;
use axum::extract::State;
use bessemer_core::cause::Cause;
use bessemer_store::ServerRecord;
use bessemer_wire::api::ServerExplanation;

use super::view;
use crate::api::extract::{Answer, Caller, Path};
use crate::api::standing;
use crate::sightings::Place;
use crate::site::Site;

/// Explain what a server is doing, what it waits for, and what is likely wrong.
///
/// Tenants are not told what is the site's own: addresses and accounts of management controllers, switches,
/// serial numbers. The console is that of this server's own start.
#[utoipa::path(get, path = "/v1/servers/{server}/explain", tag = "servers",
    operation_id = "explain_server",
    params(("server" = String, Path, description = "Name or id")),
    responses((status = 200, body = ServerExplanation)))]
pub(super) async fn explain(
    State(site): State<Site>,
    caller: Caller,
    Path(server): Path<String>,
) -> Answer<ServerExplanation> {
    let server = site.store.server(caller.scope(), &server).await?;
    let node = site.store.node_by_id(server.node).await?;
    let ServerRecord { id, ref name, .. } = server;
    let name = name.clone();
    let shown = view::one(&site, server, &caller).await?;
    let remedy = if caller.is_admin() {
        Cause::remedy
    } else {
        Cause::remedy_for_tenants
    };
    let (standing, seen) = standing::of(&site, &node, shown.reason, remedy).await?;
    Ok(Json(ServerExplanation {
        server: id,
        name,
        status: shown.status,
        standing,
        progress: shown.progress,
        report: seen.at(Place::Report).to_vec(),
        console: seen.console_of(Some(id)),
    }))
}
