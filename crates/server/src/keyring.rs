//! Secrets: sealing what must be read again, deriving what only has to be told again.
//!
//! One 32-byte key in the data folder (mode 0600, made at the first start), or from the environment or
//! a systemd credential. BMC passwords and user data are sealed with it (ChaCha20-Poly1305, RFC 8439)
//! before they reach the database, each bound to what it belongs to, so that a sealed value copied to
//! another row does not open. While the key is being changed there are several, the newest first
//! (`sealing`); what is sealed begins with the id of its key. Boot and phone-home tokens are derived
//! from a key of their own, which a rotation leaves alone (HMAC-SHA-256, RFC 2104), and never stored:
//! the same boot has the same token after a restart.

mod source;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bessemer_core::id::{BootId, Generation, ImageId, ServerId};
use bessemer_core::lifecycle::IntentKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use source::{KEY_BYTES, Keys, Source, Stamp};
pub use source::{KEY_CREDENTIAL, KEY_VARIABLE};

/// Begins what is sealed since keys have ids. What was sealed before begins with a random number.
const MAGIC: &[u8; 4] = b"BSK1";

/// [`MAGIC`], and which key it is.
const PREFIX_BYTES: usize = 12;

/// The server's keys and what is done with them.
pub struct Keyring {
    source: Source,
    ring: RwLock<Ring>,
    derive: hmac::Key,
    random: SystemRandom,
}

/// The keys of this moment, newest first.
struct Ring {
    keys: Vec<SealingKey>,
    /// Of the file that they were read from.
    stamp: Option<Stamp>,
}

struct SealingKey {
    prefix: [u8; PREFIX_BYTES],
    key: LessSafeKey,
}

/// What became of the older keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// They have left the file.
    Yes,
    /// It is too early, or there are none.
    NotYet,
    /// Whoever keeps the keys may take them out of this.
    NotOurs(String),
}

