//! `bessemer-lab console`: a node's serial line on this terminal.
//!
//! The console outlives the machine's power: while the machine is off there is no socket to connect
//! to, so the command waits for one and connects again after every power cycle.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bessemer_sim::rack::{NodeDescription, RackDescription, StateDirectory};
use clap::Args;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Ctrl-], as telnet and most serial tools use it.
const LEAVE: u8 = 0x1d;
/// How much of the log is shown first.
const TAIL_BYTES: u64 = 4096;
/// How often to look whether the machine has been powered on.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// Attach to a node's serial console; Ctrl-] leaves.
#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The node, as in `node1`
    node: String,
}

impl Console {
    pub(crate) async fn run(&self, directory: &StateDirectory) -> Result<()> {
        let rack = RackDescription::load(directory)?;
        let rack = rack.with_context(|| {
            format!(
                "no rack is up in {}: run `bessemer-lab up` first",
                directory.path().display()
            )
        })?;
        let node = rack.node(&self.node)?;
        print_tail(&node.serial_log).await?;
        eprint!("\r\n[console of {}; Ctrl-] leaves]\r\n", node.name);
        let _raw = RawTerminal::enter()?;
        attach(node, keys()).await
    }
}

/// What was said last, from the beginning of a line.
async fn print_tail(log: &Path) -> Result<()> {
    let Ok(mut file) = tokio::fs::File::open(log).await else {
        return Ok(());
    };
    let size = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))
        .await?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).await?;
    let start = match tail.iter().position(|byte| *byte == b'\n') {
        Some(newline) if size > TAIL_BYTES => newline + 1,
        _ => 0,
    };
    show(&tail[start..])
}

/// Keys as they are pressed. A thread, because a blocking read of a terminal cannot be given up.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = std::io::Read::read(&mut std::io::stdin(), &mut buffer) {
            if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn attach(node: &NodeDescription, mut keys: mpsc::Receiver<Vec<u8>>) -> Result<()> {
    let mut said_off = false;
    loop {
        match UnixStream::connect(&node.serial_socket).await {
            Ok(stream) => {
                said_off = false;
                if let Leave::ByKey = converse(stream, &mut keys).await? {
                    eprint!("\r\n[left]\r\n");
                    return Ok(());
                }
            }
            Err(_) if !said_off => {
                eprint!("\r\n[{} is off; waiting]\r\n", node.name);
                said_off = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            pressed = keys.recv() => {
                if pressed.is_none_or(|pressed| pressed.contains(&LEAVE)) {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(RECONNECT_INTERVAL) => {}
        }
    }
}

/// Why a conversation ended.
enum Leave {
    ByKey,
    MachineOff,
}

async fn converse(stream: UnixStream, keys: &mut mpsc::Receiver<Vec<u8>>) -> Result<Leave> {
    let (mut read, mut write) = stream.into_split();
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            count = read.read(&mut buffer) => match count {
                Ok(0) | Err(_) => return Ok(Leave::MachineOff),
                Ok(count) => show(&buffer[..count])?,
            },
            pressed = keys.recv() => {
                // Without a keyboard there is nothing left to leave by.
                let Some(pressed) = pressed else { return Ok(Leave::ByKey) };
                let end = pressed.iter().position(|key| *key == LEAVE);
                let sent = write.write_all(&pressed[..end.unwrap_or(pressed.len())]).await;
                if end.is_some() {
                    return Ok(Leave::ByKey);
                }
                if sent.is_err() {
                    return Ok(Leave::MachineOff);
                }
            }
        }
    }
}

fn show(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("cannot write to the terminal")
}

/// A terminal that passes every key on, until dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(input.as_fd()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(input.as_fd(), SetArg::TCSANOW, &raw).context("cannot change the terminal")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing better can be done with a terminal that has gone.
            let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, before);
        }
    }
}
