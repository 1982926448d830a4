//! The invariants of ARCHITECTURE.md that are about who may know what: held against the manifests
//! and sources of the whole workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names under `[dependencies]` of a crate.
fn dependencies(name: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn all_crates() -> Vec<String> {
    let folders = fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap());
    folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Every Rust file under a crate's `src`.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![crates().join(name).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files
}

/// Invariant 1.
#[test]
fn core_knows_no_input_or_output() {
    let allowed = [
        "jiff",
        "schemars",
        "serde",
        "serde_json",
        "thiserror",
        "utoipa",
        "uuid",
    ];
    let allowed: BTreeSet<String> = allowed.map(str::to_owned).into();
    assert_eq!(dependencies("core"), allowed);
    for (path, text) in sources("core") {
        for word in [
            "std::fs",
            "std::net::Tcp",
            "std::process",
            "std::thread",
            "async fn",
        ] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

/// Invariant 3.
#[test]
fn only_the_store_knows_sql() {
    for name in all_crates() {
        if name != "store" {
            let dependencies = dependencies(&name);
            for database in ["sqlx", "rusqlite"] {
                assert!(
                    !dependencies.contains(database),
                    "{name} depends on {database}"
                );
            }
        }
    }
}

/// Invariant 4.
#[test]
fn vendors_are_named_only_where_they_are_spoken_to() {
    let vendors = ["dell", "idrac", "hewlett", "supermicro", "lenovo"];
    for name in all_crates() {
        if ["bmc", "fabric"].contains(&name.as_str()) {
            continue;
        }
        for (path, text) in sources(&name) {
            let text = text.to_lowercase();
            let mut words = text.split(|character: char| !character.is_alphanumeric());
            let named = words.find(|word| vendors.contains(word));
            assert_eq!(named, None, "{} names a vendor", path.display());
        }
    }
}

/// Times are handed in: a room that read the clock could not be tested without waiting.
#[test]
fn only_the_outermost_rooms_read_the_clock() {
    for name in ["core", "wire", "store", "bmc", "boot", "fabric", "image"] {
        for (path, text) in sources(name) {
            for word in ["Timestamp::now(", "SystemTime::now("] {
                assert!(!text.contains(word), "{} reads the clock", path.display());
            }
        }
    }
    let readers = sources("server")
        .into_iter()
        .filter(|(_, text)| text.contains("Timestamp::now("));
    let readers: Vec<_> = readers
        .map(|(path, _)| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(readers, ["clock.rs"], "the server's only clock is `Clock`");
}

/// The arrows of ARCHITECTURE.md: core ← wire ← rooms ← server ← command line.
#[test]
fn rooms_know_only_the_rooms_below_them() {
    let below: &[(&str, &[&str])] = &[
        ("core", &[]),
        ("tasks", &[]),
        ("tls", &[]),
        ("wire", &["core"]),
        ("store", &["core", "tasks", "wire"]),
        ("bmc", &["core", "tls"]),
        ("fabric", &["core", "tls"]),
        ("boot", &["core"]),
        ("image", &[]),
        ("client", &["core", "tls", "wire"]),
        ("agent", &["boot", "core", "image", "tls", "wire"]),
    ];
    for (name, allowed) in below {
        let own = dependencies(name);
        let rooms = own
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("bessemer-"));
        for room in rooms {
            assert!(allowed.contains(&room), "{name} depends on {room}");
        }
    }
    for name in all_crates() {
        if !["sim", "bench"].contains(&name.as_str()) {
            assert!(
                !dependencies(&name).contains("bessemer-sim"),
                "{name} depends on sim"
            );
        }
    }
}
