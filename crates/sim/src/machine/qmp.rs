//! The QEMU Machine Protocol (QEMU's `docs/interop/qmp-spec.txt`), as much as power and boot order
//! need.
//!
//! QEMU connects to a socket we listen on, so there is nothing to poll for while it starts. One
//! task per machine reads answers and events; commands go to it one at a time, which is all QMP
//! allows without out-of-band execution.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LinesCodec};

/// Longer than anything QEMU answers to the commands used here.
const LINE_LIMIT: usize = 256 * 1024;
/// QEMU answers in milliseconds unless its main loop is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Why a QMP command has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    #[error("QEMU has closed its control connection")]
    Closed,
    #[error("QEMU did not answer `{0}` within {ANSWER_LIMIT:?}")]
    TimedOut(&'static str),
    #[error("QEMU refused `{command}`: {detail}")]
    Refused {
        command: &'static str,
        detail: String,
    },
    #[error("QEMU's control connection did not start as QMP does: {0}")]
    NoGreeting(String),
}

struct Request {
    line: String,
    answer: oneshot::Sender<Value>,
}

/// A connection to one QEMU.
#[derive(Clone)]
pub(super) struct Qmp {
    requests: mpsc::Sender<Request>,
}

impl Qmp {
    /// Takes up a connection QEMU made. The names of events, such as `RESET`, go to `events`.
    pub(super) async fn start(
        stream: UnixStream,
        events: mpsc::Sender<String>,
    ) -> Result<Self, QmpError> {
        let (read, write) = stream.into_split();
        let mut lines = FramedRead::new(read, LinesCodec::new_with_max_length(LINE_LIMIT));
        let greeting = timeout(ANSWER_LIMIT, lines.next())
            .await
            .map_err(|_| QmpError::TimedOut("greeting"))?
            .ok_or(QmpError::Closed)?
            .map_err(|error| QmpError::NoGreeting(error.to_string()))?;
        if !greeting.contains("\"QMP\"") {
            return Err(QmpError::NoGreeting(greeting.chars().take(80).collect()));
        }
        let (requests, receiver) = mpsc::channel(4);
        tokio::spawn(converse(lines, write, receiver, events));
        let qmp = Self { requests };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command and gives its `return` value.
    pub(super) async fn execute(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let (answer, answered) = oneshot::channel();
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.requests
            .send(Request { line, answer })
            .await
            .map_err(|_| QmpError::Closed)?;
        let mut answer = timeout(ANSWER_LIMIT, answered)
            .await
            .map_err(|_| QmpError::TimedOut(command))?
            .map_err(|_| QmpError::Closed)?;
        match answer.get("error") {
            None => Ok(answer["return"].take()),
            Some(error) => Err(QmpError::Refused {
                command,
                detail: error["desc"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .to_owned(),
            }),
        }
    }
}

/// Carries commands, answers and events until QEMU hangs up.
async fn converse(
    mut lines: FramedRead<OwnedReadHalf, LinesCodec>,
    mut write: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<String>,
) {
    let mut waiting: Option<oneshot::Sender<Value>> = None;
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(Ok(line)) = line else { return };
                let Ok(message) = serde_json::from_str::<Value>(&line) else { return };
                if let Some(event) = message["event"].as_str() {
                    // The listener ends together with the machine, and so do we.
                    if events.send(event.to_owned()).await.is_err() {
                        return;
                    }
                } else if let Some(answer) = waiting.take() {
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(message);
                }
            }
            request = requests.recv(), if waiting.is_none() => {
                let Some(request) = request else { return };
                if write.write_all(request.line.as_bytes()).await.is_err() {
                    return;
                }
                waiting = Some(request.answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// A peer that answers each command with the next of `answers`.
    fn peer(stream: UnixStream, answers: &'static [&'static str]) {
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut commands = BufReader::new(read).lines();
            let greeting = b"{\"QMP\": {\"capabilities\": []}}\r\n";
            write.write_all(greeting).await.expect("a client");
            for answer in ["{\"return\": {}}\r\n"].iter().chain(answers) {
                commands.next_line().await.expect("a command");
                write.write_all(answer.as_bytes()).await.expect("a client");
            }
        });
    }

    #[tokio::test]
    async fn events_between_command_and_answer_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        peer(
            theirs,
            &[
                "{\"event\": \"RESET\"}\n{\"return\": {\"status\": \"running\"}}\n{\"event\": \"STOP\"}\n",
            ],
        );
        let (sender, mut events) = mpsc::channel(4);
        let qmp = Qmp::start(ours, sender).await.expect("QMP");
        let status = qmp
            .execute("query-status", json!({}))
            .await
            .expect("an answer");
        assert_eq!(status["status"], "running");
        assert_eq!(events.recv().await.as_deref(), Some("RESET"));
        assert_eq!(events.recv().await.as_deref(), Some("STOP"));
    }

    #[tokio::test]
    async fn refusals_and_a_lost_connection_are_errors() {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        peer(
            theirs,
            &["{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such path\"}}\n"],
        );
        let (sender, _events) = mpsc::channel(4);
        let qmp = Qmp::start(ours, sender).await.expect("QMP");
        let refused = qmp
            .execute("qom-set", json!({}))
            .await
            .expect_err("a refusal");
        assert!(refused.to_string().contains("no such path"));
        let lost = qmp.execute("query-status", json!({})).await;
        assert!(matches!(lost, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn a_peer_that_is_not_qemu_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        theirs.write_all(b"SSH-2.0-x\r\n").await.expect("a client");
        let (sender, _events) = mpsc::channel(4);
        assert!(matches!(
            Qmp::start(ours, sender).await,
            Err(QmpError::NoGreeting(_))
        ));
    }
}
