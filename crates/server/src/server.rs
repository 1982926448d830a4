//! Starting and stopping: how the parts are put together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use bessemer_core::id::{ProjectId, TokenId};
use bessemer_store::{Location, Store, StoreOptions, TokenRecord};
use bessemer_tasks::Supervisor;
use bessemer_tls::{Fingerprint, SelfSigned};
use bessemer_wire::api::Role;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};
use uuid::Uuid;

use crate::bells::{self, AgentBells, Bell};
use crate::bmcs::BmcPool;
use crate::boot_services::BootServices;
use crate::clock::Clock;
use crate::conductor::Conductor;
use crate::config::{Config, ConfigError, ImageTransport, Provisioning};
use crate::data_folder::{self, Alone};
use crate::fabric::Fabric;
use crate::heard::Heard;
use crate::hearing::Hearing;
use crate::images::ImageLibrary;
use crate::keyring::{KeyringError, digest};
use crate::metrics::Metrics;
use crate::peers::{self, Peers};
use crate::ramdisk::{self, Ramdisk};
use crate::serving::{self, Bounds, PlainListener};
use crate::sightings::Sightings;
use crate::sightings::shared;
use crate::site::{ProgressBoard, Site};
use crate::tls_listener::TlsListener;
use crate::{agents, api, chunk_service, clock, open_files, phone_home, sealing};

/// The certificate that agents pin, in the data folder.
const AGENT_CERTIFICATE: &str = "agent-certificate.pem";

