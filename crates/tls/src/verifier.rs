//! The two certificate verifiers rustls does not bring: *exactly this certificate*, and *any*.

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use crate::Fingerprint;

/// The peer showed another certificate than the one pinned. Travels inside the rustls error; see
/// [`pin_mismatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer shows certificate {found}, pinned is {expected}")]
pub struct PinMismatch {
    /// What was pinned.
    pub expected: Fingerprint,
    /// What the peer showed.
    pub found: Fingerprint,
}

/// Looks for a [`PinMismatch`] in an error and all its sources, as HTTP clients wrap it.
pub fn pin_mismatch(error: &(dyn StdError + 'static)) -> Option<PinMismatch> {
    match certificate_refusal(error)? {
        CertificateError::Other(OtherError(inner)) => inner.downcast_ref().copied(),
        _ => None,
    }
}

/// Looks for the refusal of a peer's certificate in an error and all its sources: that the peer
/// was reached but is not believed.
pub fn certificate_refusal<'error>(
    error: &'error (dyn StdError + 'static),
) -> Option<&'error CertificateError> {
    match handshake_failure(error)? {
        rustls::Error::InvalidCertificate(refusal) => Some(refusal),
        _ => None,
    }
}

/// Looks for a rustls error in an error and all its sources: that the peer was reached but no TLS
/// came about.
pub fn handshake_failure<'error>(
    error: &'error (dyn StdError + 'static),
) -> Option<&'error rustls::Error> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(failure) = current.downcast_ref() {
            return Some(failure);
        }
        // An io::Error names as its source not what it wraps but the source of that.
        next = match current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => current.source(),
        };
    }
    None
}

/// Accepts one certificate, whatever its name, dates and issuer, from a peer that proves to hold
/// its key.
#[derive(Debug)]
pub(crate) struct PinnedVerifier {
    pub(crate) expected: Fingerprint,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = PinMismatch {
            expected: self.expected,
            found,
        };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Believes every peer. Nothing is checked, not even that the peer holds the key of what it
/// shows: some BMCs have certificates so odd that they cannot be parsed.
#[derive(Debug)]
pub(crate) struct NoVerifier {
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
