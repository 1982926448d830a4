//! Boot services: the DHCP directory and the boot files, which together let exactly the expected
//! machine load the agent, once.
//!
//! Boot files are composed for each boot around the one kernel and initramfs; their command line
//! carries the one-time token. So their URLs cannot be guessed, they are given only to the address
//! that was leased to that boot (but for boot media, which the management controller fetches, and
//! beside another DHCP server, whose addresses are not ours), and only until the agent has called.
//!
//! [`files`] serves them; [`network`] starts what speaks on the provisioning network.

mod files;
mod network;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bessemer_boot::dhcp::{self, BootLease, Expectation, Mode, Relay};
use bessemer_boot::medium::MediumTemplate;
use bessemer_boot::parameters::{Parameters, Token};
use bessemer_boot::pieces::Pieces;
use bessemer_boot::uki::UkiTemplate;
use bessemer_boot::{script, tftp};
use bessemer_core::cause::Cause;
use bessemer_core::id::BootId;
use bessemer_core::net::MacAddress;
use bessemer_store::{BootRecord, NewEvent, RelayRecord};
use bessemer_tls::Fingerprint;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::config::{BootNetwork, DhcpMode, Provisioning};
use crate::sightings::Place;
use crate::site::Site;

/// What PXE loads, of a BIOS and of UEFI: both use the firmware's own driver for the NIC.
const PXE_BIOS_FILE: &str = "undionly.kpxe";
const PXE_UEFI_FILE: &str = "snponly.efi";

/// How long firmware may keep an address, in seconds.
const LEASE_SECONDS: u32 = 3600;

type LookupError = Box<dyn std::error::Error + Send + Sync>;

/// What the boot services know.
#[derive(Clone)]
pub struct BootServices {
    site: Site,
    provisioning: Arc<Provisioning>,
    /// Of the certificate that agents find.
    fingerprint: Fingerprint,
    boot_address: SocketAddr,
    /// The RAM disk with its digest. Some 20 MB, so not loaded before the first machine boots; read
    /// again when it has changed.
    templates: Arc<Mutex<Option<Loaded>>>,
}

/// The RAM disk as it was read: its digest, and what was made of it.
type Loaded = (Option<String>, Arc<Templates>);

/// The shared parts of all boots.
struct Templates {
    kernel: Bytes,
    initramfs: Bytes,
    uki: UkiTemplate,
    medium: MediumTemplate,
}

