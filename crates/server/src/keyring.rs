//! Secrets: sealing what must be read again, deriving what only has to be told again.
//!
//! One 32-byte key in the data folder (mode 0600, made at the first start), or from the environment or
//! a systemd credential. BMC passwords and user data are sealed with it (ChaCha20-Poly1305, RFC 8439)
//! before they reach the database, each bound to what it belongs to, so that a sealed value copied to
//! another row does not open. While the key is being changed there are several, the newest first
//! (`sealing`); what is sealed begins with the id of its key. Boot and phone-home tokens are derived
//! from a key of their own, which a rotation leaves alone (HMAC-SHA-256, RFC 2104), and never stored:
//! the same boot has the same token after a restart.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use bessemer_core::id::{BootId, Generation, ImageId, ServerId};
use bessemer_core::lifecycle::IntentKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// The most keys that are believed to be in use at the same time.
const MOST_KEYS: usize = 8;

/// Begins what is sealed since keys have ids. What was sealed before begins with a random number.
const MAGIC: &[u8; 4] = b"BSK1";

/// [`MAGIC`], and which key it is.
const PREFIX_BYTES: usize = 12;

/// The variable with the key, as 64 hexadecimal digits; several, newest first, with blanks between.
pub const KEY_VARIABLE: &str = "BESSEMER_KEY";

/// The name of the systemd credential with the key (systemd.exec(5), `LoadCredential=`).
pub const KEY_CREDENTIAL: &str = "bessemer-key";

/// The server's keys and what is done with them.
pub struct Keyring {
    source: Source,
    ring: RwLock<Ring>,
    derive: hmac::Key,
    random: SystemRandom,
}

/// Where keys come from.
enum Source {
    /// A file of ours.
    File(PathBuf),
    /// A file that somebody else keeps.
    Credential(PathBuf),
    Environment,
}

/// The keys of this moment, newest first, and the file that they were read from.
struct Ring {
    keys: Vec<SealingKey>,
    stamp: Option<Stamp>,
}

struct SealingKey {
    prefix: [u8; PREFIX_BYTES],
    key: LessSafeKey,
}

