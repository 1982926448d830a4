//! Images: importing, showing and deleting them. Everybody sees them; operators change them.

use std::path::Path as FilePath;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_core::id::ImageId;
use bessemer_image::digest::Sha256Digest;
use bessemer_store::ImageRecord;
use bessemer_wire::api::{Image, ImageCreate, ImageStatus, Page};
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answer_with;
use super::extract::{Admin, Answer, Body, Caller, Path};
use super::page;
use super::problem::{Refusal, sentence};
use super::values;
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, delete))
}

/// List images.
#[utoipa::path(get, path = "/v1/images", tag = "images", operation_id = "list_images",
    responses((status = 200, body = Page<Image>)))]
async fn list(State(site): State<Site>, _: Caller) -> Answer<Page<Image>> {
    let images = site.store.images().await?;
    Ok(Json(page::whole(
        images.into_iter().map(|image| view(&site, image)).collect(),
    )))
}

/// Import an image.
///
/// The import goes on in the background: ask for the image to see how far it is. Put no secret
/// into the URL: it is stored as it is (though shown without its query).
#[utoipa::path(post, path = "/v1/images", tag = "images", operation_id = "create_image",
    request_body = ImageCreate,
    responses((status = 202, body = Image)))]
async fn create(
    State(site): State<Site>,
    _: Admin,
    Body(request): Body<ImageCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let image = check(&site, request).await?;
    site.store.create_image(&image).await?;
    site.images.start_import(&site.store, image.clone());
    let location = format!("/v1/images/{}", image.id);
    Ok(answer_with(
        StatusCode::ACCEPTED,
        &location,
        view(&site, image),
    ))
}

/// Show an image.
#[utoipa::path(get, path = "/v1/images/{image}", tag = "images", operation_id = "show_image",
    params(("image" = String, Path, description = "Name or id")),
    responses((status = 200, body = Image)))]
async fn show(State(site): State<Site>, _: Caller, Path(image): Path<String>) -> Answer<Image> {
    let image = site.store.image(&image).await?;
    Ok(Json(view(&site, image)))
}

/// Delete an image, or stop its import.
///
/// Not while a server was made from it.
#[utoipa::path(delete, path = "/v1/images/{image}", tag = "images", operation_id = "delete_image",
    params(("image" = String, Path, description = "Name or id")),
    responses((status = 204)))]
async fn delete(
    State(site): State<Site>,
    _: Admin,
    Path(image): Path<String>,
) -> Result<StatusCode, Refusal> {
    let image = site.store.image(&image).await?;
    site.store.delete_image(image.id).await?;
    if let Err(error) = site.images.delete(image.id).await {
        // It is gone for everybody; only disk space is not.
        tracing::warn!(%error, image = %image.id, "an image's files could not be removed");
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn check(site: &Site, request: ImageCreate) -> Result<ImageRecord, Refusal> {
    values::name("name", &request.name)?;
    let sha256: Sha256Digest = request
        .sha256
        .parse()
        .map_err(|error| Refusal::invalid("sha256", sentence(&error)))?;
    if let Some(user) = &request.default_user {
        values::text("default_user", user, 32)?;
    }
    check_source(&request.source).await?;
    Ok(ImageRecord {
        id: ImageId(Uuid::now_v7()),
        name: request.name,
        status: ImageStatus::Importing,
        message: None,
        source: request.source,
        sha256: sha256.to_string(),
        virtual_size: None,
        data_bytes: None,
        default_user: request.default_user,
        created_at: site.now(),
    })
}

/// The source is not repeated in errors: people write passwords into URLs.
async fn check_source(source: &str) -> Result<(), Refusal> {
    let refuse = |detail: &str| {
        Refusal::invalid("source", detail).remedy(
            "Give an http:// or https:// URL, or the absolute path of a file on the server's host.",
        )
    };
    if source.len() > 2048 || source.chars().any(char::is_control) {
        return Err(refuse(
            "It has more than 2048 bytes, or control characters.",
        ));
    }
    if FilePath::new(source).is_absolute() {
        return match tokio::fs::metadata(source).await {
            Ok(metadata) if metadata.is_file() => Ok(()),
            Ok(_) => Err(refuse("This path is not that of a regular file.")),
            Err(error) => Err(refuse(&format!(
                "The server cannot read this file: {error}."
            ))),
        };
    }
    let url =
        Url::parse(source).map_err(|_| refuse("This is neither a URL nor an absolute path."))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("This URL is neither http nor https."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "This URL holds a user name or password, which would be stored.",
        ));
    }
    Ok(())
}

/// The image as the API shows it.
fn view(site: &Site, image: ImageRecord) -> Image {
    let fetched = site.images.fetched(image.id).unwrap_or_default();
    Image {
        id: image.id,
        name: image.name,
        status: image.status,
        message: image.message,
        fetched_bytes: fetched.bytes,
        source_bytes: fetched.total,
        source: shown_source(image.source),
        sha256: image.sha256,
        virtual_size: image.virtual_size,
        data_bytes: image.data_bytes,
        default_user: image.default_user,
        created_at: image.created_at,
    }
}

/// A URL without its query, where signed links keep their secrets.
fn shown_source(source: String) -> String {
    match source.split_once('?') {
        Some((path, _)) if !source.starts_with('/') => format!("{path}?…"),
        _ => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sources_are_urls_or_files() {
        for good in [
            "https://example.org/a.qcow2",
            "http://10.0.0.1:8000/a",
            "/proc/self/exe",
        ] {
            assert!(check_source(good).await.is_ok(), "{good}");
        }
        for wrong in [
            "",
            "a.qcow2",
            "file:///etc/passwd",
            "/nowhere/at/all",
            "/proc",
            "ftp://a/b",
        ] {
            assert!(check_source(wrong).await.is_err(), "{wrong}");
        }
        let refusal = check_source("https://u:planted@example.org/a")
            .await
            .unwrap_err();
        let document = serde_json::to_string(&refusal.document(String::new())).unwrap();
        assert!(!document.contains("planted"));
        assert_eq!(
            shown_source("https://a/b?key=planted".into()),
            "https://a/b?…"
        );
        assert_eq!(shown_source("/a?b".into()), "/a?b");
    }
}
