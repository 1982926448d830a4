//! What speaks on the provisioning network: DHCP, TFTP, a router advertisement, and the watch for
//! other DHCP servers.

use std::net::SocketAddrV4;
use std::time::Duration;

use bessemer_boot::{advertisement, dhcp, tftp};
use bessemer_core::net::MacAddress;
use serde_json::json;
use tracing::{debug, info, warn};

use super::{BootServices, PXE_BIOS_FILE, PXE_UEFI_FILE};
use crate::server::Parts;

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
        let own = own_address(interface);
        let sockets = dhcp::bind(interface, mode)?;
        let (directory, teller) = (self.clone(), self.clone());
        parts.run(
            "no machine boots from the network until the server is restarted",
            dhcp::serve(sockets, config, directory, move |event| {
                teller.tell_dhcp(event, own);
            }),
        );
        self.start_tftp(parts).await?;
        match advertisement::bind(interface) {
            Ok(socket) => parts.run("iPXE waits for IPv6", advertisement::serve(socket)),
            Err(error) => warn!("{error}"),
        }
        // Beside another server, that one would be found again and again.
        match own {
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
        let socket = tftp::bind(address).await?;
        let (guard, teller) = (self.clone(), self.clone());
        parts.run(
            "no machine boots by PXE until the server is restarted",
            tftp::serve(socket, files, guard, move |event| teller.tell_tftp(&event)),
        );
        Ok(())
    }

    fn start_watch(&self, parts: &Parts, interface: &str, mac: MacAddress) {
        let teller = self.clone();
        let watch = dhcp::Watch {
            interface: interface.to_owned(),
            own: self.provisioning.address,
            mac,
            every: WATCH_INTERVAL,
        };
        parts.run(
            "other DHCP servers are not noticed",
            dhcp::watch(watch, move |stranger| {
                let server = stranger.server;
                teller.tell(
                    "boot.other_dhcp_server",
                    &server.to_string(),
                    "another DHCP server answers on the provisioning network: turn it off, or set \
                     `provisioning.dhcp = \"proxy\"`",
                    json!({ "server": server }),
                );
            }),
        );
    }

    fn tell_tftp(&self, event: &tftp::Event) {
        match event {
            tftp::Event::Served {
                client,
                name,
                bytes,
            } => info!(%client, name, bytes, "TFTP served"),
            // Anybody can send such packets under any name: a log line, no event for each.
            tftp::Event::Refused { client, reason } => {
                self.site.metrics.boot_refused.inc();
                debug!(%client, %reason, "TFTP refused");
            }
        }
    }
}

/// The interface's own MAC address.
fn own_address(interface: &str) -> Option<MacAddress> {
    let path = format!("/sys/class/net/{interface}/address");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
