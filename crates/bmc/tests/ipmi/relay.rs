//! A wire with faults: a UDP relay that loses, repeats, delays and reorders what passes, by a fixed
//! pattern of pseudo-random numbers, and throws in garbage of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Out of a hundred datagrams, how many suffer what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) late: u64,
    /// Garbage sent along with it, to the client only.
    pub(crate) garbage: u64,
    /// Whether only the client suffers repeated and late datagrams: `ipmi_sim` itself does not
    /// bear them on its serial line.
    pub(crate) in_order_to_the_bmc: bool,
}

/// A running relay; it ends when dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    wire: Arc<Wire>,
    tasks: Vec<JoinHandle<()>>,
}

struct Wire {
    trouble: Trouble,
    state: AtomicU64,
    cut: AtomicBool,
    /// How many datagrams went into the cut wire.
    lost: watch::Sender<u32>,
}

impl Wire {
    /// The next number of a fixed sequence (xorshift).
    fn dice(&self) -> u64 {
        let mut x = self.state.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.store(x, Ordering::Relaxed);
        x
    }

    fn strikes(&self, percent: u64) -> bool {
        self.dice() % 100 < percent
    }

    /// Copies of a datagram that arrive, each after its delay.
    fn fate(&self, in_order: bool) -> Vec<Duration> {
        if self.cut.load(Ordering::Relaxed) {
            self.lost.send_modify(|lost| *lost += 1);
            return Vec::new();
        }
        if self.strikes(self.trouble.lost) {
            return Vec::new();
        }
        if in_order {
            return vec![Duration::ZERO];
        }
        let delay = match self.strikes(self.trouble.late) {
            true => Duration::from_millis(self.dice() % 700),
            false => Duration::ZERO,
        };
        let again = self.strikes(self.trouble.twice);
        let again = again.then(|| delay + Duration::from_millis(self.dice() % 200));
        std::iter::once(delay).chain(again).collect()
    }
}

impl Relay {
    /// A relay to `bmc` for one client at a time per port: each client socket gets one of its own
    /// towards the BMC, so that sessions are not mixed up.
    pub(crate) async fn start(bmc: SocketAddr, trouble: Trouble, seed: u64) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let wire = Arc::new(Wire {
            trouble,
            state: AtomicU64::new(seed | 1),
            cut: AtomicBool::new(false),
            lost: watch::Sender::new(0),
        });
        let forwarding = tokio::spawn(forward(front, bmc, wire.clone()));
        Self {
            address,
            wire,
            tasks: vec![forwarding],
        }
    }

    /// Cuts the wire, or mends it.
    pub(crate) fn cut(&self, cut: bool) {
        self.wire.lost.send_replace(0);
        self.wire.cut.store(cut, Ordering::Relaxed);
    }

    /// Waits until so many datagrams have gone into the wire since it was cut.
    pub(crate) async fn lost_since_cut(&self, count: u32) {
        let mut lost = self.wire.lost.subscribe();
        lost.wait_for(|lost| *lost >= count).await.unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn forward(front: Arc<UdpSocket>, bmc: SocketAddr, wire: Arc<Wire>) {
    let mut backs: Vec<(SocketAddr, Arc<UdpSocket>)> = Vec::new();
    let mut returning = tokio::task::JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let known = backs.iter().find(|(each, _)| *each == client);
        let back = match known {
            Some((_, back)) => back.clone(),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(bmc).await.unwrap();
                backs.push((client, back.clone()));
                returning.spawn(give_back(front.clone(), back.clone(), client, wire.clone()));
                back
            }
        };
        for delay in wire.fate(wire.trouble.in_order_to_the_bmc) {
            let (back, datagram) = (back.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = back.send(&datagram).await;
            });
        }
    }
}

async fn give_back(
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    client: SocketAddr,
    wire: Arc<Wire>,
) {
    let mut buffer = [0; 2048];
    loop {
        let Ok(length) = back.recv(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if wire.strikes(wire.trouble.garbage) {
            let _ = front
                .send_to(&damaged(&buffer[..length], &wire), client)
                .await;
        }
        for delay in wire.fate(false) {
            let (front, datagram) = (front.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = front.send_to(&datagram, client).await;
            });
        }
    }
}

/// What was sent, with a byte changed or the end missing.
fn damaged(datagram: &[u8], wire: &Wire) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    let at = wire.dice() as usize % datagram.len().max(1);
    if wire.strikes(50) {
        datagram.truncate(at);
    } else if let Some(byte) = datagram.get_mut(at) {
        *byte ^= 0x55;
    }
    datagram
}
