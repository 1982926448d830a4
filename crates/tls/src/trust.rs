//! Whom a client believes.

use std::sync::Arc;
#[cfg(feature = "system-roots")]
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "system-roots")]
use std::time::{Duration, Instant};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use crate::provider::provider;
use crate::verifier::{NoVerifier, PinnedVerifier};
use crate::{ClientIdentity, Error, Fingerprint};

/// Whom a client believes to be its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Exactly the certificate with this fingerprint, whatever name, dates and issuer it has.
    Pinned(Fingerprint),
    /// Whoever the certificate authorities of this host vouch for, by name.
    #[cfg(feature = "system-roots")]
    System,
    /// Whoever one of these certificate authorities vouches for, by name.
    Authorities(Vec<CertificateDer<'static>>),
    /// Anybody. Credentials sent over such a connection can be read by whoever sits in between;
    /// only for a network where nobody can, and only because a person said so.
    InsecureNoVerification,
}

/// A rustls client configuration that believes as `trust` says: TLS 1.2 and 1.3, no client
/// certificate, no ALPN protocols (set those the caller speaks).
///
/// # Errors
/// When an authority is not a usable certificate, none was given, or the host has none.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, Error> {
    Ok(builder(trust)?.with_no_client_auth())
}

/// The same for a client that shows who it is, to peers that ask.
///
/// # Errors
/// As for [`client_config`], and when the key does not belong to the certificate.
pub fn client_config_as(trust: &Trust, identity: &ClientIdentity) -> Result<ClientConfig, Error> {
    let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
    Ok(builder(trust)?.with_client_auth_cert(chain, key)?)
}

fn builder(trust: &Trust) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Pinned(expected) => Arc::new(PinnedVerifier {
            expected: *expected,
            algorithms,
        }),
        #[cfg(feature = "system-roots")]
        Trust::System => by_system_roots()?,
        Trust::Authorities(authorities) => by_roots(roots(authorities)?)?,
        Trust::InsecureNoVerification => Arc::new(NoVerifier { algorithms }),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn by_roots(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| Error::Configuration(rustls::Error::General(error.to_string())))?;
    Ok(verifier)
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    if authorities.is_empty() {
        return Err(Error::NoAuthorities);
    }
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().enumerate() {
        roots
            .add(authority.clone())
            .map_err(|source| Error::BadAuthority {
                number: index + 1,
                source,
            })?;
    }
    Ok(roots)
}

/// How long the host's authorities are believed without being read again.
#[cfg(feature = "system-roots")]
const ROOTS_VALID: Duration = Duration::from_secs(600);

/// A verifier that has been made, and when.
#[cfg(feature = "system-roots")]
type Kept = Mutex<Option<(Instant, Arc<dyn ServerCertVerifier>)>>;

/// One verifier for all who believe the host's authorities. There are many of those, and thousands of
/// clients would otherwise each hold, and have read, a copy.
#[cfg(feature = "system-roots")]
fn by_system_roots() -> Result<Arc<dyn ServerCertVerifier>, Error> {
    static KEPT: Kept = Mutex::new(None);
    // Replaced as a whole, so a panic elsewhere cannot have broken it.
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((made_at, verifier)) = &*kept
        && made_at.elapsed() < ROOTS_VALID
    {
        return Ok(verifier.clone());
    }
    let verifier = by_roots(system_roots()?)?;
    *kept = Some((Instant::now(), verifier.clone()));
    Ok(verifier)
}

/// The host's authorities. Single damaged ones are passed over, as every browser does; none at
/// all is an error, since it would only show later as a puzzling refusal.
#[cfg(feature = "system-roots")]
fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let detail = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "nothing found".to_owned(),
        };
        return Err(Error::NoSystemRoots { detail });
    }
    Ok(roots)
}
