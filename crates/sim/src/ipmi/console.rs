//! A machine's serial line, held for as long as somebody has the console: a machine that is off, or
//! being restarted, has none for a moment, and gets connected again.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::machine::Machine;

/// Pause before a machine without a serial line is asked again.
const AGAIN: Duration = Duration::from_millis(100);
/// Pieces on their way.
const QUEUE: usize = 64;

/// A serial line; it is let go when dropped.
pub(super) struct Console {
    written: mpsc::Receiver<Vec<u8>>,
    typed: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Console {
    pub(super) fn open(machine: Arc<dyn Machine>) -> Self {
        let (to_reader, written) = mpsc::channel(QUEUE);
        let (typed, from_writer) = mpsc::channel(QUEUE);
        let task = tokio::spawn(carry(machine, to_reader, from_writer));
        Self {
            written,
            typed,
            task,
        }
    }

    /// What the machine writes next. Cancel-safe.
    pub(super) async fn read(&mut self) -> Vec<u8> {
        match self.written.recv().await {
            Some(bytes) => bytes,
            None => std::future::pending().await,
        }
    }

    /// Types. What is typed to a machine that is off is lost.
    pub(super) async fn write(&self, bytes: &[u8]) {
        let _ = self.typed.send(bytes.to_vec()).await;
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    machine: Arc<dyn Machine>,
    written: mpsc::Sender<Vec<u8>>,
    mut typed: mpsc::Receiver<Vec<u8>>,
) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(mut line) = machine.serial_line().await else {
            while typed.try_recv().is_ok() {}
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        loop {
            tokio::select! {
                read = line.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => {
                        if written.send(buffer[..count].to_vec()).await.is_err() {
                            return;
                        }
                    }
                    _ => break,
                },
                keys = typed.recv() => match keys {
                    Some(keys) if line.write_all(&keys).await.is_ok() => {}
                    Some(_) => break,
                    None => return,
                },
            }
        }
    }
}
