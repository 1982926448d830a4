//! Who a client is: the certificate that it shows to peers who ask for one.

use std::fmt;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Fingerprint};

/// A certificate chain with its private key, as a client shows it (RFC 8446, section 4.4.2).
pub struct ClientIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// From PEM: the certificate followed by its intermediates, and its key.
    ///
    /// # Errors
    /// When one of them is not there or damaged. Whether they belong together is seen when they are
    /// used.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let bad = |kind, detail: String| Error::BadIdentity { kind, detail };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| bad("certificate", error.to_string()))?;
        if chain.is_empty() {
            return Err(bad("certificate", "there is none in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| bad("private key", error.to_string()))?;
        Ok(Self { chain, key })
    }
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// Never shows the key.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientIdentity")
            .field("certificate", &self.chain.first().map(Fingerprint::of))
            .finish_non_exhaustive()
    }
}

/// The certificates in `pem`, as [`Trust::Authorities`](crate::Trust::Authorities) wants them.
///
/// # Errors
/// When there is none, or one is damaged.
pub fn authorities_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::BadIdentity {
            kind: "certificate",
            detail: error.to_string(),
        })?;
    if found.is_empty() {
        return Err(Error::NoAuthorities);
    }
    Ok(found)
}