/// By which a file is told from the one that was there before.
type Stamp = (u64, i64, i64, u64);

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
    /// The key file is not a key file, or not the one that belongs to the database.
    #[error(
        "the key file {path} {problem}; restore it from your backup: without it no stored BMC password can be read"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key in the environment is none.
    #[error(
        "{KEY_VARIABLE}: give the key as 64 hexadecimal digits, a newer one before an older one"
    )]
    Variable,
    /// The key is not ours to change.
    #[error(
        "the key comes from {0}: put the new key before the old one there, restart every server, and \
         run this again"
    )]
    NotOurs(String),
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
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join(KEY_CREDENTIAL))
            .filter(|path| path.exists());
        let source = match credential {
            _ if std::env::var_os(KEY_VARIABLE).is_some() => Source::Environment,
            Some(path) => Source::Credential(path),
            None => Source::File(data.join("key")),
        };
        Self::from(source, &data.join("token-key"), may_make)
    }

    /// Reads the key at `path`, or makes one there.
    ///
    /// # Errors
    /// If the file cannot be read or made, is open to other users, or is not a key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyringError> {
        let tokens = path.with_file_name("token-key");
        Self::from(Source::File(path.into()), &tokens, true)
    }

    fn from(source: Source, tokens: &Path, may_make: bool) -> Result<Self, KeyringError> {
        let random = SystemRandom::new();
        let mut is_new = false;
        if let Source::File(path) = &source
            && !path.exists()
        {
            if !may_make {
                return Err(content(
                    path,
                    "is missing, and the database has secrets sealed by it",
                ));
            }
            let _lock = lock(path)?;
            if !path.exists() {
                write_file(path, &*random_key(&random)?)?;
                is_new = true;
            }
        }
        let (keys, stamp) = source.read()?;
        if !tokens.exists() {
            let _lock = lock(tokens)?;
            if !tokens.exists() {
                // Tokens under way were derived from the only key there was.
                let oldest = keys.chunks(KEY_BYTES).next_back().unwrap_or_default();
                let key = if is_new {
                    random_key(&random)?
                } else {
                    Zeroizing::new(oldest.to_vec())
                };
                write_file(tokens, &key)?;
            }
        }
        let (token_key, _) = read_file(tokens)?;
        Ok(Self {
            derive: hmac::Key::new(hmac::HMAC_SHA256, &token_key),
            ring: RwLock::new(Ring::of(&keys, stamp)?),
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
        // Another server, or the command, may have begun to use a newer key.
        self.read_again_if_changed()?;
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
        let path = match &self.source {
            Source::File(path) => path,
            _ if self.has_older() => return Ok(false),
            Source::Credential(path) => {
                return Err(KeyringError::NotOurs(format!(
                    "the credential {}",
                    path.display()
                )));
            }
            Source::Environment => return Err(KeyringError::NotOurs(KEY_VARIABLE.into())),
        };
        let _lock = lock(path)?;
        let (keys, _) = read_file(path)?;
        if keys.len() > KEY_BYTES {
            return Ok(false);
        }
        let both = [random_key(&self.random)?.as_slice(), &keys].concat();
        write_file(path, &Zeroizing::new(both))?;
        self.read_again()?;
        Ok(true)
    }

    /// Leaves only the newest key in the file, if that is as it is for `kept_for` at least. Whether it
    /// was done. Only for who has seen that nothing is sealed by older ones.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn forget_older(&self, kept_for: Duration) -> Result<bool, KeyringError> {
        let Source::File(path) = &self.source else {
            return Ok(false);
        };
        let _lock = lock(path)?;
        let file = |source| failed(path, source);
        let changed = fs::metadata(path)
            .and_then(|file| file.modified())
            .map_err(file)?;
        let age = SystemTime::now()
            .duration_since(changed)
            .unwrap_or_default();
        let (keys, _) = read_file(path)?;
        if age < kept_for || keys.len() <= KEY_BYTES {
            return Ok(false);
        }
        write_file(path, &keys[..KEY_BYTES])?;
        self.read_again()?;
        Ok(true)
    }

    /// That the key is not the one that the database's secrets are sealed by.
    pub(crate) fn is_another_one(&self) -> KeyringError {
        const PROBLEM: &str = "is not the one that the database's secrets are sealed by";
        match &self.source {
            Source::File(path) | Source::Credential(path) => content(path, PROBLEM),
            Source::Environment => content(Path::new(KEY_VARIABLE), PROBLEM),
        }
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_again_if_changed(&self) -> Result<(), KeyringError> {
        let Source::File(path) = &self.source else {
            return Ok(());
        };
        let file = fs::metadata(path).map_err(|source| failed(path, source))?;
        if self.ring().stamp == Some(stamp(&file)) {
            return Ok(());
        }
        self.read_again()
    }

    fn read_again(&self) -> Result<(), KeyringError> {
        let (keys, stamp) = self.source.read()?;
        let ring = Ring::of(&keys, stamp)?;
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
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Source {
    /// The keys, one after the other.
    fn read(&self) -> Result<(Zeroizing<Vec<u8>>, Option<Stamp>), KeyringError> {
        match self {
            Self::File(path) | Self::Credential(path) => read_file(path),
            Self::Environment => {
                let text = Zeroizing::new(std::env::var(KEY_VARIABLE).unwrap_or_default());
                let words = text.split([' ', ',', '\n']).filter(|word| !word.is_empty());
                let mut keys = Zeroizing::new(Vec::new());
                for word in words {
                    keys.extend_from_slice(&unhex(word).ok_or(KeyringError::Variable)?[..]);
                }
                if keys.is_empty() || keys.len() > MOST_KEYS * KEY_BYTES {
                    return Err(KeyringError::Variable);
                }
                Ok((keys, None))
            }
        }
    }
}

impl Ring {
    fn of(keys: &[u8], stamp: Option<Stamp>) -> Result<Self, KeyringError> {
        let key = |key: &[u8]| {
            let id = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"sealing-key-id");
            let mut prefix = [0; PREFIX_BYTES];
            let (magic, rest) = prefix.split_at_mut(MAGIC.len());
            magic.copy_from_slice(MAGIC);
            rest.copy_from_slice(&id.as_ref()[..rest.len()]);
            let unbound = UnboundKey::new(&CHACHA20_POLY1305, key);
            Ok(SealingKey {
                prefix,
                key: LessSafeKey::new(unbound.map_err(|_| KeyringError::Random)?),
            })
        };
        Ok(Self {
            keys: keys.chunks(KEY_BYTES).map(key).collect::<Result<_, _>>()?,
            stamp,
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

fn failed(path: &Path, source: std::io::Error) -> KeyringError {
    KeyringError::File {
        path: path.into(),
        source,
    }
}

fn content(path: &Path, problem: impl Into<String>) -> KeyringError {
    KeyringError::Content {
        path: path.into(),
        problem: problem.into(),
    }
}

fn random_key(random: &SystemRandom) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    random.fill(&mut key).map_err(|_| KeyringError::Random)?;
    Ok(key)
}

fn stamp(file: &fs::Metadata) -> Stamp {
    (file.ino(), file.mtime(), file.mtime_nsec(), file.len())
}

/// The keys in a file, which must be for its owner's eyes only.
fn read_file(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Option<Stamp>), KeyringError> {
    let failed = |source| failed(path, source);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mut keys = Zeroizing::new(Vec::new());
    file.take((MOST_KEYS * KEY_BYTES) as u64 + 1)
        .read_to_end(&mut keys)
        .map_err(failed)?;
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(content(
            path,
            format!("can be read by other users (mode {mode:o}): chmod 600 it"),
        ));
    }
    let count = keys.len() / KEY_BYTES;
    if !keys.len().is_multiple_of(KEY_BYTES) || !(1..=MOST_KEYS).contains(&count) {
        let bytes = keys.len();
        return Err(content(
            path,
            format!("has {bytes} bytes instead of {KEY_BYTES}"),
        ));
    }
    Ok((keys, Some(stamp(&about))))
}

/// Keeps others from changing `path`, for as long as what it gives is kept.
fn lock(path: &Path) -> Result<File, KeyringError> {
    let path = path.with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    file.lock().map_err(|source| failed(&path, source))?;
    Ok(file)
}

/// Writes a file as a whole or not at all, for its owner's eyes only.
fn write_file(path: &Path, key: &[u8]) -> Result<(), KeyringError> {
    let write = || {
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(key)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        // Or a power cut may take the new name back.
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| failed(path, source))
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes: Option<Vec<u8>> = (0..KEY_BYTES).map(|index| byte(2 * index)).collect();
    bytes.filter(|_| is_hex).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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

    /// What was sealed before keys had ids, tokens, and two servers on one folder.
    #[test]
    fn a_rotation_is_noticed_and_changes_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let keyring = Keyring::load_or_create(&path).unwrap();
        let old = keyring.seal("user-data/1", b"planted").unwrap();
        let without_id = old[PREFIX_BYTES..].to_vec();
        let token = keyring.token("boot/1");
        let other = Keyring::load_or_create(&path).unwrap();

        assert!(keyring.rotate().unwrap());
        assert!(!keyring.rotate().unwrap(), "one is under way");
        let new = keyring.seal("user-data/1", b"planted").unwrap();
        assert_ne!(old[..PREFIX_BYTES], new[..PREFIX_BYTES]);
        for keyring in [&keyring, &other, &Keyring::load_or_create(&path).unwrap()] {
            for sealed in [&old, &new, &without_id] {
                assert_eq!(keyring.open("user-data/1", sealed).unwrap(), b"planted");
                assert!(keyring.open("user-data/2", sealed).is_err());
            }
            let sealed = keyring.seal("x", b"y").unwrap();
            assert_eq!(sealed[..PREFIX_BYTES], keyring.newest());
            assert_eq!(keyring.newest()[..], new[..PREFIX_BYTES]);
            assert_eq!(keyring.token("boot/1"), token);
        }
        assert!(
            !keyring.forget_older(Duration::from_secs(3600)).unwrap(),
            "too early"
        );
        assert!(keyring.forget_older(Duration::ZERO).unwrap());
        assert!(keyring.open("user-data/1", &old).is_err());
        assert!(!other.has_older());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
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
