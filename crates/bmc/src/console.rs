//! A machine's serial console, whatever carries it.
//!
//! A [`SerialConsole`] is a stream of bytes both ways. What keeps it alive (acknowledgements,
//! repeats, keep-alives) is one task per console, so that whoever reads never has to care. The
//! console ends when either side goes: dropping it, or [`SerialConsole::close`], has the task give
//! the console back to the BMC, which has only one; and a connection that is lost comes as an
//! error from [`SerialConsole::read`], after which there is nothing more.

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Error;

/// Pieces kept for a reader that is slower than the machine. A full queue makes the BMC wait.
const QUEUE: usize = 64;

/// How long giving the console back may take: nobody waits for its outcome.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A machine's serial console.
pub struct SerialConsole {
    incoming: mpsc::Receiver<Result<Vec<u8>, Error>>,
    outgoing: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

/// The other side of a [`SerialConsole`]: what its task works with.
pub struct ConsoleEnd {
    /// What the machine wrote, in order; at most one error, as the last thing.
    pub incoming: mpsc::Sender<Result<Vec<u8>, Error>>,
    /// What is to be typed. Closed when nobody wants the console any more.
    pub outgoing: mpsc::Receiver<Vec<u8>>,
}

impl SerialConsole {
    /// A console that `carry`'s task keeps alive. The task is to end soon after
    /// [`ConsoleEnd::outgoing`] is closed, having given the console back.
    pub fn start<F>(carry: impl FnOnce(ConsoleEnd) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (to_reader, incoming) = mpsc::channel(QUEUE);
        let (outgoing, from_writer) = mpsc::channel(QUEUE);
        let task = tokio::spawn(carry(ConsoleEnd {
            incoming: to_reader,
            outgoing: from_writer,
        }));
        Self {
            incoming,
            outgoing,
            task,
        }
    }

    /// The next bytes the machine writes, at least one; `None` once the console has ended. May be
    /// given up at any time: nothing is lost by that.
    ///
    /// # Errors
    /// Once, when the connection is lost or another session takes the console.
    pub async fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.incoming.recv().await.transpose()
    }

    /// Types `bytes`; `false` if the console has ended. Returns when they are queued, not when the
    /// machine has them.
    pub async fn write(&self, bytes: &[u8]) -> bool {
        bytes.is_empty() || self.outgoing.send(bytes.to_vec()).await.is_ok()
    }

    /// Gives the console back to the BMC, within a few seconds.
    pub async fn close(self) {
        let Self {
            incoming,
            outgoing,
            mut task,
        } = self;
        drop((incoming, outgoing));
        if tokio::time::timeout(CLOSE_LIMIT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

impl fmt::Debug for SerialConsole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SerialConsole")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_it_is_closed() {
        let (told, heard) = tokio::sync::oneshot::channel();
        let mut console = SerialConsole::start(|mut end| async move {
            while let Some(typed) = end.outgoing.recv().await {
                if end.incoming.send(Ok(typed)).await.is_err() {
                    break;
                }
            }
            let _ = told.send("given back");
        });
        assert!(console.write(b"login: ").await);
        assert_eq!(console.read().await.unwrap().unwrap(), b"login: ");
        console.close().await;
        assert_eq!(heard.await, Ok("given back"));
    }

    #[tokio::test]
    async fn a_lost_console_says_so_once() {
        let mut console = SerialConsole::start(|end| async move {
            let lost = Error::ConsoleLost {
                bmc: "ipmi://bmc7".into(),
                detail: "another session took it".into(),
            };
            let _ = end.incoming.send(Err(lost)).await;
        });
        let error = console.read().await.unwrap_err().to_string();
        assert!(error.contains("another session"), "{error}");
        assert_eq!(console.read().await.unwrap(), None);
    }
}
