//! One connection to an OVSDB server: JSON-RPC 1.0 as RFC 7047, section 4, uses it.
//!
//! Whoever gives up waiting for an answer takes the request back as far as that is possible. The kernel
//! would go on trying to deliver it for more than a minute (`tcp_orphan_retries` in `tcp(7)`), and a network that
//! comes back would carry out an old change of ports that are somebody else's by then.

use std::sync::Arc;

use bessemer_tls::handshake_failure;
use bessemer_tls::rustls::{self, ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::OvsdbAddress;
use super::notation::Row;
use super::splitter::{Malformed, Splitter};
use crate::Error;

/// The database that holds a switch's configuration.
const DATABASE: &str = "Open_vSwitch";

/// Bytes of one message. What is asked for here are the rows of a few ports.
pub(super) const LONGEST_MESSAGE: usize = 1 << 20;

/// Messages of the server's own (keep-alives, notifications) before the answer comes.
const MOST_INTERRUPTIONS: usize = 1000;

/// Characters of the server's words that are repeated.
const LONGEST_DETAIL: usize = 300;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// What was sent and has not arrived when this is closed is not to arrive any more.
    fn take_back(&self);
}

impl Stream for TcpStream {
    fn take_back(&self) {
        // It fails for sockets that are closed, which send nothing any more.
        self.set_zero_linger().ok();
    }
}

impl Stream for TlsStream<TcpStream> {
    fn take_back(&self) {
        self.get_ref().0.take_back();
    }
}

impl Stream for UnixStream {
    /// What was sent has arrived.
    fn take_back(&self) {}
}

/// A connection, all of whose calls must be done by one deadline.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    splitter: Splitter,
    switch: String,
    address: String,
    last_id: u64,
    /// Whether something was asked that has not been answered.
    waiting: bool,
    deadline: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.waiting {
            self.stream.take_back();
        }
    }
}

impl Connection {
    pub(super) async fn open(
        switch: &str,
        address: &OvsdbAddress,
        tls: Option<Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        if matches!(address, OvsdbAddress::Tls { .. }) && tls.is_none() {
            let switch = switch.to_owned();
            return Err(Error::NoCredentials { switch });
        }
        match timeout_at(deadline, connect(address, tls)).await {
            Ok(Ok(stream)) => Ok(Self {
                stream,
                splitter: Splitter::new(LONGEST_MESSAGE),
                switch: switch.to_owned(),
                address: address.to_string(),
                last_id: 0,
                waiting: false,
                deadline,
            }),
            Ok(Err(source)) => Err(broken(switch, &address.to_string(), source)),
            Err(_) => Err(Error::TimedOut {
                switch: switch.to_owned(),
                doing: "connecting",
            }),
        }
    }

    pub(super) fn switch(&self) -> &str {
        &self.switch
    }

    /// Carries out `operations`, all or none (RFC 7047, section 4.1.3), and gives their results.
    pub(super) async fn transact(&mut self, operations: &[Value]) -> Result<Vec<Value>, Error> {
        let mut parameters = vec![Value::from(DATABASE)];
        parameters.extend_from_slice(operations);
        let result = self.call("transact", parameters.into()).await?;
        results_of(result, operations.len()).map_err(|objection| self.objected(objection))
    }

    /// The rows that each of `selections` finds.
    pub(super) async fn rows(&mut self, selections: Vec<Value>) -> Result<Vec<Vec<Row>>, Error> {
        if selections.is_empty() {
            return Ok(Vec::new());
        }
        let results = self.transact(&selections).await?;
        let rows = results.into_iter().map(rows_of);
        rows.collect::<Option<_>>()
            .ok_or_else(|| self.nonsense("a selection has no rows".to_owned()))
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Error> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"id": id, "method": method, "params": parameters});
        let deadline = self.deadline;
        self.waiting = true;
        let exchange = async {
            self.send(&request).await?;
            self.answer_to(id).await
        };
        match timeout_at(deadline, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut {
                switch: self.switch.clone(),
                doing: "waiting for its database",
            }),
        }
    }

    async fn answer_to(&mut self, id: u64) -> Result<Value, Error> {
        for _ in 0..MOST_INTERRUPTIONS {
            let message = self.receive().await?;
            match heard(message, id) {
                Heard::Echo(echo) => self.send(&echo).await?,
                Heard::Notice => {}
                Heard::Answer(answer) => {
                    self.waiting = false;
                    return answer.map_err(|objection| self.objected(objection));
                }
            }
        }
        Err(self.nonsense("it talks without answering".to_owned()))
    }

    async fn send(&mut self, message: &Value) -> Result<(), Error> {
        let written = self.stream.write_all(message.to_string().as_bytes()).await;
        written.map_err(|source| self.broken(source))
    }

    async fn receive(&mut self) -> Result<Value, Error> {
        loop {
            match self.splitter.next() {
                Ok(Some(message)) => {
                    return serde_json::from_slice(&message)
                        .map_err(|error| self.nonsense(format!("damaged JSON: {error}")));
                }
                Ok(None) => {}
                Err(Malformed::NotAnObject) => {
                    return Err(self.nonsense("what it sends is not JSON-RPC".to_owned()));
                }
                Err(Malformed::TooLong) => {
                    let detail = format!("a message is longer than {LONGEST_MESSAGE} bytes");
                    return Err(self.nonsense(detail));
                }
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk).await {
                Ok(0) => return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => self.splitter.push(&chunk[..length]),
                Err(source) => return Err(self.broken(source)),
            }
        }
    }

    pub(super) fn nonsense(&self, detail: String) -> Error {
        Error::Protocol {
            switch: self.switch.clone(),
            detail,
        }
    }

    fn broken(&self, source: std::io::Error) -> Error {
        broken(&self.switch, &self.address, source)
    }

    fn objected(&self, objection: Objection) -> Error {
        match objection {
            Objection::Nonsense(detail) => self.nonsense(detail.to_owned()),
            Objection::Refused(detail) => Error::Refused {
                switch: self.switch.clone(),
                detail,
            },
        }
    }
}

