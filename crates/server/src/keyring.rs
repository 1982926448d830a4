//! Secrets: sealing what must be read again, deriving what only has to be told again.
//!
//! One 32-byte key in the data folder (mode 0600, made at the first start). BMC passwords and user
//! data are sealed with it (ChaCha20-Poly1305, RFC 8439) before they reach the database, each
//! bound to what it belongs to, so that a sealed value copied to another row does not open. Boot
//! and phone-home tokens are derived from it (HMAC-SHA-256, RFC 2104) and never stored: the same
//! boot has the same token after a restart.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bessemer_core::id::{BootId, Generation, ImageId, ServerId};
use bessemer_core::lifecycle::IntentKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

const KEY_BYTES: usize = 32;

/// The server's key and what is done with it.
pub struct Keyring {
    seal: LessSafeKey,
    derive: hmac::Key,
    random: SystemRandom,
}

/// What can go wrong with secrets.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key file cannot be read or written.
    #[error("the key file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key file is not a key file.
    #[error(
        "the key file {path} {problem}; restore it from your backup: without it no stored BMC password can be read"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A sealed value does not open.
    #[error("the sealed {what} does not open with this server's key; enter it again")]
    Sealed {
        /// What it was.
        what: String,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

impl Keyring {
    /// Reads the key at `path`, or makes one there.
    ///
    /// # Errors
    /// If the file cannot be read or made, is open to other users, or is not a key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyringError> {
        let file = |source| KeyringError::File {
            path: path.into(),
            source,
        };
        let random = SystemRandom::new();
        if !path.exists() {
            let mut key = [0; KEY_BYTES];
            random.fill(&mut key).map_err(|_| KeyringError::Random)?;
            write_new(path, &key).map_err(file)?;
        }
        let mut key = Vec::new();
        fs::File::open(path)
            .and_then(|each| each.take(64).read_to_end(&mut key))
            .map_err(file)?;
        let mode = fs::metadata(path).map_err(file)?.permissions().mode();
        let content = |problem: String| KeyringError::Content {
            path: path.into(),
            problem,
        };
        if mode & 0o077 != 0 {
            return Err(content(format!(
                "can be read by other users (mode {:o}): chmod 600 it",
                mode & 0o777
            )));
        }
        if key.len() != KEY_BYTES {
            return Err(content(format!(
                "has {} bytes instead of {KEY_BYTES}",
                key.len()
            )));
        }
        let derived = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let unbound =
            UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| KeyringError::Random)?;
        Ok(Self {
            seal: LessSafeKey::new(unbound),
            derive: derived,
            random,
        })
    }

    /// Seals `secret`, bound to `purpose` (such as `bmc-password/<node id>`).
    ///
    /// # Errors
    /// Only if the system gives no randomness.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| KeyringError::Random)?;
        let mut sealed = secret.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| KeyringError::Random)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    ///
    /// # Errors
    /// If it was made with another key, for another purpose, or has been changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let wrong = || KeyringError::Sealed {
            what: purpose.split('/').next().unwrap_or("").into(),
        };
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut text = text.to_vec();
        let length = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(purpose.as_bytes()),
                &mut text,
            )
            .map_err(|_| wrong())?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// The one-time token of a boot: 64 hexadecimal digits.
    pub fn boot_token(&self, boot: BootId) -> String {
        self.token(&format!("boot/{boot}"))
    }

    /// What makes the URLs of a boot's files impossible to guess: 32 hexadecimal digits.
    pub fn boot_url_secret(&self, boot: BootId) -> String {
        let mut secret = self.token(&format!("boot-url/{boot}"));
        secret.truncate(32);
        secret
    }

    /// The right of a boot to have the chunks of an image.
    pub fn chunk_token(&self, boot: BootId, image: ImageId) -> String {
        self.token(&format!("chunks/{boot}/{image}"))
    }

    /// The token by which a server's operating system says that it is up.
    pub fn phone_home_token(&self, server: ServerId, generation: Generation) -> String {
        self.token(&format!("phone-home/{server}/{generation}"))
    }

    /// The question by which the agent of a boot proves to be alive. Nobody knows it beforehand, and
    /// asked again for the same intent it is the same.
    pub fn proof_nonce(&self, boot: BootId, intent: &IntentKey) -> String {
        self.token(&format!("proof/{boot}/{intent}"))
    }

    /// The token in the line by which it says so on its serial console: another one, since whoever
    /// reads a console is not to be able to say it over HTTP.
    pub fn serial_marker_token(&self, server: ServerId, generation: Generation) -> String {
        self.token(&format!("serial-marker/{server}/{generation}"))[..32].to_owned()
    }

    /// What is stored of a request, to tell whether it comes again: not to be guessed from by
    /// whoever reads the database, since the request may hold a secret.
    pub fn request_digest(&self, request: &str) -> String {
        self.token(&format!("request/{request}"))
    }

    fn token(&self, purpose: &str) -> String {
        hex(hmac::sign(&self.derive, purpose.as_bytes()).as_ref())
    }

    /// A random number less than `bound`, for jitter; 0 if the system gives no randomness.
    pub fn random_below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        match self.random.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes).checked_rem(bound).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// A new random secret: 64 hexadecimal digits.
    ///
    /// # Errors
    /// Only if the system gives no randomness.
    pub fn random_secret(&self) -> Result<String, KeyringError> {
        let mut bytes = [0; 32];
        self.random
            .fill(&mut bytes)
            .map_err(|_| KeyringError::Random)?;
        Ok(hex(&bytes))
    }
}

