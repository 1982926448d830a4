//! Whose certificate is believed, and what is said when it is not.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use bessemer_bmc::redfish::{RedfishBmc, Security};
use bessemer_bmc::{Bmc, Error, Exchange, ExchangeEnd, PowerState};
use bessemer_core::reason::FailureClass;
use bessemer_tls::{SelfSigned, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::service::{Relay, Service, config, raw_peer, small_tree, soon};

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Clients that do not believe us break off.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn certificate() -> SelfSigned {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    SelfSigned::load_or_create(&path("bmc.crt"), &path("bmc.key"), &["bmc".to_owned()]).unwrap()
}

async fn start(certificate: &SelfSigned) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config().unwrap()));
    Service::serve(address, TlsListener { listener, acceptor }, small_tree())
}

fn client(address: SocketAddr, trust: Trust) -> RedfishBmc {
    RedfishBmc::new(config(&format!("https://{address}"), Security::Tls(trust))).unwrap()
}

#[tokio::test]
async fn the_pinned_certificate_is_believed() {
    let own = certificate();
    let service = start(&own).await;
    for trust in [
        Trust::Pinned(own.fingerprint()),
        Trust::InsecureNoVerification,
    ] {
        let state = client(service.address, trust).power(soon()).await.unwrap();
        assert_eq!(state, PowerState::Off);
    }
}

#[tokio::test]
async fn another_certificate_is_refused_and_both_are_named() {
    let (own, other) = (certificate(), certificate());
    let service = start(&other).await;
    let client = client(service.address, Trust::Pinned(own.fingerprint()));
    let error = client.power(soon()).await.unwrap_err();
    assert!(
        matches!(error, Error::CertificateMismatch { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), FailureClass::Operator);
    let text = error.to_string();
    assert!(text.contains(&own.fingerprint().to_string()), "{text}");
    assert!(text.contains(&other.fingerprint().to_string()), "{text}");
    assert_eq!(client.requests(), 1);
    assert_eq!(service.world(|world| world.seen.len()), 0);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_shown_to_be_pinned() {
    let (authority, own) = (certificate(), certificate());
    let service = start(&own).await;
    let trust = Trust::Authorities(authority.chain().to_vec());
    let error = client(service.address, trust)
        .power(soon())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::CertificateRefused { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), FailureClass::Operator);
    assert!(
        error.to_string().contains(&own.fingerprint().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_without_tls_is_permanent() {
    let (address, _peer) = raw_peer(|_, mut stream| async move {
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).await?;
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await?;
        stream.shutdown().await
    })
    .await;
    let trust = Trust::Pinned(certificate().fingerprint());
    let error = client(address, trust).power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn one_handshake_serves_for_many_looks() {
    let own = certificate();
    let service = start(&own).await;
    let relay = Relay::before(service.address).await;
    let client = client(relay.address, Trust::Pinned(own.fingerprint()));
    for _ in 0..5 {
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
    }
    assert_eq!((relay.connections(), service.logins()), (1, 1));
    // The service root, the login, the list of systems, and one for each look.
    assert_eq!(client.requests(), 3 + 5);

    // The controller closes the connection just as the next look begins.
    relay.cut_next();
    assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
    assert_eq!((relay.connections(), service.logins()), (2, 1));
    let silent = |each: &Exchange| each.end == ExchangeEnd::Silent;
    assert!(
        !client.exchanges().iter().any(silent),
        "it was held against it"
    );
}
