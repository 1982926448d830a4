//! Where keys come from: a file that we keep, one that systemd gives us, or the environment.
//!
//! The file is changed under a lock and replaced as a whole, and keeps its owner: an operator may be root,
//! and the server is not.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use zeroize::Zeroizing;

use super::KeyringError;

pub(super) const KEY_BYTES: usize = 32;

/// The most keys that are believed to be in use at the same time.
const MOST_KEYS: usize = 8;

/// The variable with the key, as 64 hexadecimal digits; several, newest first, with blanks between.
pub const KEY_VARIABLE: &str = "BESSEMER_KEY";

/// The name of the systemd credential with the key (systemd.exec(5), `LoadCredential=`).
pub const KEY_CREDENTIAL: &str = "bessemer-key";

/// How long another process may take to change the file. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// From one look whether it has ended to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where keys come from.
pub(super) enum Source {
    /// A file of ours.
    File(PathBuf),
    /// A file that somebody else keeps.
    Credential(PathBuf),
    Environment,
}

/// By which a file is told from the one that was there before.
pub(super) type Stamp = (u64, i64, i64, u64);

/// What is in a source: whole keys, one after the other, the newest first.
pub(super) struct Keys {
    bytes: Zeroizing<Vec<u8>>,
    stamp: Option<Stamp>,
    changed: Option<SystemTime>,
}

impl Keys {
    /// Each of them; one at least.
    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks_exact(KEY_BYTES)
    }

    /// The newest one.
    pub(super) fn newest(&self) -> &[u8] {
        &self.bytes[..KEY_BYTES]
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// For how long the file has been as it is.
    pub(super) fn age(&self) -> Duration {
        let age = self.changed.and_then(|changed| changed.elapsed().ok());
        age.unwrap_or_default()
    }

    /// The same with a newer one before them.
    pub(super) fn after(&self, newer: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([newer, &self.bytes].concat())
    }
}

impl Source {
    /// The one that is to be used with the data folder `data`.
    pub(super) fn of_folder(data: &Path) -> Self {
        if std::env::var_os(KEY_VARIABLE).is_some() {
            return Self::Environment;
        }
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let credential = credentials.map(|folder| Path::new(&folder).join(KEY_CREDENTIAL));
        match credential.filter(|path| path.exists()) {
            Some(path) => Self::Credential(path),
            None => Self::File(data.join("key")),
        }
    }

    pub(super) fn read(&self) -> Result<Keys, KeyringError> {
        match self {
            Self::File(path) => read_file(path, 0o077),
            // systemd gives the service's user a right of its own to read it, which shows as one of the
            // group's; the folder is closed to everybody else.
            Self::Credential(path) => read_file(path, 0o007),
            Self::Environment => {
                let text = Zeroizing::new(std::env::var(KEY_VARIABLE).unwrap_or_default());
                from_text(&text).ok_or(KeyringError::Variable)
            }
        }
    }

    /// Whether a file of ours is another one than when it was read.
    pub(super) fn has_changed(&self, since: Option<Stamp>) -> Result<bool, KeyringError> {
        let Self::File(path) = self else {
            return Ok(false);
        };
        let file = fs::metadata(path).map_err(|source| failed(path, source))?;
        Ok(since != Some(stamp(&file)))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "the key file {}", path.display()),
            Self::Credential(path) => write!(formatter, "the credential {}", path.display()),
            Self::Environment => write!(formatter, "the variable {KEY_VARIABLE}"),
        }
    }
}

/// Keys in hexadecimal digits.
fn from_text(text: &str) -> Option<Keys> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_KEYS * KEY_BYTES));
    for word in text.split([' ', ',', '\n']).filter(|word| !word.is_empty()) {
        let is_key =
            word.len() == 2 * KEY_BYTES && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_key || bytes.len() == MOST_KEYS * KEY_BYTES {
            return None;
        }
        for at in (0..word.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&word[at..at + 2], 16).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(Keys {
        bytes,
        stamp: None,
        changed: None,
    })
}

/// Makes the file with what `make` gives, unless there is one.
pub(super) fn make_file(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, KeyringError>,
) -> Result<(), KeyringError> {
    if path.exists() {
        return Ok(());
    }
    let _lock = lock(path)?;
    if path.exists() {
        return Ok(());
    }
    write_file(path, &make()?)
}

/// Changes the file to what `change` makes of it, if it makes anything of it. Whether it did.
pub(super) fn change_file(
    path: &Path,
    change: impl FnOnce(&Keys) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError>,
) -> Result<bool, KeyringError> {
    let _lock = lock(path)?;
    let Some(anew) = change(&read_own_file(path)?)? else {
        return Ok(false);
    };
    write_file(path, &anew)?;
    Ok(true)
}

