//! The loop around the packets, over a real socket.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bessemer_boot::dhcp::{
    Config, Directory, Event, Expectation, Mode, Relay, Silence, Sockets, serve,
};
use bessemer_core::net::MacAddress;
use dhcproto::Encodable;
use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

type LookupError = Box<dyn std::error::Error + Send + Sync>;

/// A directory that fails for one machine, hangs for another, and knows nobody else.
#[derive(Default)]
struct Troubled {
    asked: AtomicUsize,
}

impl Directory for &'static Troubled {
    async fn lookup(&self, mac: MacAddress, _: Option<&Relay>) -> Result<Expectation, LookupError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match mac.octets()[5] {
            1 => Err("the database is gone".into()),
            2 => std::future::pending().await,
            _ => Ok(Expectation::Nothing),
        }
    }
}

fn discover(last: u8) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mac = [0x52, 0x54, 0, 0x77, 0, last];
    let mut message = Message::new_with_id(1, none, none, none, none, &mac);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ClientSystemArchitecture(Architecture(16)));
    options.insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
    message.to_vec().unwrap()
}

#[tokio::test]
async fn trouble_with_one_client_is_told_once_and_does_not_stop_the_others() {
    let directory: &'static Troubled = Box::leak(Box::default());
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server.local_addr().unwrap()).await.unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    let config = Config {
        server: Ipv4Addr::LOCALHOST,
        mode: Mode::Full,
        lease_seconds: 60,
        relayed: vec![],
        pxe_bios_file: "bios".into(),
        pxe_uefi_file: "uefi".into(),
    };
    let sockets: &'static Sockets = Box::leak(Box::new(Sockets {
        dhcp: server,
        boot_server: None,
    }));
    let running = tokio::spawn(serve(sockets, config, directory, move |event| {
        sender.send(event).unwrap();
    }));

    for packet in [
        b"garbage".to_vec(),
        discover(1),
        discover(1),
        discover(2),
        b"garbage".to_vec(),
        discover(3),
    ] {
        client.send(&packet).await.unwrap();
    }
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
        match event.unwrap().unwrap() {
            Event::Silent { mac, reason } => (mac.map(|mac| mac.octets()[5]), reason),
            answered => panic!("{answered:?}"),
        }
    };
    assert_eq!(next().await, (None, Silence::Malformed));
    assert_eq!(next().await, (Some(1), Silence::DirectoryFailed));
    assert_eq!(next().await, (Some(2), Silence::DirectoryFailed));
    assert_eq!(next().await, (Some(3), Silence::NotExpected));
    assert_eq!(directory.asked.load(Ordering::Relaxed), 4);
    assert!(!running.is_finished());
    running.abort();
}
