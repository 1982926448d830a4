//! What is on a wire: the frames of an interface in a namespace, with the kernel's time of each.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;
use bessemer_sim::rack;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

/// Bytes of a frame that are kept: enough for every header that is looked at, and the mark of those that
/// tests send.
const KEPT: usize = 160;

/// Bytes that the kernel holds for us while we are slow.
const BUFFER: usize = 32 << 20;

/// A frame that was seen.
#[derive(Clone)]
pub(super) struct Frame {
    /// Nanoseconds since 1970.
    pub(super) at: i128,
    pub(super) bytes: Vec<u8>,
}

/// A capture that goes on until it is dropped.
pub(super) struct Capture {
    frames: Arc<Mutex<Vec<Frame>>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Keeps the frames on `interface` of `namespace` that are `wanted`.
    pub(super) async fn start(
        namespace: &str,
        interface: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let name = interface.to_owned();
        let opened = rack::run_in_namespace(namespace, async move || open(&name));
        let (socket, index) = opened.await??;
        let (frames, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (frames, over) = (Arc::clone(&frames), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    read(&socket, index, &wanted, &frames);
                }
            })
        };
        Ok(Self {
            frames,
            over,
            reader: Some(reader),
        })
    }

    /// The frames so far.
    pub(super) fn frames(&self) -> Vec<Frame> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            // It has nothing to tell if it panicked.
            let _ = reader.join();
        }
    }
}

/// A socket that hears the whole namespace, and the number of the interface that is meant.
fn open(interface: &str) -> nix::Result<(OwnedFd, usize)> {
    let index = if_nametoindex(interface)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(200),
    )?;
    Ok((socket, usize::try_from(index).unwrap_or(usize::MAX)))
}

/// Waits for one frame, for a moment, and keeps it if it is wanted.
fn read(
    socket: &OwnedFd,
    index: usize,
    wanted: &impl Fn(&[u8]) -> bool,
    frames: &Mutex<Vec<Frame>>,
) {
    let mut bytes = [0; KEPT];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::empty();
    let received = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags);
    let (length, at) = match received {
        Ok(message) if message.address.is_some_and(|from| from.ifindex() == index) => {
            let stamps = message.cmsgs().into_iter().flatten();
            let at = stamps.filter_map(|each| match each {
                ControlMessageOwned::ScmTimestampns(at) => Some(at),
                _ => None,
            });
            (message.bytes, at.last())
        }
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => return,
        Err(error) => {
            tracing::warn!(%error, "a capture lost a frame");
            return;
        }
    };
    let frame = &bytes[..length.min(KEPT)];
    if let (true, Some(at)) = (wanted(frame), at) {
        let at = i128::from(at.tv_sec()) * 1_000_000_000 + i128::from(at.tv_nsec());
        let mut frames = frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.push(Frame {
            at,
            bytes: frame.to_vec(),
        });
    }
}
