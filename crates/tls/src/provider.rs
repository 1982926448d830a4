//! The one choice of cryptography.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// rustls' *ring* provider. Named explicitly everywhere, since a process-wide default may have
/// been set to something else by a library, or by nobody.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
