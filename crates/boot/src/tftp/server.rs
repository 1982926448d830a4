//! The port, the files, and who may read how many at once.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::packet::{Wrong, error, request};
use super::transfer::{self, Ending};
use crate::{Error, Result};

/// Transfers at one time, and those of one client: firmware asks for the size first and does not
/// always say that it has ended that.
const MOST_TRANSFERS: usize = 256;
const MOST_OF_ONE_CLIENT: usize = 4;

/// Boot loaders are some hundred kilobytes.
const LARGEST_FILE: u64 = 8 << 20;

/// Longer than any request that makes sense.
const MAX_REQUEST: usize = 1024;

/// The files that there are. No other name leads anywhere.
#[derive(Debug, Clone, Default)]
pub struct Files(Arc<BTreeMap<String, Bytes>>);

impl Files {
    /// Reads the files of these names in `folder`.
    ///
    /// [`Error::BootLoader`] for the first one that cannot be read, is empty, or is too large to be
    /// a boot loader.
    pub fn read(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in names {
            let path = folder.join(name);
            let wrong = |reason: String| Error::BootLoader {
                path: path.clone(),
                reason,
            };
            let size = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
            if !(1..=LARGEST_FILE).contains(&size.len()) {
                return Err(wrong(format!("it has {} bytes", size.len())));
            }
            let content = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
            files.insert((*name).to_owned(), content.into());
        }
        Ok(Self(Arc::new(files)))
    }

    /// These files, by name.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }

    /// Some firmware puts a slash before the name.
    fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.get(name.strip_prefix('/').unwrap_or(name))
    }
}

/// Who may be answered at all.
pub trait Guard: Send + Sync {
    /// Whether `client` is booting now. Asked for every request, so it must be cheap.
    fn may_read(&self, client: Ipv4Addr) -> impl Future<Output = bool> + Send;
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client has loaded a file.
    Served {
        /// Who.
        client: Ipv4Addr,
        /// What.
        name: String,
        /// Bytes of it.
        bytes: usize,
    },
    /// A client got nothing, or not all.
    Refused {
        /// Who, as far as a packet's sender can be believed.
        client: Ipv4Addr,
        /// Why.
        reason: Refusal,
    },
}

/// Why a client got nothing, or not all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not booting now.
    #[error("no machine of this address is booting now")]
    NotBooting,
    /// There is no such file. The name is cut to 64 characters.
    #[error("there is no file {0:?}")]
    NoSuchFile(String),
    /// It wants to write, or in a mode that is not `octet`.
    #[error("it asked for something else than to read a file")]
    NotReading,
    /// Too many transfers are under way.
    #[error("too many transfers are under way")]
    TooMany,
    /// It did not go on.
    #[error("it did not go on")]
    FellSilent,
    /// Its socket failed.
    #[error("the transfer failed: {0}")]
    Failed(io::ErrorKind),
}

/// The port at `address`, usually 69.
pub async fn bind(address: SocketAddrV4) -> Result<UdpSocket> {
    UdpSocket::bind(address)
        .await
        .map_err(|source| Error::Socket {
            service: "TFTP",
            action: "listen",
            remedy: format!(
                "check that {address} is an address of this host, that no other TFTP server has \
                 the port and that Bessemer may use low ports"
            ),
            source,
        })
}

/// Serves `files` until the socket fails; dropping the future ends every transfer.
pub async fn serve(
    socket: &UdpSocket,
    files: Files,
    guard: impl Guard,
    tell: impl Fn(Event) + Send + Sync + Clone + 'static,
) -> Result<()> {
    let failed = |source| Error::Socket {
        service: "TFTP",
        action: "receive",
        remedy: "check that its address still exists".into(),
        source,
    };
    let SocketAddr::V4(local) = socket.local_addr().map_err(failed)? else {
        return Err(failed(io::ErrorKind::Unsupported.into()));
    };
    let places = Places::default();
    let mut transfers = JoinSet::new();
    let mut buffer = vec![0; MAX_REQUEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = transfers.join_next() => continue,
        };
        let (packet, client) = match received.map_err(failed)? {
            (length, SocketAddr::V4(client)) => (&buffer[..length], client),
            _ => continue,
        };
        match admit(packet, client, &files, &guard, &places).await {
            Ok(Some(admitted)) => {
                transfers.spawn(carry_out(admitted, local, client, tell.clone()));
            }
            Ok(None) => {}
            Err((reason, answer)) => {
                if let Some(answer) = answer {
                    // Whoever does not hear it asks again.
                    let _ = socket.send_to(&answer, client).await;
                }
                tell(Event::Refused {
                    client: *client.ip(),
                    reason,
                });
            }
        }
    }
}

/// A transfer that may begin.
struct Admitted {
    name: String,
    content: Bytes,
    terms: super::packet::Terms,
    _place: Place,
}

/// Looks at a request. The error has what the client is answered, if it is one of ours.
async fn admit(
    packet: &[u8],
    client: SocketAddrV4,
    files: &Files,
    guard: &impl Guard,
    places: &Places,
) -> Result<Option<Admitted>, (Refusal, Option<Vec<u8>>)> {
    let request = match request(packet) {
        Err(Wrong::Garbage) => return Ok(None),
        request => request,
    };
    // Before anything is answered: the sender may be forged.
    if !guard.may_read(*client.ip()).await {
        return Err((Refusal::NotBooting, None));
    }
    let request = request.map_err(|wrong| {
        let (code, text) = match wrong {
            Wrong::Write => (2, "read only"),
            _ => (4, "octet mode only"),
        };
        (Refusal::NotReading, Some(error(code, text)))
    })?;
    let Some(content) = files.get(&request.name) else {
        let name = request.name.chars().take(64).collect();
        return Err((Refusal::NoSuchFile(name), Some(error(1, "no such file"))));
    };
    // An error would be the end of its boot (RFC 1350 §5); who hears nothing asks again, as firmware does
    // whose requests have waited for us and are now read all at once.
    let place = places.take(*client.ip());
    let place = place.ok_or((Refusal::TooMany, None))?;
    Ok(Some(Admitted {
        content: content.clone(),
        name: request.name,
        terms: request.terms,
        _place: place,
    }))
}

async fn carry_out(
    admitted: Admitted,
    local: SocketAddrV4,
    client: SocketAddrV4,
    tell: impl Fn(Event),
) {
    let sent = async {
        let socket = transfer::socket(local, client).await?;
        transfer::send(&socket, &admitted.content, admitted.terms).await
    };
    let refused = |reason| Event::Refused {
        client: *client.ip(),
        reason,
    };
    match sent.await {
        Ok(Ending::Complete) => tell(Event::Served {
            client: *client.ip(),
            name: admitted.name,
            bytes: admitted.content.len(),
        }),
        Ok(Ending::Stopped) => {}
        Ok(Ending::Silent | Ending::TooLong) => tell(refused(Refusal::FellSilent)),
        Err(error) => tell(refused(Refusal::Failed(error.kind()))),
    }
}

/// How many transfers each client has.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashMap<Ipv4Addr, usize>>>);

/// One of them; given back when dropped.
struct Place(Places, Ipv4Addr);

impl Places {
    fn take(&self, client: Ipv4Addr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= MOST_TRANSFERS {
            return None;
        }
        let own = taken.entry(client).or_default();
        if *own >= MOST_OF_ONE_CLIENT {
            return None;
        }
        *own += 1;
        Some(Place(self.clone(), client))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.1);
            }
        }
    }
}
