//! A NIC at a switch port.
//!
//! Open vSwitch's dummy devices speak over a stream: each frame after its length in two bytes
//! (`lib/netdev-dummy.c`).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::control::Counter;
use crate::frames;

/// Long enough never to pass in a test that works.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Nic {
    stream: UnixStream,
    /// Of which switch, and the port's name.
    pub(crate) leaf: usize,
    pub(crate) port: String,
    /// Frames sent by this port.
    pub(crate) sent: u64,
    received: u64,
    /// What it has heard and nobody has asked for.
    heard: Vec<Vec<u8>>,
}

impl Nic {
    /// Plugs a NIC into a port whose device listens on `socket`, and has taken in and let out so many
    /// frames before.
    pub(crate) fn plug(leaf: usize, port: &str, socket: &Path, before: Counter) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            leaf,
            port: port.to_owned(),
            sent: before.taken,
            received: before.let_out,
            heard: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let length = u16::try_from(frame.len()).unwrap();
        let bytes = [&length.to_be_bytes(), frame].concat();
        self.stream.write_all(&bytes).unwrap();
        self.sent += 1;
    }

    /// Listens until it has received `count` frames in all.
    pub(crate) fn receive_until(&mut self, count: u64) {
        while self.received < count {
            let mut length = [0; 2];
            self.stream.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u16::from_be_bytes(length).into()];
            self.stream.read_exact(&mut frame).unwrap();
            self.received += 1;
            self.heard.push(frame);
        }
    }

    /// Whether the frame with this number is heard before `limit` has passed without any frame.
    pub(crate) fn hears(&mut self, number: u32, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        loop {
            let mut length = [0; 2];
            if self.stream.read_exact(&mut length).is_err() {
                return false;
            }
            let mut frame = vec![0; u16::from_be_bytes(length).into()];
            self.stream.read_exact(&mut frame).unwrap();
            if frames::number(&frame) == Some(number) {
                return true;
            }
        }
    }

    /// The frames of these tests that it has heard since it was last asked.
    pub(crate) fn take_heard(&mut self) -> Vec<Vec<u8>> {
        let heard = std::mem::take(&mut self.heard);
        let ours = heard
            .into_iter()
            .filter(|each| frames::number(each).is_some());
        ours.collect()
    }

    /// Their numbers.
    pub(crate) fn take_numbers(&mut self) -> BTreeSet<u32> {
        let heard = self.take_heard();
        heard
            .iter()
            .filter_map(|each| frames::number(each))
            .collect()
    }
}
