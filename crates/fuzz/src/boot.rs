//! What machines on the provisioning network send before they run anything of ours.

use std::net::{Ipv4Addr, Ipv6Addr};

use bessemer_boot::advertisement::may_be_answered;
use bessemer_boot::dhcp::{BootLease, Config, Expectation, Mode, Port, Request, stranger};
use bessemer_boot::tftp::packet::{request, word};
use bessemer_boot::tftp::{MAX_BLOCK_SIZE, MAX_WINDOW_SIZE};
use bessemer_core::net::Ipv4Subnet;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SUBNET: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);

/// What an Ethernet packet holds beside the headers of IP and UDP.
const LONGEST_DATAGRAM: usize = 1472;

/// A DHCP packet, and the answers to it in every mode, at every port, whatever its machine is to do.
pub(crate) fn dhcp_request(packet: &[u8]) {
    let _ = stranger(packet, SERVER);
    let request = match Request::parse(packet) {
        Ok(request) => request,
        Err((_, silence)) => return drop(silence.to_string()),
    };
    if let Some(relay) = request.relay() {
        let _ = (relay.circuit_id(), relay.remote_id());
    }
    for mode in [Mode::Full, Mode::Proxy] {
        for port in [Port::Dhcp, Port::BootServer] {
            for expectation in expectations() {
                match request.answer(&config(mode), port, &expectation) {
                    Ok(reply) => assert!(reply.packet.len() <= LONGEST_DATAGRAM),
                    Err(silence) => drop(silence.to_string()),
                }
            }
        }
    }
}

fn config(mode: Mode) -> Config {
    Config {
        server: SERVER,
        mode,
        lease_seconds: 600,
        relayed: Ipv4Subnet::new(SUBNET, 24).into_iter().collect(),
        pxe_bios_file: "undionly.kpxe".into(),
        pxe_uefi_file: "snponly.efi".into(),
    }
}

fn expectations() -> Vec<Expectation> {
    let lease = Ipv4Subnet::new(SUBNET, 24).ok().map(|subnet| BootLease {
        address: ADDRESS,
        subnet,
        router: Some(SERVER),
        dns: vec![SERVER],
        url: "http://10.77.0.1:8000/boot/1.efi".into(),
        script: "http://10.77.0.1:8000/boot/1.ipxe".into(),
    });
    let disk = Expectation::Disk {
        script: "http://10.77.0.1:8000/boot/disk.ipxe".into(),
    };
    let agent = lease.map(Expectation::Agent);
    agent
        .into_iter()
        .chain([disk, Expectation::Nothing])
        .collect()
}

/// A packet to the TFTP server, as the first one and as a later one.
pub(crate) fn tftp_packet(packet: &[u8]) {
    let _ = word(packet);
    let Ok(request) = request(packet) else { return };
    let terms = request.terms;
    assert!(!request.name.is_empty() && request.name.is_ascii());
    assert!((8..=MAX_BLOCK_SIZE).contains(&terms.block_size));
    assert!((1..=MAX_WINDOW_SIZE).contains(&terms.window));
    assert!((1..=5).contains(&terms.timeout.as_secs()));
    // What is answered to somebody who may not be who they say is small.
    let told = terms.acknowledgement(8 << 20).unwrap_or_default();
    assert!(told.len() < 80);
}

/// An ICMPv6 packet, after the address that it comes from.
pub(crate) fn router_solicitation(input: &[u8]) {
    let Some((asker, packet)) = input.split_first_chunk::<16>() else {
        return;
    };
    let asker = Ipv6Addr::from(*asker);
    if may_be_answered(packet, asker) {
        assert!(asker.is_unicast_link_local() && packet[0] == 133);
    }
}