impl BootServices {
    /// Boot services that serve boot files at `boot_address`.
    pub fn new(
        site: Site,
        provisioning: Provisioning,
        boot_address: SocketAddr,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            site,
            provisioning: Arc::new(provisioning),
            fingerprint,
            boot_address,
            templates: Arc::default(),
        }
    }

    /// What the DHCP server is configured with; `None` if none is to be served.
    fn dhcp_config(&self) -> Option<dhcp::Config> {
        let mode = match self.provisioning.dhcp {
            DhcpMode::Full => Mode::Full,
            DhcpMode::Proxy => Mode::Proxy,
            DhcpMode::Off => return None,
        };
        let relayed = self.provisioning.relayed.iter();
        Some(dhcp::Config {
            server: self.provisioning.address,
            mode,
            lease_seconds: LEASE_SECONDS,
            relayed: relayed.map(|relayed| relayed.subnet).collect(),
            pxe_bios_file: PXE_BIOS_FILE.into(),
            pxe_uefi_file: PXE_UEFI_FILE.into(),
        })
    }

    /// Whether addresses on the provisioning network are somebody else's to give.
    fn is_proxy(&self) -> bool {
        self.provisioning.dhcp == DhcpMode::Proxy
    }

    fn url(&self, boot: BootId, file: &str) -> String {
        let secret = self.site.keyring.boot_url_secret(boot);
        format!("http://{}/boot/{boot}/{secret}/{file}", self.boot_address)
    }

    /// Where iPXE of the machine with this MAC address is told to boot its disk.
    fn boot_disk_url(&self, mac: MacAddress) -> String {
        format!("http://{}/boot/disk.ipxe?mac={mac}", self.boot_address)
    }

    async fn templates(&self) -> Result<Arc<Templates>, String> {
        let digest = self.site.ramdisk.digest().await;
        // Held while reading: machines that boot together wait for one reading.
        let mut known = self.templates.lock().await;
        if let Some((read, templates)) = &*known
            && *read == digest
        {
            return Ok(templates.clone());
        }
        let templates = Arc::new(load(&self.provisioning).await?);
        *known = Some((digest, templates.clone()));
        Ok(templates)
    }

    fn command_line(&self, boot: &BootRecord) -> Result<String, String> {
        let site = &self.site;
        let network = self.provisioning.network_of(boot.address);
        let network = network.ok_or("the boot's address is in no provisioning subnet any more")?;
        let parameters = Parameters {
            conductors: site.peers.agent_urls(),
            pin: *self.fingerprint.as_bytes(),
            boot: boot.boot,
            token: Token::new(site.keyring.boot_token(boot.boot)).map_err(text)?,
            mac: boot.mac,
            address: boot.address,
            prefix: network.subnet.prefix(),
            gateway: network.router,
        };
        let extra = self.provisioning.kernel_arguments.split_ascii_whitespace();
        parameters.render(extra).map_err(text)
    }

    /// The one file that UEFI loads.
    async fn uki(&self, boot: &BootRecord) -> Result<Pieces, String> {
        let line = self.command_line(boot)?;
        self.templates().await?.uki.compose(&line).map_err(text)
    }

    /// The CD image with that file.
    async fn medium(&self, boot: &BootRecord) -> Result<Pieces, String> {
        let uki = self.uki(boot).await?;
        self.templates().await?.medium.compose(&uki).map_err(text)
    }

    /// What iPXE is told to do.
    fn script(&self, boot: &BootRecord) -> Result<String, String> {
        let line = self.command_line(boot)?;
        let kernel = self.url(boot.boot, files::KERNEL);
        let initramfs = self.url(boot.boot, files::INITRAMFS);
        script::boot(&kernel, &initramfs, &line).map_err(text)
    }

    /// Notes the relay that a boot's firmware asks through, and where that moves it.
    async fn relayed(
        &self,
        boot: BootRecord,
        relay: &Relay,
        network: &BootNetwork,
    ) -> Result<BootRecord, LookupError> {
        let record = RelayRecord {
            address: relay.address,
            circuit_id: relay.circuit_id(),
            remote_id: relay.remote_id(),
        };
        let pool = network.pool_first..=network.pool_last;
        if boot.relay.as_ref() == Some(&record) && pool.contains(&boot.address) {
            return Ok(boot);
        }
        let store = &self.site.store;
        let address = store
            .relay_boot(boot.boot, &record, pool, "provisioning.relayed")
            .await?;
        let circuit = record.circuit_id.as_deref().unwrap_or("not told");
        let message = format!(
            "{} asks to boot through DHCP relay {} (circuit {circuit}); it gets {address}",
            boot.mac, record.address
        );
        self.record(NewEvent {
            kind: "boot.relayed",
            node: Some(boot.node),
            server: None,
            project: None,
            message,
            data: json!({ "mac": boot.mac, "relay": &record }),
        });
        Ok(BootRecord {
            address,
            relay: Some(record),
            ..boot
        })
    }

    /// Notes what came from a NIC, if it is a node's.
    fn note_nic(&self, mac: MacAddress, place: Place, trouble: Option<Cause>, what: String) {
        let site = self.site.clone();
        tokio::spawn(async move {
            if let Ok(Some(node)) = site.store.node_of_mac(mac).await {
                site.sightings.note(node, place, trouble, what);
            }
        });
    }

    /// Stores an event, later and if it can be.
    fn record(&self, event: NewEvent) {
        let site = self.site.clone();
        tokio::spawn(async move {
            if let Err(error) = site.store.append_events(&[event], site.now()).await {
                warn!(%error, "the event could not be recorded");
            }
        });
    }

    /// Tells operators what is not as it should be on the provisioning network.
    fn tell(&self, kind: &'static str, who: &str, message: &str, data: serde_json::Value) {
        self.site.metrics.boot_refused.inc();
        warn!(%who, "{message}");
        self.record(NewEvent {
            kind,
            node: None,
            server: None,
            project: None,
            message: format!("{who}: {message}"),
            data,
        });
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn load(provisioning: &Provisioning) -> Result<Templates, String> {
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
        let (kernel, initramfs) = (file("vmlinuz")?, file("initramfs.zst")?);
        let stub = file("linuxx64.efi.stub")?;
        let uki = UkiTemplate::new(stub, kernel.clone(), initramfs.clone()).map_err(text)?;
        let medium = MediumTemplate::new(uki.file_length()).map_err(text)?;
        Ok(Templates {
            kernel,
            initramfs,
            uki,
            medium,
        })
    };
    tokio::task::spawn_blocking(read).await.map_err(text)?
}