/// What sealed values are bound to.
pub mod purpose {
    use bessemer_core::id::{ImageId, NodeId, ServerId, SwitchId};

    /// The password of a node's management controller.
    pub fn bmc_password(node: NodeId) -> String {
        format!("bmc-password/{node}")
    }

    /// The key K_g of a node's management controller.
    pub fn ipmi_key(node: NodeId) -> String {
        format!("ipmi-key/{node}")
    }

    /// The private key by which we show ourselves to a switch.
    pub fn switch_key(switch: SwitchId) -> String {
        format!("switch-key/{switch}")
    }

    /// User name and password for an image's source.
    pub fn image_credentials(image: ImageId) -> String {
        format!("image-credentials/{image}")
    }

    /// What has been seen of a node, for other servers.
    pub fn sightings(node: NodeId) -> String {
        format!("sightings/{node}")
    }

    /// A server's user data.
    pub fn user_data(server: ServerId) -> String {
        format!("user-data/{server}")
    }
}

/// What is stored of a secret of 256 random bits: its SHA-256. (A slow password hash would gain
/// nothing: there is nothing to guess.)
pub fn digest(secret: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref())
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub fn same_secret(a: &str, b: &str) -> bool {
    let (a, b) = (digest(a), digest(b));
    a.bytes()
        .zip(b.bytes())
        .fold(0, |differences, (x, y)| differences | (x ^ y))
        == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_new(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::load_or_create(&folder.path().join("key")).unwrap();
        let sealed = keyring.seal("bmc-password/1", b"planted").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"planted"));
        assert_eq!(keyring.open("bmc-password/1", &sealed).unwrap(), b"planted");
        assert!(keyring.open("bmc-password/2", &sealed).is_err());
        assert!(keyring.open("bmc-password/1", &sealed[..5]).is_err());

        let again = Keyring::load_or_create(&folder.path().join("key")).unwrap();
        assert_eq!(again.open("bmc-password/1", &sealed).unwrap(), b"planted");
        let other = Keyring::load_or_create(&folder.path().join("other")).unwrap();
        assert!(other.open("bmc-password/1", &sealed).is_err());
    }

    #[test]
    fn an_exposed_or_broken_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Keyring::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            Keyring::load_or_create(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("chmod 600")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(
            Keyring::load_or_create(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("5 bytes")
        );
    }

    #[test]
    fn secrets_compare_by_value() {
        assert!(same_secret("a", "a"));
        assert!(!same_secret("a", "b"));
    }
}
