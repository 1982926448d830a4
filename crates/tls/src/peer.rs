//! Looking at the certificate a peer shows, without believing it.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Error, Fingerprint, Trust, client_config};

/// The fingerprint of the certificate that `host`:`port` shows now, so that a person can be told
/// what to compare or pin. Sends nothing beyond the handshake.
///
/// # Errors
/// When the peer cannot be reached or speaks no TLS within `limit`.
pub async fn peer_fingerprint(
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<Fingerprint, Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::BadHost {
        host: host.to_owned(),
    })?;
    let config = client_config(&Trust::InsecureNoVerification)?;
    match tokio::time::timeout(limit, shown(host, port, name, config)).await {
        Ok(Ok(fingerprint)) => Ok(fingerprint),
        Ok(Err(source)) => Err(Error::Handshake {
            host: host.to_owned(),
            port,
            source,
        }),
        Err(_) => Err(Error::TimedOut {
            host: host.to_owned(),
            port,
            limit,
        }),
    }
}

async fn shown(
    host: &str,
    port: u16,
    name: ServerName<'static>,
    config: rustls::ClientConfig,
) -> std::io::Result<Fingerprint> {
    let stream = TcpStream::connect((host, port)).await?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (_, session) = stream.get_ref();
    session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(Fingerprint::of)
        .ok_or_else(|| std::io::Error::other("the peer showed no certificate"))
}
