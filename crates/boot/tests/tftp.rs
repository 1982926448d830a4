//! TFTP over real sockets: by tftp-hpa's client, which we did not write, and by clients that mean
//! no good.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bessemer_boot::tftp::{Event, Files, Guard, MAX_BLOCK_SIZE, Refusal, bind, serve};
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes, shorter than anybody waits.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a client waits for an answer before it asks again.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

/// Lets everybody in but one.
struct AllBut(Ipv4Addr);

impl Guard for AllBut {
    async fn may_read(&self, client: Ipv4Addr) -> bool {
        client != self.0
    }
}

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

struct Server {
    address: SocketAddr,
    events: UnboundedReceiver<Event>,
    running: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn loader() -> Bytes {
    (0..200_000_u32).map(|at| (at ^ (at >> 8)) as u8).collect()
}

impl Server {
    async fn start() -> Self {
        let socket = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = socket.local_addr().unwrap();
        let exact = Bytes::from(vec![7; 1024]);
        let files = Files::new([("loader".into(), loader()), ("exact".into(), exact)]);
        let (sender, events) = unbounded_channel();
        let running = tokio::spawn(async move {
            let tell = move |event| drop(sender.send(event));
            serve(&socket, files, AllBut(STRANGER), tell).await.unwrap();
        });
        Self {
            address,
            events,
            running,
        }
    }

    async fn event(&mut self) -> Event {
        timeout(LIMIT, self.events.recv()).await.unwrap().unwrap()
    }

    async fn refusal(&mut self) -> Refusal {
        match self.event().await {
            Event::Refused { reason, .. } => reason,
            served => panic!("{served:?}"),
        }
    }
}

/// A client, and what it hears.
struct Client(UdpSocket);

impl Client {
    async fn at(address: Ipv4Addr) -> Self {
        Self(UdpSocket::bind((address, 0)).await.unwrap())
    }

    async fn ask(&self, server: &Server, words: &str) {
        let packet = [b"\0\x01", words.as_bytes()].concat();
        self.0.send_to(&packet, server.address).await.unwrap();
    }

    async fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let received = timeout(LIMIT, self.0.recv_from(&mut buffer)).await;
        let (length, from) = received.unwrap().unwrap();
        (buffer[..length].to_vec(), from)
    }

    async fn acknowledge(&self, number: u16, to: SocketAddr) {
        let packet = [&[0, 4][..], &number.to_be_bytes()].concat();
        self.0.send_to(&packet, to).await.unwrap();
    }

    /// Reads a file to its end, in windows of `window` blocks of `size` bytes.
    async fn read(&self, size: usize, window: usize) -> Vec<u8> {
        let mut content = Vec::new();
        let mut expected = 1_u16;
        let mut unacknowledged = 0;
        loop {
            let (packet, from) = self.hear().await;
            if packet[..2] == [0, 6] {
                self.acknowledge(0, from).await;
                continue;
            }
            assert_eq!(packet[..2], [0, 3], "{packet:?}");
            if packet[2..4] != expected.to_be_bytes() {
                continue;
            }
            content.extend_from_slice(&packet[4..]);
            unacknowledged += 1;
            let last = packet.len() - 4 < size;
            if last || unacknowledged == window {
                self.acknowledge(expected, from).await;
                unacknowledged = 0;
            }
            if last {
                return content;
            }
            expected = expected.wrapping_add(1);
        }
    }
}

async fn fetched_by_tftp_hpa(server: &Server, folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join("fetched");
    let status = Command::new("tftp")
        .args([
            "-m",
            "binary",
            "127.0.0.1",
            &server.address.port().to_string(),
        ])
        .args(["-c", "get", name])
        .arg(&path)
        .kill_on_drop(true)
        .status();
    assert!(timeout(LIMIT, status).await.unwrap().unwrap().success());
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn others_fetch_whole_files() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    assert!(fetched_by_tftp_hpa(&server, folder.path(), "loader").await == loader());
    let served = server.event().await;
    assert!(matches!(served, Event::Served { name, bytes: 200_000, .. } if name == "loader"));
    // Its last block is an empty one.
    let exact = fetched_by_tftp_hpa(&server, folder.path(), "/exact").await;
    assert!(exact == [7; 1024]);
}

#[tokio::test]
async fn blocks_windows_and_size_are_as_agreed() {
    let mut server = Server::start().await;
    let client = Client::at(Ipv4Addr::LOCALHOST).await;
    let options = "blksize\x009000\0windowsize\x004\0tsize\x000\0";
    client
        .ask(&server, &format!("loader\0octet\0{options}"))
        .await;
    let (packet, from) = client.hear().await;
    let agreed = format!("\0\x06blksize\0{MAX_BLOCK_SIZE}\0windowsize\x004\0tsize\x00200000\0");
    assert_eq!(packet, agreed.as_bytes());
    client.acknowledge(0, from).await;
    assert!(client.read(MAX_BLOCK_SIZE, 4).await == loader());
    assert!(matches!(server.event().await, Event::Served { .. }));
}

#[tokio::test]
async fn a_lost_window_is_sent_again_from_where_the_client_is() {
    let server = Server::start().await;
    let client = Client::at(Ipv4Addr::LOCALHOST).await;
    client
        .ask(&server, "loader\0octet\0windowsize\x004\0")
        .await;
    let (_, from) = client.hear().await;
    client.acknowledge(0, from).await;
    // Of the window of four, the client has only the first two.
    for _ in 0..4 {
        client.hear().await;
    }
    client.acknowledge(2, from).await;
    let (packet, _) = client.hear().await;
    assert_eq!(packet[..4], [0, 3, 0, 3]);
}

