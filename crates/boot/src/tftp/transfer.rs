//! One file to one client, from a port of its own.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::packet::{Terms, Word, data, word};

/// How often the same is sent before the client is given up.
const TRIES: u32 = 5;

/// The same, while the client has not yet proven that it hears us: its address may be forged.
const FIRST_TRIES: u32 = 3;

/// The longest that a transfer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client has it all.
    Complete,
    /// The client ended it; asking for the size only, firmware does that always.
    Stopped,
    /// The client fell silent.
    Silent,
    /// The client took too long.
    TooLong,
}

/// Sends `content` from `socket`, which is bound to a port of its own and connected to the client.
pub(super) async fn send(socket: &UdpSocket, content: &Bytes, terms: Terms) -> io::Result<Ending> {
    let mut transfer = Transfer {
        socket,
        content,
        terms,
        acknowledged: 0,
        heard: false,
        end: Instant::now() + LIMIT,
    };
    if let Some(told) = terms.acknowledgement(content.len()) {
        match transfer.until_moved(Batch::Options(&told)).await? {
            None => {}
            Some(ending) => return Ok(ending),
        }
    }
    while transfer.acknowledged < transfer.blocks() {
        if let Some(ending) = transfer.until_moved(Batch::Window).await? {
            return Ok(ending);
        }
    }
    Ok(Ending::Complete)
}

/// What is sent until it is acknowledged.
#[derive(Clone, Copy)]
enum Batch<'a> {
    Options(&'a [u8]),
    /// The blocks after the last acknowledged one.
    Window,
}

struct Transfer<'a> {
    socket: &'a UdpSocket,
    content: &'a Bytes,
    terms: Terms,
    /// Blocks that the client has.
    acknowledged: u64,
    /// Whether the client has ever answered.
    heard: bool,
    end: Instant,
}

impl Transfer<'_> {
    /// The last block is shorter than the others, and so may be empty (RFC 1350 §6).
    fn blocks(&self) -> u64 {
        (self.content.len() / self.terms.block_size) as u64 + 1
    }

    /// Sends `batch`, again if need be, until the client has moved on; `None` then.
    async fn until_moved(&mut self, batch: Batch<'_>) -> io::Result<Option<Ending>> {
        let mut tries = 0;
        loop {
            let limit = if self.heard { TRIES } else { FIRST_TRIES };
            if tries == limit {
                return Ok(Some(Ending::Silent));
            }
            if Instant::now() >= self.end {
                return Ok(Some(Ending::TooLong));
            }
            tries += 1;
            self.send(batch).await?;
            match self.listen(batch).await? {
                Heard::Moved => return Ok(None),
                Heard::Nothing => {}
                Heard::Stop => return Ok(Some(Ending::Stopped)),
            }
        }
    }

    async fn send(&self, batch: Batch<'_>) -> io::Result<()> {
        match batch {
            Batch::Options(packet) => self.socket.send(packet).await.map(drop),
            Batch::Window => {
                // Unproven clients get one block, whatever they asked for.
                let window = if self.heard { self.terms.window } else { 1 };
                let first = self.acknowledged + 1;
                let last = (self.acknowledged + u64::from(window)).min(self.blocks());
                for number in first..=last {
                    self.socket.send(&data(number, self.block(number))).await?;
                }
                Ok(())
            }
        }
    }

    fn block(&self, number: u64) -> &[u8] {
        let size = self.terms.block_size;
        let start = ((number - 1) as usize * size).min(self.content.len());
        &self.content[start..(start + size).min(self.content.len())]
    }

    /// Waits for an acknowledgement that moves the transfer on. Duplicates and old ones do not:
    /// answering them is the sorcerer's apprentice (RFC 1123 §4.2.3.1).
    async fn listen(&mut self, batch: Batch<'_>) -> io::Result<Heard> {
        let until = (Instant::now() + self.terms.timeout).min(self.end);
        let mut buffer = [0; 600];
        loop {
            let Ok(received) = timeout_at(until, self.socket.recv(&mut buffer)).await else {
                return Ok(Heard::Nothing);
            };
            let length = match received {
                Ok(length) => length,
                // The client's host says that nobody listens there any more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Ok(Heard::Stop);
                }
                Err(error) => return Err(error),
            };
            match (word(&buffer[..length]), batch) {
                (Word::Error, _) => return Ok(Heard::Stop),
                (Word::Acknowledged(0), Batch::Options(_)) => {
                    self.heard = true;
                    return Ok(Heard::Moved);
                }
                (Word::Acknowledged(number), Batch::Window) => {
                    let ahead = u64::from(number.wrapping_sub(self.acknowledged as u16));
                    if (1..=u64::from(self.terms.window)).contains(&ahead)
                        && self.acknowledged + ahead <= self.blocks()
                    {
                        self.acknowledged += ahead;
                        self.heard = true;
                        return Ok(Heard::Moved);
                    }
                }
                _ => {}
            }
        }
    }
}

enum Heard {
    Moved,
    Nothing,
    Stop,
}

/// A socket for a transfer: a port of its own at `local`, connected to the client, so that the
/// kernel lets nobody else in.
pub(super) async fn socket(local: SocketAddrV4, client: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(*local.ip(), 0)).await?;
    socket.connect(client).await?;
    Ok(socket)
}
