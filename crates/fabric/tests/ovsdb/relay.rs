//! A relay between the driver and a real database: it counts what is asked, and gets in the way of
//! changes where a test wants that.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bessemer_fabric::{OvsdbAddress, OvsdbSwitch};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What happens to one change.
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// The connection breaks, and the change never arrives.
    BreakBefore,
    /// The change is carried out, and the connection breaks before the answer.
    BreakAfter,
    /// Something else is done between what was read and the change.
    Meanwhile(Box<dyn FnOnce() + Send>),
    /// Something else is done after the change, before the answer.
    Then(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Counts {
    changes: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

pub(crate) struct Relay {
    folder: TempDir,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// A relay to the database at `target`; the changes that pass it meet `troubles`, in this order.
    pub(crate) fn start(target: PathBuf, troubles: Vec<Trouble>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("db.sock")).unwrap();
        let counts = Arc::new(Counts::default());
        let troubles = Arc::new(Mutex::new(VecDeque::from(troubles)));
        let counted = counts.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&target).await.unwrap();
                let (counts, troubles) = (counted.clone(), troubles.clone());
                tokio::spawn(async move {
                    // A connection that breaks is what is being tested.
                    let _ = relay(client, server, &counts, &troubles).await;
                });
            }
        });
        Self {
            folder,
            counts,
            task,
        }
    }

    pub(crate) fn driver(&self) -> OvsdbSwitch {
        let socket = self.folder.path().join("db.sock");
        OvsdbSwitch::new("leaf1", OvsdbAddress::Unix(socket))
    }

    /// Transactions that changed ports, since this was last asked.
    pub(crate) fn changes(&self) -> usize {
        self.counts.changes.swap(0, Ordering::SeqCst)
    }

    /// The most requests that there were at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.counts.most.load(Ordering::SeqCst)
    }
}

impl Counts {
    fn begin(&self) {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
}

async fn relay(
    mut client: UnixStream,
    mut server: UnixStream,
    counts: &Counts,
    troubles: &Mutex<VecDeque<Trouble>>,
) -> std::io::Result<()> {
    loop {
        let request = message(&mut client).await?;
        let trouble = if changes_ports(&request) {
            counts.changes.fetch_add(1, Ordering::SeqCst);
            let mut troubles = troubles.lock().unwrap();
            troubles.pop_front().unwrap_or(Trouble::None)
        } else {
            Trouble::None
        };
        let mut then: Option<Box<dyn FnOnce() + Send>> = None;
        let mut breaks = false;
        match trouble {
            Trouble::None => {}
            Trouble::BreakBefore => return Ok(()),
            Trouble::BreakAfter => breaks = true,
            Trouble::Meanwhile(done) => done(),
            Trouble::Then(done) => then = Some(done),
        }
        counts.begin();
        server.write_all(request.to_string().as_bytes()).await?;
        let answer = message(&mut server).await;
        counts.in_flight.fetch_sub(1, Ordering::SeqCst);
        let answer = answer?;
        if let Some(done) = then {
            done();
        }
        if breaks {
            return Ok(());
        }
        client.write_all(answer.to_string().as_bytes()).await?;
    }
}

fn changes_ports(request: &Value) -> bool {
    let operations = request["params"].as_array().into_iter().flatten();
    let mut operations = operations.filter(|operation| operation["table"] != "Open_vSwitch");
    operations.any(|operation| {
        let name = operation["op"].as_str().unwrap_or_default();
        ["insert", "update", "mutate", "delete"].contains(&name)
    })
}

async fn message(stream: &mut UnixStream) -> std::io::Result<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut messages = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
        if let Some(Ok(message)) = messages.next() {
            return Ok(message);
        }
        let mut chunk = vec![0; 16 << 10];
        match stream.read(&mut chunk).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}
