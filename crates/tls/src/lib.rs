//! What the rooms of Bessemer share about TLS.
//!
//! Three very different peers meet here: BMCs that show a certificate nobody signed, an agent
//! that is told on its kernel command line which certificate its conductor has, and people whose
//! command line talks to the API. All of them answer one question, *whom do we believe?*, and
//! that question is [`Trust`]; what a believed certificate is called is [`Fingerprint`].
//! [`client_config`] turns the answer into a rustls configuration, always with the *ring*
//! provider, so that no crate depends on a process-wide default being installed.
//!
//! Certificates are pinned by the SHA-256 of the whole leaf certificate (RFC 5280 DER), not of
//! its public key: it is the number that browsers, `openssl x509 -fingerprint -sha256` and BMC web
//! pages show, so a person can compare it. A pin replaces the checks of name, expiry and issuer;
//! it never replaces the proof that the peer holds the key.
//!
//! The features keep the agent small: `server` ([`SelfSigned`]) makes certificates, `system-roots`
//! (`Trust::System`) reads the authorities of the host.

mod error;
mod fingerprint;
mod identity;
mod peer;
mod provider;
#[cfg(feature = "server")]
mod self_signed;
mod trust;
mod verifier;

pub use error::Error;
pub use fingerprint::{Fingerprint, FingerprintParseError};
pub use identity::{ClientIdentity, authorities_from_pem};
pub use peer::peer_fingerprint;
#[cfg(feature = "server")]
pub use self_signed::SelfSigned;
pub use trust::{Trust, client_config, client_config_as};
pub use verifier::{PinMismatch, certificate_refusal, handshake_failure, pin_mismatch};

/// The rustls this crate configures, so that users need not name a version of their own.
pub use rustls;
