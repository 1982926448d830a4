//! What can go wrong before and around a TLS handshake.

use std::path::PathBuf;
use std::time::Duration;

/// Why a TLS configuration, a certificate or a peer's fingerprint could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// rustls refused the configuration: for instance a key that does not belong to the
    /// certificate.
    #[error("TLS configuration refused: {0}")]
    Configuration(#[from] rustls::Error),
    /// [`Trust::Authorities`](crate::Trust::Authorities) without a single certificate would
    /// refuse every peer.
    #[error("no certificate authority given: name at least one, or pin the peer's certificate")]
    NoAuthorities,
    /// One of the given authorities is not a usable X.509 certificate.
    #[error("certificate authority number {number} is not a usable X.509 certificate")]
    BadAuthority {
        /// Place in the list, counted from 1.
        number: usize,
        /// What rustls says about it.
        source: rustls::Error,
    },
    /// The host has no readable certificate authorities.
    #[cfg(feature = "system-roots")]
    #[error(
        "no usable certificate authorities on this host ({detail}): install ca-certificates, or \
         pin the peer's certificate"
    )]
    NoSystemRoots {
        /// The first thing that went wrong while looking, or that nothing was there.
        detail: String,
    },
    /// A certificate or key file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `create`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file holds no PEM section of the kind it should, or a damaged one.
    #[error("{} holds no usable PEM {kind}: {detail}", path.display())]
    BadPem {
        /// `certificate` or `private key`.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A client's certificate or key, or an authority, that is not usable PEM.
    #[error("not a usable PEM {kind}: {detail}")]
    BadIdentity {
        /// `certificate` or `private key`.
        kind: &'static str,
        /// What is wrong with it; never the key itself.
        detail: String,
    },
    /// A certificate without its key cannot serve, and making a new key would orphan it.
    #[error(
        "certificate {} has no key at {}: put the key there, or remove the certificate to have \
         a new pair made",
        certificate.display(), key.display()
    )]
    KeyMissing {
        /// The certificate that is there.
        certificate: PathBuf,
        /// The key that is not.
        key: PathBuf,
    },
    /// A private key that every user of the machine may read or change.
    #[error(
        "private key {} is open to every user (mode {mode:03o}): chmod 600 it, and replace it \
         if others had access",
        path.display()
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate could not be made: nearly always a name that is not one.
    #[cfg(feature = "server")]
    #[error("cannot make a certificate for {names:?}")]
    Generate {
        /// The DNS names and IP addresses asked for.
        names: Vec<String>,
        /// What rcgen says about it.
        source: rcgen::Error,
    },
    /// A host that can stand neither as a DNS name nor as an IP address.
    #[error("{host:?} is neither a DNS name nor an IP address")]
    BadHost {
        /// The host as given.
        host: String,
    },
    /// The peer could not be reached, or broke off the handshake.
    #[error("no TLS handshake with {host}:{port}")]
    Handshake {
        /// DNS name or IP address.
        host: String,
        /// TCP port.
        port: u16,
        /// The connection's or rustls' error.
        source: std::io::Error,
    },
    /// The peer did not finish in time.
    #[error("{host}:{port} did not finish a TLS handshake within {limit:?}")]
    TimedOut {
        /// DNS name or IP address.
        host: String,
        /// TCP port.
        port: u16,
        /// The time it was given.
        limit: Duration,
    },
}
