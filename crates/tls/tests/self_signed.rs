//! The certificate of our own on disk: made once, kept, completed after a crash, never exposed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bessemer_tls::{Error, SelfSigned};

fn paths(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("server.crt"), folder.join("server.key"))
}

fn load(folder: &Path) -> Result<SelfSigned, Error> {
    let (certificate, key) = paths(folder);
    SelfSigned::load_or_create(&certificate, &key, &["localhost".to_owned()])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn is_made_once_with_a_private_key_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = paths(folder.path());
    let first = load(folder.path()).unwrap();
    assert_eq!(mode(&key), 0o600);
    let text = fs::read_to_string(&certificate).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----"), "{text}");
    let second = load(folder.path()).unwrap();
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_crash_between_key_and_certificate_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = paths(folder.path());
    load(folder.path()).unwrap();
    let before = fs::read_to_string(&key).unwrap();
    fs::remove_file(&certificate).unwrap();
    fs::write(folder.path().join("server.crt.new"), "half a certif").unwrap();
    load(folder.path()).unwrap().server_config().unwrap();
    assert_eq!(fs::read_to_string(&key).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_certificate_without_its_key_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = paths(folder.path());
    load(folder.path()).unwrap();
    let before = fs::read_to_string(&certificate).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(load(folder.path()), Err(Error::KeyMissing { .. })));
    assert_eq!(fs::read_to_string(&certificate).unwrap(), before);
    assert!(!key.exists());
}

#[test]
fn a_key_open_to_everybody_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = paths(folder.path());
    load(folder.path()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    load(folder.path()).unwrap();
    load(other.path()).unwrap();
    fs::copy(paths(other.path()).1, paths(folder.path()).1).unwrap();
    let error = load(folder.path()).unwrap().server_config().unwrap_err();
    assert!(matches!(error, Error::Configuration(_)), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = paths(folder.path());
    load(folder.path()).unwrap();
    fs::write(&certificate, "nothing").unwrap();
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(
        text.contains("server.crt") && text.contains("certificate"),
        "{text}"
    );
}

#[test]
fn debug_shows_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let shown = format!("{:?}", load(folder.path()).unwrap());
    assert!(
        shown.contains("fingerprint") && !shown.contains("key"),
        "{shown}"
    );
}
