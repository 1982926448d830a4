//! The one choice of cryptography.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// rustls' *ring* provider, one for all. Named explicitly everywhere, since a process-wide default
/// may have been set to something else by a library, or by nobody.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    PROVIDER.clone()
}