#[tokio::test]
async fn no_name_leads_out_of_the_files() {
    let mut server = Server::start().await;
    let client = Client::at(Ipv4Addr::LOCALHOST).await;
    for name in [
        "../../../../etc/passwd",
        "/etc/passwd",
        "//loader",
        "./loader",
        "loader/",
        "loader/../loader",
        "..\\..\\boot.ini",
        "%2e%2e/loader",
        "LOADER",
    ] {
        client.ask(&server, &format!("{name}\0octet\0")).await;
        let (packet, from) = client.hear().await;
        assert_eq!(packet[..4], [0, 5, 0, 1], "{name}");
        assert_eq!(from, server.address, "no transfer was begun");
        assert_eq!(server.refusal().await, Refusal::NoSuchFile(name.into()));
    }
    client
        .0
        .send_to(b"\0\x02loader\0octet\0", server.address)
        .await
        .unwrap();
    assert_eq!(client.hear().await.0[..4], [0, 5, 0, 2], "read only");
    assert_eq!(server.refusal().await, Refusal::NotReading);
}

#[tokio::test]
async fn who_is_not_booting_hears_nothing_at_all() {
    let mut server = Server::start().await;
    let stranger = Client::at(STRANGER).await;
    for words in ["loader\0octet\0", "nothing\0octet\0", "loader\0netascii\0"] {
        stranger.ask(&server, words).await;
        assert_eq!(server.refusal().await, Refusal::NotBooting);
    }
    let mut buffer = [0; 64];
    assert!(stranger.0.try_recv_from(&mut buffer).is_err());
}

/// A forged sender never acknowledges: what it is sent must stay little.
#[tokio::test]
async fn who_does_not_answer_is_sent_three_small_packets() {
    for (options, most) in [
        ("", 3 * 516),
        ("windowsize\x0016\0blksize\x001468\0", 3 * 64),
    ] {
        let mut server = Server::start().await;
        let victim = Client::at(Ipv4Addr::LOCALHOST).await;
        victim
            .ask(&server, &format!("loader\0octet\0{options}"))
            .await;
        assert_eq!(server.refusal().await, Refusal::FellSilent);
        let (mut bytes, mut packets) = (0, 0);
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = victim.0.try_recv_from(&mut buffer) {
            bytes += length;
            packets += 1;
        }
        assert_eq!(packets, 3);
        assert!(bytes <= most, "{bytes}");
    }
}

#[tokio::test]
async fn thousands_of_half_open_transfers_are_bounded_and_end() {
    let mut server = Server::start().await;
    // Kept, so that no host tells the server that nobody listens.
    let mut clients = Vec::new();
    let (mut begun, mut refused) = (0, 0);
    for number in 0..500_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let client = Client::at(Ipv4Addr::new(127, 9, high, low)).await;
        for _ in 0..4 {
            client.ask(&server, "loader\0octet\0").await;
        }
        clients.push(client);
    }
    while begun + refused < 2_000 {
        match server.refusal().await {
            Refusal::TooMany => refused += 1,
            Refusal::FellSilent => begun += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 1_000, "{refused} refused, {begun} begun");
    // They have all ended, and whoever asks now is served.
    let folder = tempfile::tempdir().unwrap();
    assert!(fetched_by_tftp_hpa(&server, folder.path(), "loader").await == loader());
}

#[tokio::test]
async fn one_client_has_four_transfers_at_most() {
    let mut server = Server::start().await;
    let client = Client::at(Ipv4Addr::LOCALHOST).await;
    let mut places = BTreeSet::new();
    while places.len() < 4 {
        client.ask(&server, "loader\0octet\0tsize\x000\0").await;
        places.insert(client.hear().await.1);
    }
    client.ask(&server, "loader\0octet\0tsize\x000\0").await;
    while server.refusal().await != Refusal::TooMany {}
    // It is not told, which would end its boot, and is served when it asks again.
    for place in &places {
        client.0.send_to(b"\0\x05\0\x08\0", place).await.unwrap();
    }
    let mut served = false;
    while !served {
        client.ask(&server, "loader\0octet\0tsize\x000\0").await;
        // Between, the others may have been told again.
        while let Ok((packet, from)) = timeout(ASKED_AGAIN, client.hear()).await {
            assert_eq!(packet[..2], [0, 6]);
            served |= !places.contains(&from);
        }
    }
    // Saying that it has ended gives the place back at once.
    let other = Client::at(Ipv4Addr::new(127, 0, 0, 2)).await;
    for _ in 0..20 {
        other.ask(&server, "loader\0octet\0tsize\x000\0").await;
        let (packet, from) = other.hear().await;
        assert_eq!(packet[..2], [0, 6]);
        other.0.send_to(b"\0\x05\0\x08\0", from).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[test]
fn files_that_are_no_boot_loaders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Files::read(folder.path(), &["snponly.efi"]).unwrap_err();
    assert!(error.to_string().contains("snponly.efi") && error.to_string().contains("ipxe"));
    std::fs::write(folder.path().join("snponly.efi"), b"").unwrap();
    assert!(Files::read(folder.path(), &["snponly.efi"]).is_err());
}
