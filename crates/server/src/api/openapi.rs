//! The OpenAPI document: what the handlers do not say themselves.

use std::collections::BTreeMap;

use bessemer_wire::problem::Problem;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, Content, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{OpenApi as _, ToSchema};

use super::problem::CONTENT_TYPE;

/// The document before the handlers: title, tags, how to authenticate.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Bessemer",
        description = "A bare-metal cloud. Send `Authorization: Bearer <token>` with every \
            request under `/v1`. Requests refuse fields that they do not know; answers may grow \
            new ones. Every error is a problem document (RFC 9457) whose `type` is stable.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    security(("token" = [])),
    tags(
        (name = "servers", description = "What tenants rent"),
        (name = "keys", description = "SSH public keys of the caller's project"),
        (name = "nodes", description = "Physical machines (operators)"),
        (name = "places", description = "Sites, racks and switches (operators)"),
        (name = "images", description = "Disk images"),
        (name = "flavors", description = "Classes of hardware offered for rent"),
        (name = "networks", description = "Where servers are reached"),
        (name = "events", description = "What happened, in order"),
        (name = "tokens", description = "API tokens (operators)"),
        (name = "site", description = "Whether the server is well"),
    )
)]
struct Frame;

pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The whole document, as it is served and checked in.
pub fn openapi() -> OpenApi {
    finished(super::documented().into_openapi())
}

/// Adds what is the same for every operation: how one authenticates and how problems are told.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme("token", scheme);
    let problem = Ref::from_schema_name(Problem::name());
    let response = ResponseBuilder::new()
        .description("A problem")
        .content(CONTENT_TYPE, Content::new(Some(problem)))
        .build();
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let responses = &mut operation.responses.responses;
            describe(responses);
            responses.insert("default".into(), response.clone().into());
        }
    }
    document
}

/// Every response must have a description (OpenAPI 3.1, section 4.8.17), even if its status says it
/// all.
fn describe(responses: &mut BTreeMap<String, RefOr<Response>>) {
    for (status, response) in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        if response.description.is_empty() {
            response.description = match status.as_str() {
                "201" => "Made",
                "202" => "Begun",
                "204" => "Gone",
                _ => "As asked for",
            }
            .into();
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}
