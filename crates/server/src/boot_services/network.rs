//! What speaks on the provisioning network: DHCP, TFTP, a router advertisement, and the watch for
//! other DHCP servers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bessemer_boot::{advertisement, dhcp, tftp};
use bessemer_core::cause::Cause;
use bessemer_core::net::MacAddress;
use serde_json::json;
use tracing::{debug, info, warn};

use super::{BootServices, PXE_BIOS_FILE, PXE_UEFI_FILE};
use crate::server::Parts;
use crate::sightings::Place;

/// Where TFTP is served (RFC 1350).
const TFTP_PORT: u16 = 69;

/// From one question for other DHCP servers to the next.
const WATCH_INTERVAL: Duration = Duration::from_secs(300);

impl BootServices {
    /// Starts what `[provisioning]` asks for on `interface`.
    ///
    /// # Errors
    /// If DHCP or TFTP cannot be served. What is only there to save time or to warn may fail: that
    /// is logged.
    pub(crate) async fn start(
        &self,
        parts: &Parts,
        interface: &str,
    ) -> Result<(), bessemer_boot::Error> {
        let Some(config) = self.dhcp_config() else {
            return Ok(());
        };
        let mode = config.mode;
        let sockets = Arc::new(dhcp::bind(interface, mode)?);
        let services = self.clone();
        parts.run(
            "the DHCP server",
            "no machine boots from the network until the server is restarted",
            move || {
                let (sockets, config) = (sockets.clone(), config.clone());
                let (directory, teller) = (services.clone(), services.clone());
                let tell = move |event| teller.tell_dhcp(event);
                async move { dhcp::serve(&sockets, config, directory, tell).await }
            },
        );
        self.start_tftp(parts).await?;
        match advertisement::bind(interface) {
            Ok(socket) => {
                let socket = Arc::new(socket);
                parts.run(
                    "the router advertisement",
                    "iPXE waits for IPv6",
                    move || {
                        let socket = socket.clone();
                        async move { advertisement::serve(&socket).await }
                    },
                );
            }
            Err(error) => warn!("{error}"),
        }
        // Beside another server, that one would be found again and again.
        match own_address(interface) {
            Some(mac) if mode == dhcp::Mode::Full => self.start_watch(parts, interface, mac),
            Some(_) => {}
            None => warn!("{interface} has no MAC address: other DHCP servers are not looked for"),
        }
        Ok(())
    }

    async fn start_tftp(&self, parts: &Parts) -> Result<(), bessemer_boot::Error> {
        let files = [PXE_BIOS_FILE, PXE_UEFI_FILE];
        let files = match tftp::Files::read(&self.provisioning.ipxe, &files) {
            Ok(files) => files,
            Err(error) => {
                warn!("machines cannot boot by PXE: {error}");
                return Ok(());
            }
        };
        let address = SocketAddrV4::new(self.provisioning.address, TFTP_PORT);
        let socket = Arc::new(tftp::bind(address).await?);
        let services = self.clone();
        parts.run(
            "the TFTP server",
            "no machine boots by PXE until the server is restarted",
            move || {
                let (socket, files) = (socket.clone(), files.clone());
                let (guard, teller) = (services.clone(), services.clone());
                let tell = move |event| teller.tell_tftp(event);
                async move { tftp::serve(&socket, files, guard, tell).await }
            },
        );
        Ok(())
    }

    fn start_watch(&self, parts: &Parts, interface: &str, mac: MacAddress) {
        let services = self.clone();
        let watch = dhcp::Watch {
            interface: interface.to_owned(),
            own: self.provisioning.address,
            mac,
            every: WATCH_INTERVAL,
        };
        parts.run(
            "the watch for other DHCP servers",
            "they are not noticed",
            move || {
                let teller = services.clone();
                dhcp::watch(watch.clone(), move |stranger| {
                    let teller = teller.clone();
                    tokio::spawn(async move { teller.tell_stranger(stranger.server).await });
                })
            },
        );
    }

    /// Tells of another DHCP server, unless it is one of ours.
    async fn tell_stranger(&self, server: Ipv4Addr) {
        let peers = &self.site.peers;
        if !peers.serve_at(server) {
            // It may have started a moment ago.
            peers.tell(&self.site).await;
        }
        if peers.serve_at(server) {
            return;
        }
        self.tell(
            "boot.other_dhcp_server",
            &server.to_string(),
            "another DHCP server answers on the provisioning network: turn it off, or set \
             `provisioning.dhcp = \"proxy\"`",
            json!({ "server": server }),
        );
    }

    /// Tells operators what happened by TFTP, as part of what its machine did.
    fn tell_tftp(&self, event: tftp::Event) {
        match event {
            tftp::Event::Served {
                client,
                name,
                bytes,
            } => {
                info!(%client, name, bytes, "TFTP served");
                let what = format!("{client} loaded {name} by TFTP");
                self.note_tftp(client, None, what);
            }
            // Anybody can send such packets under any name: a log line, no event for each.
            tftp::Event::Refused { client, reason } => {
                self.site.metrics.boot_refused.inc();
                debug!(%client, %reason, "TFTP refused");
                if reason != tftp::Refusal::NotBooting {
                    let what = format!("{client} did not get its file by TFTP: {reason}");
                    self.note_tftp(client, Some(Cause::NoBootFile), what);
                }
            }
        }
    }

    /// Keeps what the machine did that boots from `client`, for the one who looks for the cause; behind
    /// somebody else's DHCP server, nobody knows which one that is.
    fn note_tftp(&self, client: Ipv4Addr, trouble: Option<Cause>, what: String) {
        let site = self.site.clone();
        tokio::spawn(async move {
            if let Ok(Some(boot)) = site.store.boot_by_address(client).await {
                site.sightings.note(boot.node, Place::Tftp, trouble, what);
            }
        });
    }
}

/// The interface's own MAC address.
fn own_address(interface: &str) -> Option<MacAddress> {
    let path = format!("/sys/class/net/{interface}/address");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