/// What can go wrong with secrets.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The key file cannot be read or written.
    #[error(
        "the key file {path}: {source}; `data` must name a folder that the server may write to"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others can read the key file.
    #[error(
        "the key file {path} can be read by other users (mode {mode:o}): `chmod 600` it; if they may \
         have read it, change it as docs/operators.md says (`bessemer sealing-key rotate`)"
    )]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not a key file.
    #[error(
        "the key file {path} {has} where a key has {KEY_BYTES} bytes: restore it from your backup"
    )]
    Length {
        /// Which file.
        path: PathBuf,
        /// What it has instead.
        has: String,
    },
    /// There is no key, and there has been one.
    #[error(
        "the key file {path} is missing, and the database has secrets that are sealed by it: restore \
         it from your backup; without it no stored BMC password can be read"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key is not the one that belongs to the database.
    #[error(
        "{keys} is not the one that the database's secrets are sealed by: restore that one from your \
         backup; servers on one database share one key"
    )]
    Another {
        /// Where the keys come from.
        keys: String,
    },
    /// Another process does not let go of the key file.
    #[error(
        "another process has been changing the key file for seconds (it has locked {path}): end it"
    )]
    Locked {
        /// The file that it has locked.
        path: PathBuf,
    },
    /// The key in the environment is none.
    #[error(
        "{KEY_VARIABLE}: give the key as 64 hexadecimal digits; while it is changed, the newer one \
         before the older one"
    )]
    Variable,
    /// The key is not ours to change.
    #[error(
        "{keys} has the key, which cannot be changed from here: put the new key before the old one \
         there and start every server again; they seal everything with the new one then, and say \
         when the old one can go"
    )]
    NotOurs {
        /// Where the keys come from.
        keys: String,
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
    /// Reads the key that is to be used with the data folder `data`, or makes one there if `may_make`:
    /// if there is nothing that another one would open.
    ///
    /// # Errors
    /// If it cannot be read or made, is open to other users, or is not a key.
    pub fn of_folder(data: &Path, may_make: bool) -> Result<Self, KeyringError> {
        let random = SystemRandom::new();
        let source = Source::of_folder(data);
        if let Source::File(path) = &source {
            if !may_make && !path.exists() {
                return Err(KeyringError::Missing { path: path.clone() });
            }
            source::make_file(path, || random_key(&random))?;
        }
        let tokens = data.join("token-key");
        source::make_file(&tokens, || random_key(&random))?;
        let token_key = source::read_own_file(&tokens)?;
        Ok(Self {
            derive: hmac::Key::new(hmac::HMAC_SHA256, token_key.newest()),
            ring: RwLock::new(Ring::of(&source.read()?)?),
            source,
            random,
        })
    }

    /// Seals `secret` with the newest key, bound to `purpose` (such as `bmc-password/<node id>`).
    ///
    /// # Errors
    /// If the key file has changed and cannot be read, or the system gives no randomness.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, KeyringError> {
        self.read_again_if_changed()?;
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| KeyringError::Random)?;
        let mut sealed = secret.to_vec();
        let ring = self.ring();
        let newest = ring.keys.first().ok_or(KeyringError::Random)?;
        newest
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| KeyringError::Random)?;
        Ok([&newest.prefix[..], &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    ///
    /// # Errors
    /// If it was made with a key that is not here, for another purpose, or has been changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, KeyringError> {
        if let Some(secret) = self.ring().open(purpose, sealed) {
            return Ok(secret);
        }
        // Another server, or the command, may have begun to use a newer key. Read whatever the file
        // seems to be: on a folder that is shared by network its time may be known late.
        self.read_again()?;
        self.ring()
            .open(purpose, sealed)
            .ok_or_else(|| KeyringError::Sealed {
                what: purpose.split('/').next().unwrap_or("").into(),
            })
    }

    /// How what the newest key has sealed begins.
    pub fn newest(&self) -> [u8; PREFIX_BYTES] {
        let ring = self.ring();
        ring.keys
            .first()
            .map_or([0; PREFIX_BYTES], |key| key.prefix)
    }

    /// Whether there are older keys than the newest one.
    pub fn has_older(&self) -> bool {
        // What cannot be read is told by whoever needs it.
        self.read_again_if_changed().ok();
        self.ring().keys.len() > 1
    }

    /// Puts a new key before the one in the file. Nothing happens while there are several: a change
    /// is under way. Whether it was put there.
    ///
    /// # Errors
    /// If the file cannot be written, or is not ours.
    pub fn rotate(&self) -> Result<bool, KeyringError> {
        let Source::File(path) = &self.source else {
            let keys = self.source.to_string();
            let under_way = self.has_older();
            return under_way
                .then_some(false)
                .ok_or(KeyringError::NotOurs { keys });
        };
        let changed = source::change_file(path, |keys| {
            if keys.each().len() > 1 {
                return Ok(None);
            }
            Ok(Some(keys.after(&random_key(&self.random)?)))
        })?;
        self.read_again()?;
        Ok(changed)
    }

    /// Leaves only the newest key in the file, if that is as it is for `kept_for` at least. Only for who
    /// has seen that nothing is sealed by older ones.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn forget_older(&self, kept_for: Duration) -> Result<Forgotten, KeyringError> {
        let Source::File(path) = &self.source else {
            return Ok(Forgotten::NotOurs(self.source.to_string()));
        };
        let changed = source::change_file(path, |keys| {
            let may_go = keys.age() >= kept_for && keys.each().len() > 1;
            Ok(may_go.then(|| Zeroizing::new(keys.newest().to_vec())))
        })?;
        self.read_again()?;
        Ok(match changed {
            true => Forgotten::Yes,
            false => Forgotten::NotYet,
        })
    }

    /// That the key is not the one that the database's secrets are sealed by.
    pub(crate) fn is_another_one(&self) -> KeyringError {
        KeyringError::Another {
            keys: self.source.to_string(),
        }
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_again_if_changed(&self) -> Result<(), KeyringError> {
        let stamp = self.ring().stamp;
        match self.source.has_changed(stamp)? {
            true => self.read_again(),
            false => Ok(()),
        }
    }

    fn read_again(&self) -> Result<(), KeyringError> {
        let ring = Ring::of(&self.source.read()?)?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
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
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
    bytes.iter().flat_map(digits).flatten().collect()
}

impl Ring {
    fn of(keys: &Keys) -> Result<Self, KeyringError> {
        Ok(Self {
            keys: keys.each().map(SealingKey::of).collect::<Result<_, _>>()?,
            stamp: keys.stamp(),
        })
    }

    fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let by_id = self.keys.iter().find_map(|key| {
            let rest = sealed.strip_prefix(&key.prefix)?;
            key.open(purpose, rest)
        });
        // What was sealed before keys had ids.
        by_id.or_else(|| self.keys.iter().find_map(|key| key.open(purpose, sealed)))
    }
}