impl dhcp::Directory for BootServices {
    async fn lookup(
        &self,
        mac: MacAddress,
        relay: Option<&Relay>,
    ) -> Result<Expectation, LookupError> {
        let store = &self.site.store;
        let boot = store.boot_by_mac(mac).await?.filter(|boot| !boot.used);
        let Some(mut boot) = boot else {
            let node = store.node_by_mac(mac).await?;
            return Ok(match node {
                Some(node) if node.state.runs_its_disk() => Expectation::Disk {
                    script: self.boot_disk_url(mac),
                },
                _ => Expectation::Nothing,
            });
        };
        let mut network = self.provisioning.network_of(boot.address);
        if let Some(relay) = relay {
            network = self.provisioning.network_of(relay.address);
            if let Some(network) = &network {
                boot = self.relayed(boot, relay, network).await?;
            }
        }
        let network = network.ok_or("the address is in no provisioning subnet")?;
        Ok(Expectation::Agent(BootLease {
            address: boot.address,
            subnet: network.subnet,
            router: network.router,
            dns: Vec::new(),
            url: self.url(boot.boot, files::UKI),
            script: self.url(boot.boot, files::SCRIPT),
        }))
    }
}

impl tftp::Guard for BootServices {
    async fn may_read(&self, client: Ipv4Addr) -> bool {
        if self.is_proxy() {
            return self.provisioning.network_of(client).is_some();
        }
        let boot = self.site.store.boot_by_address(client).await;
        boot.is_ok_and(|boot| boot.is_some_and(|boot| !boot.used))
    }
}

/// What a request that gets no answer hints at.
fn hint(reason: dhcp::Silence) -> Cause {
    match reason {
        // Firmware that boots asks for a boot file; only what it has started does not.
        dhcp::Silence::NotNetworkBoot { architecture: None } => Cause::WrongBootDevice,
        dhcp::Silence::DirectoryFailed => Cause::DatabaseUnavailable,
        _ => Cause::DhcpRefused,
    }
}

/// What an event of DHCP is called, and whom it is about.
fn named(reason: dhcp::Silence, mac: Option<MacAddress>) -> (&'static str, String) {
    let kind = match reason {
        dhcp::Silence::NotExpected => "boot.unknown",
        _ => "boot.refused",
    };
    let who = mac.map_or_else(|| "somebody".to_owned(), |mac| mac.to_string());
    (kind, who)
}

impl BootServices {
    /// Tells operators what happened by DHCP.
    fn tell_dhcp(&self, event: dhcp::Event) {
        match event {
            dhcp::Event::Answered {
                mac,
                client,
                kind,
                address,
                boots_disk,
            } => {
                info!(%mac, ?address, ?client, ?kind, boots_disk, "DHCP answered");
                let what = match address {
                    Some(address) => format!("{mac} got address {address}"),
                    None if boots_disk => format!("{mac} was told to boot its disk"),
                    None => format!("{mac} got its boot file's name"),
                };
                self.note_nic(mac, Place::Dhcp, None, what);
            }
            dhcp::Event::Flood { told } => {
                let message = format!(
                    "more than {told} different requests within a minute got no answer, nor an \
                     address, and more are not told one by one: somebody invents MAC addresses, \
                     or another network leaks into this one; find the switch port they come from"
                );
                self.tell("boot.flood", "DHCP", &message, json!({ "told": told }));
            }
            // It is served by another one of our servers.
            dhcp::Event::Silent {
                reason: dhcp::Silence::OtherServer(server),
                ..
            } if self.site.peers.serve_at(server) => {}
            // Nothing is wrong, so it is no event.
            dhcp::Event::Silent {
                mac: Some(mac),
                reason: reason @ dhcp::Silence::BootsItsDisk,
            } => {
                info!(%mac, "no answer by DHCP: {reason}");
                self.note_nic(
                    mac,
                    Place::Dhcp,
                    None,
                    format!("{mac} got no answer by DHCP: {reason}"),
                );
            }
            dhcp::Event::Silent { mac, reason } => {
                let (kind, who) = named(reason, mac);
                let message = format!("no answer by DHCP: {reason}");
                if let Some(mac) = mac {
                    let what = format!("{mac} got no answer by DHCP: {reason}");
                    self.note_nic(mac, Place::Dhcp, Some(hint(reason)), what);
                }
                self.tell(kind, &who, &message, json!({ "mac": mac }));
            }
        }
    }
}
