//! One server as a process of its own would be: in its own runtime, so that it can be ended where
//! it stands.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bessemer_core::lifecycle::Timing;
use bessemer_server::config::{
    Api, Bmc, Config, DhcpMode, ImageTransport, PhoneHome, Provisioning,
};
use bessemer_server::{Server, StartError, StartOptions};
use bessemer_sim::agent::Firmware;
use bessemer_store::StoreOptions;
use futures_util::FutureExt;
use tokio::runtime::Runtime;

use super::LOOK_AGAIN;
use super::firmware::offered;

/// The longest that what cannot be interrupted may take to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A server and what it runs in.
pub(super) struct Running {
    runtime: Runtime,
    pub(super) server: Server,
}

impl Running {
    pub(super) async fn start(config: Config, store: StoreOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let limit = Instant::now() + LIMIT;
        let server = loop {
            let options = StartOptions {
                store: store.clone(),
            };
            let starting = runtime.spawn(Server::start(config.clone(), options));
            match starting.await.unwrap() {
                Ok(server) => break server,
                // A program that another test has just started holds every open file of this
                // process, one that was killed here among them, until it runs (fork(2)).
                Err(error) if is_taken(&error) && Instant::now() < limit => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => panic!("the server does not start: {error}"),
            }
        };
        Self { runtime, server }
    }

    /// As `kill -9`. When this returns, nothing of it is left.
    pub(super) async fn kill(self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.runtime.shutdown_timeout(LIMIT);
            drop(self.server);
        });
        ended.await.unwrap();
    }

    /// As SIGTERM.
    pub(super) async fn stop(self) {
        self.runtime.spawn(self.server.stop()).await.unwrap();
        self.runtime.shutdown_background();
    }

    /// Ends it without waiting for that.
    pub(super) fn abandon(self) {
        self.runtime.shutdown_background();
    }
}

/// Whether somebody still has the folder or a port.
fn is_taken(error: &StartError) -> bool {
    match error {
        StartError::InUse { .. } => true,
        StartError::Listen { source, .. } => source.kind() == ErrorKind::AddrInUse,
        _ => false,
    }
}

/// What firmware needs to know of the server that is running, if one is.
#[derive(Clone, Default)]
pub(super) struct Booting(Arc<Mutex<Option<BootServer>>>);

#[derive(Clone)]
struct BootServer {
    runtime: tokio::runtime::Handle,
    site: bessemer_server::site::Site,
    pin: bessemer_tls::Fingerprint,
}

impl Booting {
    /// This one is the one that is running.
    pub(super) fn point_to(&self, running: &Running) {
        let server = &running.server;
        *self.0.lock().unwrap() = Some(BootServer {
            runtime: running.runtime.handle().clone(),
            site: server.site.clone(),
            pin: server.agent_fingerprint.unwrap(),
        });
    }

    /// None is.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// Stands for DHCP and the boot file.
    pub(super) fn firmware(&self) -> Firmware {
        let booting = self.clone();
        Arc::new(move |mac| {
            let server = booting.0.lock().unwrap().clone();
            async move {
                let server = server?;
                let runtime = server.runtime.clone();
                // In the server's own runtime: a question to a server that is killed has no answer.
                let answer =
                    runtime.spawn(async move { offered(&server.site, server.pin, mac).await });
                answer.await.ok().flatten()
            }
            .boxed()
        })
    }
}

pub(super) fn configuration(
    data: &Path,
    ramdisk: PathBuf,
    address: Ipv4Addr,
    timing: Timing,
) -> Config {
    let any_port = SocketAddr::from((address, 0));
    Config {
        data: data.into(),
        api: Api {
            listen: any_port,
            ..Api::default()
        },
        provisioning: Some(Provisioning {
            interface: None,
            address,
            subnet: "127.0.0.0/8".parse().unwrap(),
            pool_first: Ipv4Addr::new(127, 0, 1, 1),
            pool_last: Ipv4Addr::new(127, 0, 1, 250),
            vlan: None,
            standby_vlan: None,
            ramdisk,
            agent_port: 0,
            boot_port: 0,
            dhcp: DhcpMode::Full,
            image_transport: ImageTransport::default(),
            ipxe: PathBuf::new(),
            relayed: Vec::new(),
            kernel_arguments: String::new(),
        }),
        // Tests that count what is asked of controllers and written would be disturbed.
        bmc: Bmc { power_check: 0 },
        phone_home: Some(phone_home(any_port)),
        timing,
        ..Config::default()
    }
}

pub(super) fn phone_home(listen: SocketAddr) -> PhoneHome {
    PhoneHome { listen, url: None }
}

/// A loopback address that no other site of this process has, nor one of another test process
/// that runs at the same time (with luck; they would only compete for ports).
pub(super) fn own_address() -> Ipv4Addr {
    static SITES: AtomicU32 = AtomicU32::new(0);
    let site = SITES.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let octet = |number: u32| (number % 200 + 20) as u8;
    Ipv4Addr::new(
        127,
        octet(process),
        octet(process / 200 + site / 200),
        octet(site),
    )
}

/// `BESSEMER_LOG=debug` shows what the server says.
pub(super) fn show_logs_if_asked() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("BESSEMER_LOG") {
        // Another site may have been first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    }
}