/// How long requests under way may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The project of the first token.
const FIRST_PROJECT: &str = "default";

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A folder or file cannot be used.
    #[error(
        "cannot use {path}: {source}; `data` (or --data) must name a folder that the server may write \
         to, on a disk with room"
    )]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no server to do something beside.
    #[error(
        "nothing of a server is to be seen at {path}: {source}; name its configuration or its data \
         folder (--config, --data), and run this as its user or root"
    )]
    Unused {
        /// What should be there.
        path: PathBuf,
        /// Why it cannot be seen.
        source: std::io::Error,
    },
    /// Another server works in the data folder.
    #[error(
        "{folder} is in use by another `bessemer serve`: stop that one first, or give this one a \
         data folder of its own"
    )]
    InUse {
        /// Which one.
        folder: PathBuf,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {source}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Keys or tokens cannot be made or read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The certificate cannot be made or read.
    #[error(transparent)]
    Tls(#[from] bessemer_tls::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] bessemer_store::Error),
    /// DHCP cannot be served.
    #[error(transparent)]
    Boot(#[from] bessemer_boot::Error),
    /// The image library cannot be opened.
    #[error(transparent)]
    Images(#[from] bessemer_image::Error),
}

/// What tests set that configurations do not.
#[derive(Default)]
pub struct StartOptions {
    /// How the store is opened: what a test wants to happen at its commits.
    pub store: StoreOptions,
}

/// A running server. Dropping it tells its parts to stop; [`Self::stop`] also waits for them.
pub struct Server {
    /// Where the API is served.
    pub api_address: SocketAddr,
    /// Where agents call, if there are boot services.
    pub agent_address: Option<SocketAddr>,
    /// The fingerprint of the certificate that agents pin.
    pub agent_fingerprint: Option<Fingerprint>,
    /// Where boot files are served, if there are boot services.
    pub boot_address: Option<SocketAddr>,
    /// Where new operating systems call.
    pub phone_home_address: Option<SocketAddr>,
    /// The admin token, at the very first start only: it is stored nowhere.
    pub first_token: Option<String>,
    /// What the parts share.
    pub site: Site,
    stop: CancellationToken,
    parts: TaskTracker,
}

impl Server {
    /// Starts everything the configuration asks for, and returns once all of it listens.
    ///
    /// # Errors
    /// If the data folder, the database or an address cannot be used. Nothing stays running then.
    pub async fn start(config: Config, options: StartOptions) -> Result<Self, StartError> {
        config.check()?;
        data_folder::create(&config.data)?;
        let alone = match &config.database_url {
            None => Some(Alone::in_folder(&config.data)?),
            Some(_) => None,
        };
        let supervisor = options.store.supervisor.clone();
        let store = open_store(&config, options.store).await?;
        let keyring = Arc::new(sealing::keyring_for(&store, &config.data).await?);
        let images_folder = config.data.join("images");
        let clock = Clock::default();
        clock.follow(&store).await?;

        let parts = Parts {
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            supervisor: supervisor.clone(),
            connections: open_files::connections_of_a_port(),
        };
        let (phone_home_listener, phone_home_base) = match &config.phone_home {
            Some(phone_home) => {
                let (listener, address) = listen("phone-home", phone_home.listen).await?;
                let base = phone_home
                    .url
                    .clone()
                    .unwrap_or_else(|| format!("http://{address}"));
                (
                    Some((listener, address)),
                    Some(base.trim_end_matches('/').to_owned()),
                )
            }
            None => (None, None),
        };
        let (media_listener, boot_media_base) = match &config.boot_media {
            Some(media) => {
                let (listener, address) = listen("boot media", media.listen).await?;
                let base = media.url.clone();
                let base = base.unwrap_or_else(|| format!("http://{address}"));
                (Some(listener), Some(base.trim_end_matches('/').to_owned()))
            }
            None => (None, None),
        };
        let booted = files_of_a_boot(&config);
        let (bell, agents) = (Bell::new(store.clone()), AgentBells::new(store.clone()));
        let site = Site {
            images: ImageLibrary::open(&images_folder)?,
            config: Arc::new(config),
            store,
            bmcs: Arc::new(BmcPool::new(keyring.clone())),
            keyring,
            metrics: Arc::new(Metrics::default()),
            supervisor,
            progress: ProgressBoard::default(),
            sightings: Sightings::new(Uuid::new_v4(), clock.clone()),
            ramdisk: Ramdisk::new(booted),
            heard: Heard::default(),
            hearing: Arc::new(Hearing::from(clock.now())),
            clock,
            agents,
            fabric: Arc::new(Fabric::default()),
            placing: api::Placing::default(),
            surveys: Arc::default(),
            peers: Arc::new(Peers::alone(phone_home_base)),
            boot_media_base,
            bell,
        };
        let first_token = first_token(&site).await?;
        let mut server = Self {
            api_address: site.config.api.listen,
            agent_address: None,
            agent_fingerprint: None,
            boot_address: None,
            phone_home_address: phone_home_listener.as_ref().map(|(_, address)| *address),
            first_token,
            site: site.clone(),
            stop: parts.stop.clone(),
            parts: parts.tracker.clone(),
        };
        if let Some((listener, _)) = phone_home_listener {
            let router = phone_home::router(site.clone());
            parts.serve(PlainListener(listener), router, Bounds::TENANTS);
        }
        if let Some(provisioning) = site.config.provisioning.clone() {
            server
                .start_boot_services(&parts, provisioning, media_listener)
                .await?;
        }
        server.api_address = start_api(&parts, &site).await?;
        site.images.resume_imports(&site).await?;
        if alone.is_some() {
            site.store.take_back_leases().await?;
        }
        site.store.excuse_agents(site.now()).await?;
        let latest = clock::look_at_start(&site).await?;
        parts.keep("the watch over the clock", &site, move |site, stop| {
            clock::watch(site, latest, stop)
        });
        parts.keep(
            "storing when agents were heard of",
            &site,
            agents::store_heard,
        );
        if site.config.provisioning.is_some() {
            parts.keep("the watch over the RAM disk", &site, ramdisk::renew);
        }
        if site.store.has_others() {
            parts.keep("hearing other servers", &site, bells::hear_others);
            let resuming = bells::resume_after_outages;
            parts.keep("going on after outages", &site, resuming);
            parts.keep("sharing what was seen of nodes", &site, shared::keep);
            parts.keep("telling other servers", &site, peers::keep);
        }
        parts.keep("sealing secrets anew", &site, sealing::watch);
        start_conductor(&parts, &site, alone);
        Ok(server)
    }

    async fn start_boot_services(
        &mut self,
        parts: &Parts,
        provisioning: Provisioning,
        media_listener: Option<TcpListener>,
    ) -> Result<(), StartError> {
        let data = &self.site.config.data;
        let certificate = SelfSigned::load_or_create(
            &data.join(AGENT_CERTIFICATE),
            &data.join("agent-key.pem"),
            &[provisioning.address.to_string()],
        )?;
        let at = |port| SocketAddr::from((provisioning.address, port));
        let (listener, agent_address) = listen("agents", at(provisioning.agent_port)).await?;
        let (boot_listener, boot_address) =
            listen("boot files", at(provisioning.boot_port)).await?;
        let tls = TlsListener::new(
            listener,
            certificate.server_config()?,
            parts.supervisor.clone(),
        )
        .map_err(|source| StartError::Listen {
            what: "agents",
            address: agent_address,
            source,
        })?;
        let in_clear = provisioning.image_transport == ImageTransport::Http;
        let url = format!("https://{agent_address}");
        let fingerprint = certificate.fingerprint();
        self.site.peers.serves_agents_at(url, fingerprint);
        // Before this server answers DHCP, or starts anything on a machine.
        self.site.peers.tell(&self.site).await;
        let chunk_service = in_clear.then_some(boot_address);
        let agents = agents::router(self.site.clone(), chunk_service);
        parts.serve(tls, agents, Bounds::MACHINES);
        let services = BootServices::new(
            self.site.clone(),
            provisioning.clone(),
            boot_address,
            fingerprint,
        );
        let mut router = services.router();
        if in_clear {
            router = router.merge(chunk_service::router(self.site.clone()));
        }
        parts.serve(PlainListener(boot_listener), router, Bounds::MACHINES);
        if let Some(listener) = media_listener {
            let router = services.media_router();
            parts.serve(PlainListener(listener), router, Bounds::MACHINES);
        }
        if let Some(interface) = &provisioning.interface {
            services.start(parts, interface).await?;
        }
        self.agent_address = Some(agent_address);
        self.agent_fingerprint = Some(fingerprint);
        self.boot_address = Some(boot_address);
        Ok(())
    }

    /// Stops taking requests, lets those under way come to an end, and closes the store.
    pub async fn stop(self) {
        self.stop.cancel();
        self.parts.close();
        if tokio::time::timeout(DRAIN + Duration::from_secs(2), self.parts.wait())
            .await
            .is_err()
        {
            info!("some requests were cut off");
        }
        self.site.store.close().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What makes one boot of the agent another than the one before: if any of these files changes, idle
/// agents are replaced.
fn files_of_a_boot(config: &Config) -> Vec<PathBuf> {
    let ramdisk = config.provisioning.iter().flat_map(|provisioning| {
        ["vmlinuz", "initramfs.zst"].map(|name| provisioning.ramdisk.join(name))
    });
    ramdisk
        .chain([config.data.join(AGENT_CERTIFICATE)])
        .collect()
}

/// The tasks of a server, and how they are told to stop.
pub(crate) struct Parts {
    stop: CancellationToken,
    tracker: TaskTracker,
    supervisor: Supervisor,
    /// The most that a port may have, whatever its own bound is.
    connections: usize,
}

impl Parts {
    fn serve(&self, listener: impl Listener<Addr = SocketAddr>, router: Router, bounds: Bounds) {
        let stop = self.stop.clone();
        let bounds = Bounds {
            connections: bounds.connections.min(self.connections),
            ..bounds
        };
        let supervisor = self.supervisor.clone();
        self.tracker.spawn(async move {
            let serving = serving::serve(listener, router, bounds, stop.clone(), supervisor);
            end_in_time(serving, stop).await;
        });
    }

    /// Keeps the task `name` going until the server stops, which it sees by itself.
    fn keep<F>(
        &self,
        name: &'static str,
        site: &Site,
        mut start: impl FnMut(Site, CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (site, stop, supervisor) = (site.clone(), self.stop.clone(), self.supervisor.clone());
        self.tracker.spawn(async move {
            let start = || start(site.clone(), stop.clone());
            supervisor.keep_until(&stop, name, start).await;
        });
    }

    /// Runs the boot service `name` until the server stops; `loss` is what its end means.
    pub(crate) fn run<F>(
        &self,
        name: &'static str,
        loss: &'static str,
        mut start: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), bessemer_boot::Error>> + Send + 'static,
    {
        let (stop, supervisor) = (self.stop.clone(), self.supervisor.clone());
        self.tracker.spawn(async move {
            let start = || {
                let service = start();
                async move {
                    if let Err(error) = service.await {
                        error!(%error, "{name} ended: {loss}");
                    }
                }
            };
            tokio::select! {
                () = supervisor.keep_until(&stop, name, start) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Serves until `stop`, and then at most for [`DRAIN`]: an open event stream has no end.
async fn end_in_time(serving: impl Future<Output = ()>, stop: CancellationToken) {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = serving => {}
        () = late => {}
    }
}

async fn start_api(parts: &Parts, site: &Site) -> Result<SocketAddr, StartError> {
    let config = &site.config.api;
    let (listener, address) = listen("the API", config.listen).await?;
    let router = api::router(site.clone());
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let names = [config.listen.ip().to_string()];
            let tls = SelfSigned::load_or_create(certificate, key, &names)?.server_config()?;
            let supervisor = parts.supervisor.clone();
            let listener = TlsListener::new(listener, tls, supervisor).map_err(|source| {
                StartError::Listen {
                    what: "the API",
                    address,
                    source,
                }
            })?;
            parts.serve(listener, router, Bounds::API);
        }
        _ => parts.serve(PlainListener(listener), router, Bounds::API),
    }
    Ok(address)
}

/// The conductor keeps the lock of the data folder until its last turn has ended.
fn start_conductor(parts: &Parts, site: &Site, alone: Option<Alone>) {
    let conductor = Conductor::new(site.clone(), site.peers.own_id());
    let running = conductor.run(parts.stop.clone());
    let supervisor = parts.supervisor.clone();
    parts.tracker.spawn(async move {
        // Its parts are kept going one by one.
        supervisor.catch("the conductor", running).await.ok();
        drop(alone);
    });
}

pub(crate) async fn open_store(
    config: &Config,
    options: StoreOptions,
) -> Result<Store, StartError> {
    let location = match &config.database_url {
        Some(url) => Location::Postgres(url.0.clone()),
        None => Location::Sqlite(config.data.join("bessemer.db")),
    };
    Ok(Store::open(&location, options).await?)
}

async fn first_token(site: &Site) -> Result<Option<String>, StartError> {
    if site.store.token_count().await? > 0 {
        return Ok(None);
    }
    let secret = site.keyring.random_secret()?;
    let now = site.now();
    let project = site
        .store
        .project_by_name_or_create(FIRST_PROJECT, ProjectId(Uuid::new_v4()))
        .await?;
    let token = TokenRecord {
        id: TokenId(Uuid::new_v4()),
        name: "admin".into(),
        role: Role::Admin,
        project: project.id,
        created_at: now,
    };
    site.store.create_token(&token, &digest(&secret)).await?;
    Ok(Some(secret))
}

async fn listen(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
