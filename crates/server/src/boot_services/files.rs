//! The files from which machines boot, over plain HTTP: firmware knows nothing better.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bessemer_boot::pieces::Pieces;
use bessemer_boot::{medium, script, uki};
use bessemer_core::cause::Cause;
use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;
use bessemer_store::BootRecord;
use bytes::Bytes;
use serde::Deserialize;
use tracing::{debug, error, warn};

use super::BootServices;
use crate::keyring::same_secret;
use crate::sightings::Place;

/// Files of a boot.
pub(super) const UKI: &str = "agent.efi";
pub(super) const SCRIPT: &str = "agent.ipxe";
pub(super) const KERNEL: &str = "vmlinuz";
pub(super) const INITRAMFS: &str = "initramfs";

/// How long firmware is kept waiting for a database that is away.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(20);

const BINARY: &str = "application/octet-stream";

impl BootServices {
    /// The HTTP service from which firmware and iPXE load the agent.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/boot/disk.ipxe", get(boot_disk))
            .route("/boot/{boot}/{secret}/{file}", get(boot_file))
            .with_state(self.clone())
    }

    /// The HTTP service from which management controllers fetch boot media.
    pub fn media_router(&self) -> Router {
        Router::new()
            .route("/boot/{boot}/{secret}/agent.iso", get(boot_medium))
            .with_state(self.clone())
    }

    /// The boot, if this is its secret.
    async fn known(&self, boot: BootId, secret: &str) -> Result<Option<BootRecord>, Denied> {
        if !same_secret(&self.site.keyring.boot_url_secret(boot), secret) {
            return Err(Denied::NotFound);
        }
        let store = &self.site.store;
        let mut found = store.boot(boot).await;
        if found.as_ref().is_err_and(bessemer_store::Error::is_outage) {
            // Firmware does not ask twice.
            store.back_within(OUTAGE_PATIENCE).await;
            found = store.boot(boot).await;
        }
        found.map_err(|error| {
            error!(%error, "a boot file could not be looked up");
            Denied::Unavailable
        })
    }

    /// Notes that something was asked for, and whether it can be given.
    fn note<T>(&self, boot: &BootRecord, asked: String, composed: &Result<T, String>) {
        let (trouble, told) = match composed {
            Ok(_) => (None, asked),
            Err(error) => (
                Some(Cause::NoBootFile),
                format!("{asked}, which cannot be given: {error}"),
            ),
        };
        let sightings = &self.site.sightings;
        sightings.note(boot.node, Place::BootFile, trouble, told);
    }

    /// Whether `peer` is the machine that is to boot.
    fn is_machine(&self, peer: IpAddr, boot: &BootRecord) -> bool {
        let IpAddr::V4(address) = peer else {
            return false;
        };
        if self.is_proxy() {
            return self.provisioning.network_of(address).is_some();
        }
        address == boot.address
    }
}

/// Why a file is not given.
enum Denied {
    NotFound,
    Unavailable,
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
        .into_response()
    }
}

/// What stands in the URL of [`boot_disk`]. Anybody can say so: it is for people who look, only.
#[derive(Deserialize)]
struct Asker {
    mac: Option<MacAddress>,
}

/// For iPXE of a machine that has no business with the agent.
async fn boot_disk(
    State(services): State<BootServices>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(asker): Query<Asker>,
) -> Response {
    if let Some(mac) = asker.mac {
        let told = format!("{} fetches the script that starts its disk", peer.ip());
        services.note_nic(mac, Place::BootFile, None, told);
    }
    boot_disk_script()
}

fn boot_disk_script() -> Response {
    ([(CONTENT_TYPE, script::MEDIA_TYPE)], script::boot_disk()).into_response()
}