/// What a message means to somebody who waits for an answer.
pub(super) enum Heard {
    /// RFC 7047, section 4.1.11: whoever is asked for an echo gives it, and this is it.
    Echo(Value),
    /// Something that was not asked for.
    Notice,
    /// The answer.
    Answer(Result<Value, Objection>),
}

/// Why there is no result.
pub(super) enum Objection {
    /// What was said makes no sense.
    Nonsense(&'static str),
    /// The server says no, in these words.
    Refused(String),
}

/// Reads a message where the answer to request `id` is awaited.
pub(super) fn heard(mut message: Value, id: u64) -> Heard {
    if let Some(method) = message.get("method") {
        return match method == "echo" {
            true => Heard::Echo(
                json!({"id": message["id"], "result": message["params"], "error": null}),
            ),
            false => Heard::Notice,
        };
    }
    if message.get("id") != Some(&Value::from(id)) {
        return Heard::Answer(Err(Objection::Nonsense("it answers what was not asked")));
    }
    let error = message.get("error").filter(|error| !error.is_null());
    if let Some(error) = error {
        return Heard::Answer(Err(Objection::Refused(shown(&error.to_string()))));
    }
    let result = message.get_mut("result").map(Value::take);
    Heard::Answer(result.ok_or(Objection::Nonsense("an answer has no result")))
}

/// The results of the `count` operations of a transaction.
pub(super) fn results_of(result: Value, count: usize) -> Result<Vec<Value>, Objection> {
    let Value::Array(results) = result else {
        return Err(Objection::Nonsense(
            "the result of a transaction is not an array",
        ));
    };
    // If the whole fails after every part succeeded, there is one result more than parts.
    if let Some(failed) = results.iter().find(|result| result.get("error").is_some()) {
        return Err(Objection::Refused(refusal(failed)));
    }
    match results.len() == count {
        true => Ok(results),
        false => Err(Objection::Nonsense("a transaction has too few results")),
    }
}

/// RFC 7047, section 3.1, `<error>`: a short code, and details for people.
fn refusal(failed: &Value) -> String {
    let part = |name| failed.get(name).and_then(Value::as_str).unwrap_or_default();
    let detail = shown(&format!("{} {}", part("error"), part("details")));
    detail.trim_end().to_owned()
}

/// The rows that a selection found.
pub(super) fn rows_of(mut result: Value) -> Option<Vec<Row>> {
    let Some(Value::Array(rows)) = result.get_mut("rows").map(Value::take) else {
        return None;
    };
    let rows = rows.into_iter().map(|row| match row {
        Value::Object(row) => Some(row),
        _ => None,
    });
    rows.collect()
}

async fn connect(
    address: &OvsdbAddress,
    tls: Option<Arc<ClientConfig>>,
) -> std::io::Result<Box<dyn Stream>> {
    match (address, tls) {
        (OvsdbAddress::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
        (OvsdbAddress::Tls { host, port }, Some(tls)) => {
            let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            let stream = TlsConnector::from(tls).connect(name, stream).await?;
            Ok(Box::new(stream))
        }
        (OvsdbAddress::Tcp { host, port } | OvsdbAddress::Tls { host, port }, _) => {
            Ok(Box::new(TcpStream::connect((host.as_str(), *port)).await?))
        }
    }
}

/// Why a connection does not come about, or broke: TLS tells more than the operating system. (With
/// TLS 1.3 a peer refuses a certificate after the handshake, RFC 8446, section 4.4.2.)
fn broken(switch: &str, address: &str, source: std::io::Error) -> Error {
    let (switch, address) = (switch.to_owned(), address.to_owned());
    match handshake_failure(&source) {
        None => Error::Unreachable {
            switch,
            address,
            source,
        },
        Some(rustls::Error::AlertReceived(alert)) => Error::NotAdmitted {
            switch,
            detail: format!("{alert:?}"),
        },
        Some(rustls::Error::InvalidCertificate(refusal)) => Error::NotBelieved {
            switch,
            address,
            detail: shown(&refusal.to_string()),
        },
        Some(other) => Error::Protocol {
            switch,
            detail: format!("no TLS comes about: {}", shown(&other.to_string())),
        },
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(LONGEST_DETAIL)
        .collect()
}
