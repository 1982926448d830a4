//! What is asked for when an image is asked for, checked.

use std::path::Path as FilePath;

use bessemer_core::id::ImageId;
use bessemer_image::digest::{Checksum, Sha256Digest, Sha512Digest};
use bessemer_store::ImageRecord;
use bessemer_wire::api::{ImageCreate, ImageCredentials, ImageStatus};
use url::Url;
use uuid::Uuid;

use super::super::problem::{Refusal, sentence};
use super::super::values;
use crate::images::seal;
use crate::site::Site;

/// The largest upload, in bytes: what the importer fetches at most.
const MOST_UPLOAD: u64 = 64 << 30;

/// The record of a new image.
pub(super) async fn check(site: &Site, request: ImageCreate) -> Result<ImageRecord, Refusal> {
    values::name("name", &request.name)?;
    let id = ImageId(Uuid::now_v7());
    if let Some(user) = &request.default_user {
        values::text("default_user", user, 32)?;
    }
    check_origin(&request).await?;
    let checksum = checksum(&request)?;
    if let Some(url) = &request.checksum_url {
        check_url("checksum_url", url)?;
    }
    let credentials_sealed = match &request.credentials {
        Some(credentials) => {
            check_credentials(&request, credentials)?;
            Some(seal(&site.keyring, id, credentials)?)
        }
        None => None,
    };
    Ok(ImageRecord {
        id,
        name: request.name,
        status: match request.upload_bytes {
            Some(_) => ImageStatus::Uploading,
            None => ImageStatus::Importing,
        },
        message: None,
        source: request.source.unwrap_or_default(),
        upload_size: request.upload_bytes,
        checksum: checksum
            .map(|checksum| checksum.to_string())
            .unwrap_or_default(),
        checksum_url: request.checksum_url,
        credentials_sealed,
        format: None,
        virtual_size: None,
        data_bytes: None,
        default_user: request.default_user,
        network_configuration: request.network_configuration,
        created_at: site.now(),
    })
}

async fn check_origin(request: &ImageCreate) -> Result<(), Refusal> {
    match (&request.source, request.upload_bytes) {
        (Some(source), None) => check_source(source).await,
        (None, Some(1..=MOST_UPLOAD)) => Ok(()),
        (None, Some(_)) => Err(Refusal::invalid(
            "upload_bytes",
            "An upload has 1 byte to 64 GiB.",
        )),
        _ => Err(Refusal::invalid(
            "source",
            "Give either a source, or the size of an upload.",
        )),
    }
}

fn checksum(request: &ImageCreate) -> Result<Option<Checksum>, Refusal> {
    let given = [&request.sha256, &request.sha512, &request.checksum_url];
    if given.iter().filter(|given| given.is_some()).count() > 1 {
        return Err(Refusal::invalid(
            "sha256",
            "Give only one of `sha256`, `sha512` and `checksum_url`.",
        ));
    }
    let wrong = |field: &'static str| {
        move |error: bessemer_image::Error| Refusal::invalid(field, sentence(&error))
    };
    if let Some(text) = &request.sha256 {
        let digest: Sha256Digest = text.parse().map_err(wrong("sha256"))?;
        return Ok(Some(Checksum::Sha256(digest)));
    }
    if let Some(text) = &request.sha512 {
        let digest: Sha512Digest = text.parse().map_err(wrong("sha512"))?;
        return Ok(Some(Checksum::Sha512(digest)));
    }
    if request.checksum_url.is_some() {
        return Ok(None);
    }
    match request.source.as_deref() {
        Some(source) if source.starts_with('/') || source.starts_with("https://") => Ok(None),
        Some(_) => Err(Refusal::invalid(
            "sha256",
            "What lies beside an image can be changed like the image itself by whoever can change \
             what comes over plain http.",
        )
        .remedy("Give `sha256` or `sha512`, or use an https:// source.")),
        None => Err(Refusal::invalid(
            "sha256",
            "An upload has nothing beside it that could tell its checksum.",
        )
        .remedy("Give `sha256` or `sha512`.")),
    }
}

fn check_credentials(request: &ImageCreate, credentials: &ImageCredentials) -> Result<(), Refusal> {
    let source = request.source.as_deref().unwrap_or_default();
    if !source.starts_with("http") {
        return Err(Refusal::invalid(
            "credentials",
            "Only what is fetched from the web can need a password.",
        ));
    }
    let whole = |text: &str| text.len() <= 512 && !text.chars().any(char::is_control);
    if credentials.username.is_empty()
        || credentials.username.contains(':')
        || !whole(&credentials.username)
        || !whole(&credentials.password)
    {
        return Err(Refusal::invalid(
            "credentials",
            "User name and password have at most 512 bytes and no control characters, and the \
             user name no colon.",
        ));
    }
    Ok(())
}

/// The source is not repeated in errors: people write passwords into URLs.
async fn check_source(source: &str) -> Result<(), Refusal> {
    if !FilePath::new(source).is_absolute() {
        return check_url("source", source);
    }
    check_length("source", source)?;
    match tokio::fs::metadata(source).await {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(refuse("source", "This path is not that of a regular file.")),
        Err(error) => Err(refuse(
            "source",
            &format!("The server cannot read this file: {error}."),
        )),
    }
}

fn check_length(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.len() > 2048 || text.chars().any(char::is_control) {
        return Err(refuse(
            field,
            "It has more than 2048 bytes, or control characters.",
        ));
    }
    Ok(())
}

fn check_url(field: &'static str, text: &str) -> Result<(), Refusal> {
    check_length(field, text)?;
    let url = Url::parse(text)
        .map_err(|_| refuse(field, "This is neither a URL nor an absolute path."))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(field, "This URL is neither http nor https."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::invalid(
            field,
            "This URL holds a user name or password, which would be stored.",
        )
        .remedy("Give them as `credentials`, which are sealed."));
    }
    Ok(())
}

fn refuse(field: &'static str, detail: &str) -> Refusal {
    Refusal::invalid(field, detail).remedy(
        "Give an http:// or https:// URL, or for a source the absolute path of a file on the \
         server's host.",
    )
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
    }

    #[test]
    fn one_checksum_from_somewhere() {
        let sum = |request: ImageCreate| {
            let checksum = checksum(&request).map(|checksum| checksum.is_some());
            checksum.map_err(drop)
        };
        let from = |source: &str| ImageCreate {
            source: Some(source.into()),
            ..ImageCreate::default()
        };
        assert_eq!(sum(from("/a")), Ok(false));
        assert_eq!(sum(from("https://h/a")), Ok(false));
        assert_eq!(sum(from("http://h/a")), Err(()), "nobody vouches for it");
        assert_eq!(sum(ImageCreate::default()), Err(()), "an upload");
        let digits = "ab".repeat(32);
        let with = |sha256: &str, sha512: Option<&str>| ImageCreate {
            sha256: Some(sha256.into()),
            sha512: sha512.map(str::to_owned),
            ..from("http://h/a")
        };
        assert_eq!(sum(with(&digits, None)), Ok(true));
        assert_eq!(sum(with(&digits, Some(&digits.repeat(2)))), Err(()));
        assert_eq!(sum(with(&digits[1..], None)), Err(()));
    }
}
