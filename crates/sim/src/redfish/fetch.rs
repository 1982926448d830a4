//! How a controller reads an image from where `InsertMedia` says that it is.
//!
//! Some controllers copy the whole of it before they answer; others read what their machine asks for,
//! when it does, by range requests (RFC 9110, section 14). Images are bounded, and an image server
//! has its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{RequestBuilder, StatusCode, header};

use crate::machine::command_line;

/// Larger images are refused. A RAM disk in an ISO takes about a third of it.
const IMAGE_LIMIT: usize = 256 << 20;
/// Time to connect to an image server, and to fetch an image from it.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// What is read at once on demand: all that stands before the boot program's code on our own media.
const PIECE: usize = 128 << 10;

/// The whole image, or why it cannot be had.
pub(super) async fn whole(url: &str) -> Result<Bytes, String> {
    let mut image = BytesMut::new();
    let status = append(client()?.get(url), &mut image).await?;
    match status {
        StatusCode::OK => Ok(image.freeze()),
        status => Err(format!("the server answered {status}")),
    }
}

/// The image from its beginning to where firmware has found the boot program's command line; all of
/// it if there is none. Or why it cannot be had.
pub(super) async fn beginning(url: &str) -> Result<Bytes, String> {
    let client = client()?;
    let mut image = BytesMut::new();
    loop {
        let (first, before) = (image.len(), image.len());
        let range = format!("bytes={first}-{}", first + PIECE - 1);
        let request = client.get(url).header(header::RANGE, range);
        let status = append(request, &mut image).await?;
        let is_all = match status {
            StatusCode::PARTIAL_CONTENT => image.len() - before < PIECE,
            StatusCode::RANGE_NOT_SATISFIABLE if before > 0 => true,
            // It knows no ranges: this was the whole.
            StatusCode::OK if before == 0 => true,
            status => return Err(format!("the server answered {status}")),
        };
        if is_all || command_line(&image).is_some() {
            return Ok(image.freeze());
        }
    }
}

fn client() -> Result<reqwest::Client, String> {
    let trust = bessemer_tls::Trust::InsecureNoVerification;
    let tls = bessemer_tls::client_config(&trust).map_err(|error| error.to_string())?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .timeout(FETCH_LIMIT)
        .build()
        .map_err(|error| error.to_string())
}

/// Adds the body of a good answer to `image`, and says which answer it was.
async fn append(request: RequestBuilder, image: &mut BytesMut) -> Result<StatusCode, String> {
    let mut response = request.send().await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Ok(response.status());
    }
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        if image.len() + chunk.len() > IMAGE_LIMIT {
            return Err(format!("it is larger than {IMAGE_LIMIT} bytes"));
        }
        image.extend_from_slice(&chunk);
    }
    Ok(response.status())
}
