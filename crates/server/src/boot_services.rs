//! Boot services: the DHCP directory and the boot file, which together let exactly the expected
//! machine load the agent, once.
//!
//! The boot file is composed for each boot around the one kernel and initramfs; its command line
//! carries the one-time token, so it is given only to the address that was leased to that boot,
//! and only until its agent has called.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bessemer_boot::dhcp::{self, BootLease};
use bessemer_boot::parameters::{Parameters, Token};
use bessemer_boot::uki::{self, Uki, UkiTemplate};
use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;
use bessemer_store::{BootRecord, NewEvent};
use bessemer_tls::Fingerprint;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{debug, error, info, warn};

use crate::config::Provisioning;
use crate::sightings::Place;
use crate::site::Site;

/// What the boot services know.
#[derive(Clone)]
pub struct BootServices {
    site: Site,
    provisioning: Arc<Provisioning>,
    /// Where agents find the conductor, and its certificate's fingerprint.
    agent_address: SocketAddr,
    fingerprint: Fingerprint,
    boot_address: SocketAddr,
    /// The RAM disk with its digest. Some 20 MB, so not loaded before the first machine boots; read
    /// again when it has changed.
    template: Arc<Mutex<Option<(Option<String>, Arc<UkiTemplate>)>>>,
}

impl BootServices {
    /// Boot services that send agents to `agent_address` and serve boot files at `boot_address`.
    pub fn new(
        site: Site,
        provisioning: Provisioning,
        agent_address: SocketAddr,
        boot_address: SocketAddr,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            site,
            provisioning: Arc::new(provisioning),
            agent_address,
            fingerprint,
            boot_address,
            template: Arc::default(),
        }
    }

    /// The HTTP service from which firmware loads the agent.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/boot/{boot}/agent.efi", get(boot_file))
            .with_state(self.clone())
    }

    /// What the DHCP server is configured with.
    pub fn dhcp_config(&self) -> dhcp::Config {
        dhcp::Config {
            server: self.provisioning.address,
            lease_seconds: 3600,
        }
    }

    /// Tells operators what happened on the provisioning network.
    pub fn tell(&self, event: dhcp::Event) {
        let (kind, mac, message) = match &event {
            dhcp::Event::Answered { mac, kind, address } => {
                info!(%mac, %address, ?kind, "DHCP answered");
                self.note_dhcp(*mac, true, format!("{mac} got address {address}"));
                return;
            }
            dhcp::Event::Silent {
                mac,
                reason: dhcp::Silence::NotExpected,
            } => ("boot.unknown", mac, dhcp::Silence::NotExpected.to_string()),
            dhcp::Event::Silent { mac, reason } => ("boot.refused", mac, reason.to_string()),
        };
        if let Some(mac) = mac {
            self.note_dhcp(
                *mac,
                false,
                format!("{mac} got no answer by DHCP: {message}"),
            );
        }
        let who = mac.map_or_else(|| "somebody".to_owned(), |mac| mac.to_string());
        self.site.metrics.boot_refused.inc();
        warn!(%who, "DHCP silent: {message}");
        let event = NewEvent {
            kind,
            node: None,
            server: None,
            project: None,
            message: format!("{who} got no answer by DHCP: {message}"),
            data: json!({ "mac": mac }),
        };
        let site = self.site.clone();
        tokio::spawn(async move {
            if let Err(error) = site.store.append_events(&[event], site.now()).await {
                warn!(%error, "the event could not be recorded");
            }
        });
    }

    /// Notes what came by DHCP from a NIC, if it is a node's.
    fn note_dhcp(&self, mac: MacAddress, well: bool, what: String) {
        let site = self.site.clone();
        tokio::spawn(async move {
            if let Ok(Some(node)) = site.store.node_of_mac(mac).await {
                site.sightings.note(node, Place::Dhcp, well, what);
            }
        });
    }

    fn url(&self, boot: BootId) -> String {
        format!("http://{}/boot/{boot}/agent.efi", self.boot_address)
    }

    async fn template(&self) -> Result<Arc<UkiTemplate>, String> {
        let digest = self.site.ramdisk.digest().await;
        // Held while reading: machines that boot together wait for one reading.
        let mut known = self.template.lock().await;
        if let Some((read, template)) = &*known
            && *read == digest
        {
            return Ok(template.clone());
        }
        let template = Arc::new(load(&self.provisioning).await?);
        *known = Some((digest, template.clone()));
        Ok(template)
    }

    async fn compose(&self, boot: &BootRecord) -> Result<Uki, String> {
        let template = self.template().await?;
        let site = &self.site;
        let parameters = Parameters {
            conductor: format!("https://{}", self.agent_address),
            pin: *self.fingerprint.as_bytes(),
            boot: boot.boot,
            token: Token::new(site.keyring.boot_token(boot.boot)).map_err(text)?,
            mac: boot.mac,
            address: boot.address,
            prefix: self.provisioning.subnet.prefix(),
            gateway: None,
        };
        let extra = self.provisioning.kernel_arguments.split_ascii_whitespace();
        template
            .compose(&parameters.render(extra).map_err(text)?)
            .map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn load(provisioning: &Provisioning) -> Result<UkiTemplate, String> {
    let folder = provisioning.ramdisk.clone();
    let read = move || {
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map(Bytes::from).map_err(|error| {
                format!(
                    "cannot read {}: {error}; build it with `ramdisk/build`, or set \
                     `provisioning.ramdisk`",
                    path.display()
                )
            })
        };
        UkiTemplate::new(
            file("linuxx64.efi.stub")?,
            file("vmlinuz")?,
            file("initramfs.zst")?,
        )
        .map_err(text)
    };
    tokio::task::spawn_blocking(read).await.map_err(text)?
}

/// GET and HEAD: firmware asks for the size first.
async fn boot_file(
    State(services): State<BootServices>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(boot): Path<BootId>,
    method: Method,
) -> Response {
    let record = match services.site.store.boot(boot).await {
        Ok(Some(record)) if !record.used => record,
        Ok(_) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            error!(%error, "a boot file could not be looked up");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    if peer.ip() != IpAddr::V4(record.address) {
        warn!(%peer, expected = %record.address, "boot file asked for by another address");
        return StatusCode::NOT_FOUND.into_response();
    }
    let uki = match services.compose(&record).await {
        Ok(uki) => uki,
        Err(error) => {
            error!("no boot file can be composed: {error}");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    debug!(%boot, %method, "boot file");
    let told = format!("{} fetches the boot file ({method})", peer.ip());
    let sightings = &services.site.sightings;
    sightings.note(record.node, Place::BootFile, true, told);
    let headers = [
        (CONTENT_TYPE, uki::MEDIA_TYPE.to_owned()),
        (CONTENT_LENGTH, uki.len().to_string()),
    ];
    if method == Method::HEAD {
        return (headers, Body::empty()).into_response();
    }
    services.site.metrics.boot_bytes.add(uki.len());
    let pieces = uki.pieces().to_vec();
    let stream = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    (headers, Body::from_stream(stream)).into_response()
}

impl dhcp::Directory for BootServices {
    async fn lookup(
        &self,
        mac: MacAddress,
    ) -> Result<Option<BootLease>, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.site.store.boot_by_mac(mac).await?;
        Ok(found.filter(|boot| !boot.used).map(|boot| BootLease {
            address: boot.address,
            subnet: self.provisioning.subnet,
            router: None,
            dns: Vec::new(),
            url: self.url(boot.boot),
        }))
    }
}
