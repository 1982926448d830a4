//! Real handshakes over loopback: who is believed, who is not, and what the error says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bessemer_tls::rustls::pki_types::ServerName;
use bessemer_tls::rustls::server::{ClientHello, ResolvesServerCert};
use bessemer_tls::rustls::sign::CertifiedKey;
use bessemer_tls::rustls::version::{TLS12, TLS13};
use bessemer_tls::rustls::{self, ServerConfig, SupportedProtocolVersion};
use bessemer_tls::{
    Fingerprint, PinMismatch, SelfSigned, Trust, certificate_refusal, client_config,
    peer_fingerprint, pin_mismatch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn made(folder: &Path, stem: &str) -> SelfSigned {
    let certificate = folder.join(format!("{stem}.crt"));
    let key = folder.join(format!("{stem}.key"));
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    SelfSigned::load_or_create(&certificate, &key, &names).unwrap()
}

/// Greets whoever finishes a handshake, until the test's runtime ends.
async fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // The client may have refused us meanwhile; that is its answer to give.
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    port
}

async fn greet(port: u16, name: &str, trust: &Trust) -> std::io::Result<String> {
    let config = client_config(trust).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn believes_the_pinned_certificate_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let port = serve(own.server_config().unwrap()).await;
    let trust = Trust::Pinned(own.fingerprint());
    assert_eq!(
        greet(port, "not-its-name.example", &trust).await.unwrap(),
        "hello"
    );
}

/// A clock that is years off.
#[derive(Debug)]
struct At(u64);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let since = Duration::from_secs(self.0 * 365 * 24 * 3600);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
    }
}

#[tokio::test]
async fn a_clock_that_is_years_off_does_not_matter_to_a_pin() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let port = serve(own.server_config().unwrap()).await;
    // Years since 1970: an empty battery, and the far future.
    for years in [0, 10, 500] {
        let mut config = client_config(&Trust::Pinned(own.fingerprint())).unwrap();
        config.time_provider = Arc::new(At(years));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello", "{years} years after 1970");
    }
}

#[tokio::test]
async fn refuses_another_certificate_and_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let other = made(folder.path(), "other");
    let port = serve(other.server_config().unwrap()).await;
    let error = greet(port, "localhost", &Trust::Pinned(own.fingerprint()))
        .await
        .unwrap_err();
    let expected = PinMismatch {
        expected: own.fingerprint(),
        found: other.fingerprint(),
    };
    assert_eq!(pin_mismatch(&error), Some(expected));
    let text = expected.to_string();
    assert!(text.contains(&own.fingerprint().to_string()), "{text}");
    assert!(text.contains(&other.fingerprint().to_string()), "{text}");
}

/// Shows one certificate but signs with the key of another: somebody who copied the certificate.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn impostor(
    shown: &SelfSigned,
    key_file: &Path,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    use bessemer_tls::rustls::pki_types::pem::PemObject;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key_file).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(shown.chain().to_vec(), key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Impostor(Arc::new(certified))))
}

#[tokio::test]
async fn a_pin_does_not_replace_the_proof_of_holding_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    made(folder.path(), "other");
    for version in [&TLS12, &TLS13] {
        let genuine = impostor(&own, &folder.path().join("own.key"), version);
        let trust = Trust::Pinned(own.fingerprint());
        assert_eq!(
            greet(serve(genuine).await, "localhost", &trust)
                .await
                .unwrap(),
            "hello"
        );

        let copied = impostor(&own, &folder.path().join("other.key"), version);
        let error = greet(serve(copied).await, "localhost", &trust)
            .await
            .unwrap_err();
        let refusal = certificate_refusal(&error);
        assert_eq!(
            refusal,
            Some(&rustls::CertificateError::BadSignature),
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn an_authority_vouches_for_names_only() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let port = serve(own.server_config().unwrap()).await;
    let trust = Trust::Authorities(own.chain().to_vec());
    assert_eq!(greet(port, "localhost", &trust).await.unwrap(), "hello");
    assert_eq!(greet(port, "127.0.0.1", &trust).await.unwrap(), "hello");
    let error = greet(port, "elsewhere.example", &trust).await.unwrap_err();
    assert!(certificate_refusal(&error).is_some(), "{error}");
    assert_eq!(pin_mismatch(&error), None);
}

#[tokio::test]
async fn a_stranger_is_refused_by_the_system_and_accepted_without_verification() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let port = serve(own.server_config().unwrap()).await;
    // A host without authorities says so when the configuration is made; both are a refusal.
    if client_config(&Trust::System).is_ok() {
        let error = greet(port, "localhost", &Trust::System).await.unwrap_err();
        assert!(certificate_refusal(&error).is_some(), "{error}");
    }
    let trust = Trust::InsecureNoVerification;
    assert_eq!(greet(port, "localhost", &trust).await.unwrap(), "hello");
}

#[tokio::test]
async fn shows_what_a_peer_shows() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    let port = serve(own.server_config().unwrap()).await;
    let shown = peer_fingerprint("127.0.0.1", port, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(shown, own.fingerprint());
}

#[tokio::test]
async fn does_not_wait_for_ever_for_a_silent_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = peer_fingerprint("127.0.0.1", port, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(
        matches!(error, bessemer_tls::Error::TimedOut { .. }),
        "{error}"
    );
}

#[test]
fn authorities_must_be_some_and_be_certificates() {
    let none = client_config(&Trust::Authorities(Vec::new())).unwrap_err();
    assert!(matches!(none, bessemer_tls::Error::NoAuthorities));
    let folder = tempfile::tempdir().unwrap();
    let good = made(folder.path(), "own").chain()[0].clone();
    let bad = rustls::pki_types::CertificateDer::from(vec![1, 2, 3]);
    let error = client_config(&Trust::Authorities(vec![good, bad])).unwrap_err();
    assert!(error.to_string().contains("number 2"), "{error}");
}

#[test]
fn fingerprint_type_is_what_clients_pin() {
    let folder = tempfile::tempdir().unwrap();
    let own = made(folder.path(), "own");
    assert_eq!(own.fingerprint(), Fingerprint::of(&own.chain()[0]));
}