/// The keys in a file of ours, which must be for its owner's eyes only.
pub(super) fn read_own_file(path: &Path) -> Result<Keys, KeyringError> {
    read_file(path, 0o077)
}

/// The keys in a file whose mode must have none of the bits `too_open`.
fn read_file(path: &Path, too_open: u32) -> Result<Keys, KeyringError> {
    let failed = |source| failed(path, source);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mode = about.mode() & 0o777;
    if mode & too_open != 0 {
        return Err(KeyringError::TooOpen {
            path: path.into(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_KEYS * KEY_BYTES + 1));
    file.take((MOST_KEYS * KEY_BYTES) as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let count = bytes.len() / KEY_BYTES;
    if !bytes.len().is_multiple_of(KEY_BYTES) || !(1..=MOST_KEYS).contains(&count) {
        let has = match bytes.len() {
            0 => "is empty".to_owned(),
            length if count >= MOST_KEYS => format!("has {length} bytes or more"),
            length => format!("has {length} bytes"),
        };
        return Err(KeyringError::Length {
            path: path.into(),
            has,
        });
    }
    Ok(Keys {
        bytes,
        stamp: Some(stamp(&about)),
        changed: about.modified().ok(),
    })
}

fn stamp(file: &fs::Metadata) -> Stamp {
    (file.ino(), file.mtime(), file.mtime_nsec(), file.len())
}

/// Keeps others from changing the keys beside `path`, for as long as what it gives is kept.
fn lock(path: &Path) -> Result<File, KeyringError> {
    let path = path.with_file_name("key.lock");
    let failed = |source| failed(&path, source);
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    give_to_owner_of_folder(&file, &path).map_err(failed)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(TryLockError::WouldBlock) => return Err(KeyringError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Writes a file as a whole or not at all, for its owner's eyes only. Under the lock.
fn write_file(path: &Path, keys: &[u8]) -> Result<(), KeyringError> {
    let write = || {
        let temporary = path.with_extension("new");
        // Of somebody who was killed here.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        give_to_owner_of_folder(&file, path)?;
        file.write_all(keys)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        // Or a power cut may take the new name back.
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| failed(path, source))
}

/// What root makes in the server's folder is the server's.
fn give_to_owner_of_folder(file: &File, path: &Path) -> std::io::Result<()> {
    let made_by = file.metadata()?.uid();
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let folder = fs::metadata(folder)?;
    if made_by != 0 || folder.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

fn failed(path: &Path, source: std::io::Error) -> KeyringError {
    KeyringError::File {
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file_with(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn refusal(source: &Source) -> String {
        source.read().err().unwrap().to_string()
    }

    #[test]
    fn a_file_of_a_wrong_length_is_refused_with_its_length() {
        for (length, says) in [
            (0, "is empty where a key has 32 bytes"),
            (5, "has 5 bytes where a key has 32 bytes"),
            (33, "has 33 bytes where a key has 32 bytes"),
            (288, "has 257 bytes or more where a key has 32 bytes"),
        ] {
            let (_folder, path) = file_with(&vec![1; length], 0o600);
            let refused = refusal(&Source::File(path));
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_unless_it_is_systemds() {
        let (_folder, path) = file_with(&[1; 32], 0o440);
        let refused = refusal(&Source::File(path.clone()));
        assert!(
            refused.contains("mode 440") && refused.contains("chmod 600"),
            "{refused}"
        );
        assert_eq!(Source::Credential(path).read().unwrap().newest(), [1; 32]);
        let (_folder, path) = file_with(&[1; 32], 0o444);
        let refused = refusal(&Source::Credential(path));
        assert!(refused.contains("mode 444"), "{refused}");
    }

    #[test]
    fn keys_in_the_environment_are_hexadecimal_digits() {
        let (one, two) = ("0a".repeat(32), "FF".repeat(32));
        let keys = from_text(&format!("{two} {one}\n")).unwrap();
        assert_eq!(keys.each().collect::<Vec<_>>(), [[0xff; 32], [0x0a; 32]]);
        let odd = one.replacen("0a", "+a", 1);
        for bad in [
            "",
            "x",
            &one[..62],
            &format!("{one}0a"),
            &odd,
            &format!("{one} ").repeat(9),
        ] {
            assert!(from_text(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_somebody_left_who_was_killed_is_in_nobodys_way() {
        let (folder, path) = file_with(&[1; 32], 0o600);
        fs::write(folder.path().join("key.new"), b"half").unwrap();
        fs::set_permissions(
            folder.path().join("key.new"),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
        let changed = change_file(&path, |keys| Ok(Some(keys.after(&[2; 32]))));
        assert!(changed.unwrap());
        let keys = read_own_file(&path).unwrap();
        assert_eq!(keys.each().collect::<Vec<_>>(), [[2; 32], [1; 32]]);
        assert!(!folder.path().join("key.new").exists());
    }
}
