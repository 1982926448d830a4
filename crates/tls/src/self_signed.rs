//! A certificate of our own, made at the first start and kept.
//!
//! A fresh installation has no certificate authority, yet agents, BMCs fetching boot media and
//! people's command lines must reach it over TLS. So it makes a key and a self-signed certificate
//! once and everybody pins the [`Fingerprint`]. An operator who has a real certificate puts the
//! two PEM files in the same place and it is used as it is.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::provider::provider;
use crate::{Error, Fingerprint};

/// A certificate chain with its private key, as a server needs them.
pub struct SelfSigned {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SelfSigned")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// Reads the PEM files `certificate` and `key`; makes whichever does not exist yet, the key
    /// with mode 0600. `names` are the DNS names and IP addresses a new certificate is for; a
    /// certificate that exists is kept whatever its names, since others may have pinned it.
    ///
    /// A crash in between leaves at worst a key without a certificate, which the next call
    /// completes. The folders must exist.
    ///
    /// # Errors
    /// When a file cannot be read, written or parsed, the key is open to every user, or there is
    /// a certificate without a key.
    pub fn load_or_create(certificate: &Path, key: &Path, names: &[String]) -> Result<Self, Error> {
        let certificate_pem = read_if_there(certificate)?;
        let key_pem = match (read_if_there(key)?, &certificate_pem) {
            (Some(pem), _) => {
                refuse_exposed_key(key)?;
                pem
            }
            (None, Some(_)) => {
                return Err(Error::KeyMissing {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                });
            }
            (None, None) => create_key(key, names)?,
        };
        let certificate_pem = match certificate_pem {
            Some(pem) => pem,
            None => create_certificate(certificate, key, &key_pem, names)?,
        };
        Self::from_pem(certificate, &certificate_pem, key, &key_pem)
    }

    fn from_pem(
        certificate: &Path,
        certificate_pem: &str,
        key: &Path,
        key_pem: &str,
    ) -> Result<Self, Error> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| bad_pem("certificate", certificate, &error))?;
        let Some(leaf) = chain.first() else {
            return Err(bad_pem("certificate", certificate, &"no such section"));
        };
        let fingerprint = Fingerprint::of(leaf);
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| bad_pem("private key", key, &error))?;
        Ok(Self {
            chain,
            key,
            fingerprint,
        })
    }

    /// The fingerprint clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificates shown to clients, the server's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// A server configuration that shows this certificate: TLS 1.2 and 1.3, no client
    /// certificates, no ALPN protocols (set those the caller speaks).
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn server_config(&self) -> Result<ServerConfig, Error> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        Ok(config)
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Group access is let pass: distributions keep keys readable for a group such as `ssl-cert`.
fn refuse_exposed_key(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(Error::KeyExposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn create_key(path: &Path, names: &[String]) -> Result<String, Error> {
    let pair = KeyPair::generate().map_err(|source| generate(names, source))?;
    let pem = pair.serialize_pem();
    write_new(path, &pem, 0o600)?;
    Ok(pem)
}

fn create_certificate(
    path: &Path,
    key: &Path,
    key_pem: &str,
    names: &[String],
) -> Result<String, Error> {
    let pair = KeyPair::from_pem(key_pem).map_err(|error| bad_pem("private key", key, &error))?;
    let mut parameters = CertificateParams::new(names).map_err(|source| generate(names, source))?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Bessemer");
    parameters.distinguished_name = subject;
    // Whoever pins it never looks at the dates. They are fixed and wide so that a machine whose
    // clock has not been set yet is not locked out.
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let pem = parameters
        .self_signed(&pair)
        .map_err(|source| generate(names, source))?
        .pem();
    write_new(path, &pem, 0o644)?;
    Ok(pem)
}

/// Writes beside the target and renames, so that nobody ever reads half a file.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let beside = beside(path);
    let failed = |source| Error::File {
        action: "create",
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(failed)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn generate(names: &[String], source: rcgen::Error) -> Error {
    Error::Generate {
        names: names.to_vec(),
        source,
    }
}

fn bad_pem(kind: &'static str, path: &Path, detail: &dyn fmt::Display) -> Error {
    Error::BadPem {
        kind,
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}
