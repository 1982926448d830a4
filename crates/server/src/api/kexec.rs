//! Where `kexec` is known to work, and where not. Operators only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bessemer_store::KexecOutcome as Record;
use bessemer_wire::api::{KexecOutcome, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Admin, Answer, Query};
use super::page;
use super::problem::Refusal;
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list, forget))
}

/// Which outcome is meant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Maker and product, as listed.
    model: String,
    /// Release of the kernel, as listed.
    kernel: String,
}

/// List what became of `kexec`, by model of machine and kernel.
///
/// Where it failed the last time, flavors that say `try_kexec` power-cycle at once.
#[utoipa::path(get, path = "/v1/kexec-outcomes", tag = "nodes", operation_id = "list_kexec_outcomes",
    responses((status = 200, body = Page<KexecOutcome>)))]
async fn list(State(site): State<Site>, _: Admin) -> Answer<Page<KexecOutcome>> {
    let outcomes = site.store.kexec_outcomes().await?;
    Ok(Json(page::whole(outcomes.into_iter().map(view).collect())))
}

/// Forget what became of `kexec` of one kernel on one model, so that it is tried again.
#[utoipa::path(delete, path = "/v1/kexec-outcomes", tag = "nodes",
    operation_id = "forget_kexec_outcome", params(Which), responses((status = 204)))]
async fn forget(
    State(site): State<Site>,
    _: Admin,
    Query(which): Query<Which>,
) -> Result<StatusCode, Refusal> {
    site.store.forget_kexec(&which.model, &which.kernel).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(outcome: Record) -> KexecOutcome {
    KexecOutcome {
        model: outcome.model,
        kernel: outcome.kernel,
        worked: outcome.worked,
        failed: outcome.failed,
        last_worked: outcome.last_worked,
        last_at: outcome.last_at,
    }
}
