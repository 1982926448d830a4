//! Images: importing, uploading, showing and deleting them. Everybody sees them; operators change them.

mod order;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bessemer_image::Error;
use bessemer_image::import::Progress;
use bessemer_store::ImageRecord;
use bessemer_wire::api::{Image, ImageCreate, ImageProgress, ImageStatus, ImageStep, Page};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer_with;
use super::extract::{Admin, Answer, Body, Caller, Path, Query};
use super::page;
use super::problem::{Kind, Refusal, sentence};
use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, delete))
        .routes(routes!(upload))
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
/// The import goes on in the background: ask for the image to see how far it is. An image that is
/// to be uploaded waits for that first. Put no secret into the URL: it is stored as it is (though
/// shown without its query).
#[utoipa::path(post, path = "/v1/images", tag = "images", operation_id = "create_image",
    request_body = ImageCreate,
    responses((status = 202, body = Image)))]
async fn create(
    State(site): State<Site>,
    _: Admin,
    Body(request): Body<ImageCreate>,
) -> Result<impl IntoResponse, Refusal> {
    let image = order::check(&site, request).await?;
    site.store.create_image(&image).await?;
    if image.status == ImageStatus::Importing {
        site.images.start_import(&site, image.clone());
    }
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

/// Where an upload goes on.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadFrom {
    /// Bytes that have arrived already, as `progress.bytes` of the image says. Default 0.
    #[serde(default)]
    offset: u64,
}

/// Upload an image, or the rest of it.
///
/// What arrives before a connection breaks is kept: ask for the image, and go on at the offset that
/// its `progress` shows. When everything is there, the import begins.
#[utoipa::path(put, path = "/v1/images/{image}/content", tag = "images",
    operation_id = "upload_image",
    params(("image" = String, Path, description = "Name or id"), UploadFrom),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, body = Image)))]
async fn upload(
    State(site): State<Site>,
    _: Admin,
    Path(image): Path<String>,
    Query(UploadFrom { offset }): Query<UploadFrom>,
    body: axum::body::Body,
) -> Result<impl IntoResponse, Refusal> {
    let image = site.store.image(&image).await?;
    let size = image
        .upload_size
        .filter(|_| image.status == ImageStatus::Uploading);
    let size = size
        .ok_or_else(|| Refusal::new(Kind::Conflict, "This image does not wait for an upload."))?;
    // What arrives is kept outside of the database.
    site.store.write_request_down().await?;
    let body = body.into_data_stream();
    if site
        .images
        .upload(image.id, size, offset, body)
        .await
        .map_err(upload_refused)?
    {
        site.store.image_uploaded(image.id).await?;
        let image = site.store.image(&image.id.to_string()).await?;
        site.images.start_import(&site, image);
    }
    let image = site.store.image(&image.id.to_string()).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&site, image))))
}

fn upload_refused(error: Error) -> Refusal {
    let again = "Ask for the image, and go on at the offset that its `progress` shows.";
    match error {
        Error::WrongOffset { .. } => Refusal::new(Kind::Conflict, sentence(&error))
            .field("offset")
            .remedy(again),
        Error::Busy => Refusal::new(Kind::Conflict, sentence(&error)),
        Error::TooLarge { .. } => Refusal::new(
            Kind::Conflict,
            "This is more than was announced by `upload_bytes`.",
        )
        .remedy("Delete the image, and add it again with the size of the file."),
        Error::Download(..) => Refusal::new(Kind::InvalidParameter, sentence(&error)).remedy(again),
        error => Refusal::internal(&error),
    }
}

/// The image as the API shows it.
fn view(site: &Site, image: ImageRecord) -> Image {
    let progress = progress(site, &image);
    Image {
        id: image.id,
        name: image.name,
        status: image.status,
        message: image.message,
        progress,
        source: Some(image.source)
            .filter(|source| !source.is_empty())
            .map(shown_source),
        format: image.format,
        checksum: Some(image.checksum).filter(|checksum| !checksum.is_empty()),
        virtual_size: image.virtual_size,
        data_bytes: image.data_bytes,
        default_user: image.default_user,
        network_configuration: image.network_configuration,
        created_at: image.created_at,
    }
}

fn progress(site: &Site, image: &ImageRecord) -> Option<ImageProgress> {
    let at = |step, bytes, total| ImageProgress { step, bytes, total };
    if image.status == ImageStatus::Uploading {
        let bytes = site.images.uploaded(image.id);
        return Some(at(ImageStep::Uploading, bytes, image.upload_size));
    }
    // For a moment, one that has just ended is still known to be at work.
    let importing = image.status == ImageStatus::Importing;
    Some(
        match site.images.progress(image.id).filter(|_| importing)? {
            None => at(ImageStep::Waiting, 0, None),
            Some(Progress::Fetching { done, total }) => at(ImageStep::Fetching, done, total),
            Some(Progress::Unpacking { done, total }) => {
                at(ImageStep::Unpacking, done, Some(total))
            }
            Some(Progress::Converting) => at(ImageStep::Converting, 0, None),
            Some(Progress::Storing { done, total }) => at(ImageStep::Storing, done, Some(total)),
        },
    )
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

    #[test]
    fn a_query_is_not_shown() {
        assert_eq!(
            shown_source("https://a/b?key=planted".into()),
            "https://a/b?…"
        );
        assert_eq!(shown_source("/a?b".into()), "/a?b");
    }
}