impl SealingKey {
    fn of(key: &[u8]) -> Result<Self, KeyringError> {
        let id = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"sealing-key-id");
        let mut prefix = [0; PREFIX_BYTES];
        let (magic, rest) = prefix.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        rest.copy_from_slice(&id.as_ref()[..rest.len()]);
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key);
        Ok(Self {
            prefix,
            key: LessSafeKey::new(unbound.map_err(|_| KeyringError::Random)?),
        })
    }

    fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(purpose.as_bytes());
        let length = self.key.open_in_place(nonce, aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn random_key(random: &SystemRandom) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    random.fill(&mut key).map_err(|_| KeyringError::Random)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_folder(folder.path(), true).unwrap();
        let sealed = keyring.seal("bmc-password/1", b"planted").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"planted"));
        assert_eq!(keyring.open("bmc-password/1", &sealed).unwrap(), b"planted");
        assert!(keyring.open("bmc-password/2", &sealed).is_err());
        assert!(keyring.open("bmc-password/1", &sealed[..5]).is_err());

        let again = Keyring::of_folder(folder.path(), false).unwrap();
        assert_eq!(again.open("bmc-password/1", &sealed).unwrap(), b"planted");
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Keyring::of_folder(elsewhere.path(), true).unwrap();
        assert!(other.open("bmc-password/1", &sealed).is_err());
    }

    /// What was sealed before keys had ids, tokens, and two servers on one folder.
    #[test]
    fn a_rotation_is_noticed_and_changes_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::of_folder(folder.path(), true).unwrap();
        let old = keyring.seal("user-data/1", b"planted").unwrap();
        let without_id = old[PREFIX_BYTES..].to_vec();
        let token = keyring.token("boot/1");
        let other = Keyring::of_folder(folder.path(), false).unwrap();

        assert!(keyring.rotate().unwrap());
        assert!(!keyring.rotate().unwrap(), "one is under way");
        let new = keyring.seal("user-data/1", b"planted").unwrap();
        assert_ne!(old[..PREFIX_BYTES], new[..PREFIX_BYTES]);
        let third = Keyring::of_folder(folder.path(), false).unwrap();
        for keyring in [&keyring, &other, &third] {
            for sealed in [&old, &new, &without_id] {
                assert_eq!(keyring.open("user-data/1", sealed).unwrap(), b"planted");
                assert!(keyring.open("user-data/2", sealed).is_err());
            }
            let sealed = keyring.seal("x", b"y").unwrap();
            assert_eq!(sealed[..PREFIX_BYTES], keyring.newest());
            assert_eq!(keyring.newest()[..], new[..PREFIX_BYTES]);
            assert_eq!(keyring.token("boot/1"), token);
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(keyring.forget_older(hour).unwrap(), Forgotten::NotYet);
        assert_eq!(
            keyring.forget_older(Duration::ZERO).unwrap(),
            Forgotten::Yes
        );
        assert!(keyring.open("user-data/1", &old).is_err());
        assert!(!other.has_older());
        let about = fs::metadata(folder.path().join("key")).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_missing_key_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Keyring::of_folder(folder.path(), false).err().unwrap();
        let refused = refused.to_string();
        assert!(
            refused.contains("key is missing") && refused.contains("backup"),
            "{refused}"
        );
        assert!(!folder.path().join("key").exists());
    }

    #[test]
    fn secrets_compare_by_value() {
        assert!(same_secret("a", "a"));
        assert!(!same_secret("a", "b"));
    }
}