async fn boot_file(
    State(services): State<BootServices>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((boot, secret, file)): Path<(BootId, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    let record = match services.known(boot, &secret).await? {
        Some(record) if !record.used => record,
        // The boot is over and forgotten, which is when a node has become active: iPXE that comes
        // back for its script is to boot the disk.
        None if file == SCRIPT => return Ok(boot_disk_script()),
        _ => return Err(Denied::NotFound),
    };
    if !services.is_machine(peer.ip(), &record) {
        warn!(%peer, expected = %record.address, "boot file asked for by another address");
        return Err(Denied::NotFound);
    }
    debug!(%boot, %method, file, "boot file");
    let composed = match file.as_str() {
        UKI => services
            .uki(&record)
            .await
            .map(|uki| (uki::MEDIA_TYPE, uki)),
        SCRIPT => services
            .script(&record)
            .map(|script| (script::MEDIA_TYPE, Pieces::new([Bytes::from(script)]))),
        KERNEL | INITRAMFS => services.templates().await.map(|shared| {
            let part = if file == KERNEL {
                &shared.kernel
            } else {
                &shared.initramfs
            };
            (BINARY, Pieces::new([part.clone()]))
        }),
        _ => return Err(Denied::NotFound),
    };
    let what = match file.as_str() {
        UKI => "the boot file",
        SCRIPT => "the boot script",
        KERNEL => "the kernel",
        _ => "the initramfs",
    };
    let told = format!("{} fetches {what} ({method})", peer.ip());
    services.note(&record, told, &composed);
    services.send(composed, boot, &method, &headers)
}

/// The management controller's address is not compared with the one in its URL: many have several.
async fn boot_medium(
    State(services): State<BootServices>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((boot, secret)): Path<(BootId, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Denied> {
    let record = services.known(boot, &secret).await?;
    let record = record.filter(|record| !record.used && record.media_inserted);
    let record = record.ok_or(Denied::NotFound)?;
    debug!(%boot, %method, %peer, "boot medium");
    let told = format!("{} fetches the boot medium ({method})", peer.ip());
    let medium = services.medium(&record).await;
    services.note(&record, told, &medium);
    let composed = medium.map(|medium| (medium::MEDIA_TYPE, medium));
    services.send(composed, boot, &method, &headers)
}

impl BootServices {
    /// GET and HEAD, whole or a range: firmware asks for the size first, and management controllers
    /// read as their machine does.
    fn send(
        &self,
        composed: Result<(&'static str, Pieces), String>,
        boot: BootId,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Denied> {
        let (media_type, file) = composed.map_err(|error| {
            error!("no boot file can be composed: {error}");
            Denied::Unavailable
        })?;
        let length = file.len();
        let wanted = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let (status, range) = match wanted.map_or(Asked::Whole, |range| asked(range, length)) {
            Asked::Whole => (StatusCode::OK, 0..length),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Beyond => {
                let unsatisfied = [(CONTENT_RANGE, format!("bytes */{length}"))];
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, unsatisfied).into_response());
            }
        };
        let sent = range.end - range.start;
        let fields = [
            (CONTENT_TYPE, media_type.to_owned()),
            (CONTENT_LENGTH, sent.to_string()),
            (ACCEPT_RANGES, "bytes".to_owned()),
            (ETAG, format!("\"{boot}\"")),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        let part = (status == StatusCode::PARTIAL_CONTENT).then(|| {
            let last = range.end - 1;
            [(
                CONTENT_RANGE,
                format!("bytes {}-{last}/{length}", range.start),
            )]
        });
        let body = if *method == Method::HEAD {
            Body::empty()
        } else {
            self.site.metrics.boot_bytes.add(sent);
            let pieces = file.range(range).into_iter().map(Ok::<_, std::io::Error>);
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        let mut response = (status, fields, body).into_response();
        for (name, value) in part.into_iter().flatten() {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

/// What a `Range` field asks for (RFC 9110 §14).
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Everything; also for what is not understood, and for several ranges at once.
    Whole,
    Part(Range<u64>),
    /// What lies beyond the end.
    Beyond,
}

fn asked(range: &str, length: u64) -> Asked {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (first.trim(), last.trim()) {
        ("", count) => number(count).map(|count| length.saturating_sub(count)..length),
        (first, "") => number(first).map(|first| first..length),
        (first, last) => number(first)
            .zip(number(last))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| first..last.saturating_add(1).min(length)),
    };
    match range {
        None => Asked::Whole,
        Some(range) if range.start < range.end => Asked::Part(range),
        Some(_) => Asked::Beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=10-19", Asked::Part(10..20)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=90-1000", Asked::Part(90..100)),
            ("bytes=-10", Asked::Part(90..100)),
            ("bytes=-1000", Asked::Part(0..100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=x-", Asked::Whole),
            ("bytes=0-99999999999999999999999", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            (
                "bytes=18446744073709551615-18446744073709551615",
                Asked::Beyond,
            ),
        ] {
            assert_eq!(asked(text, 100), expected, "{text}");
        }
    }
}
