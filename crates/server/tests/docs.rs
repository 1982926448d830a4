//! The documents are true where a test can tell: the example configuration is one, every key is in
//! it and explained, and links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bessemer_core::cause::Cause;
use bessemer_core::lifecycle::{Phase, Step, Timing, after_stop, doing, remedy};
use bessemer_core::reason::FailureClass;
use bessemer_server::config::{Config, reference};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the example says, with what it keeps in comments (`# key = value`) said as well.
fn example_with_everything() -> String {
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| {
            key.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
    };
    let uncovered = |line| match str::strip_prefix(line, "# ") {
        Some(rest) if is_key(rest) => rest,
        _ => line,
    };
    let example = read("packaging/bessemer.toml");
    example
        .lines()
        .map(uncovered)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The keys that the configuration knows below `head`: serde lists them when it meets another one.
fn known_keys(head: &str) -> Vec<String> {
    let text = format!("{head}\nno_such_key = 1\n");
    let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
    let expected = error.split("expected ").nth(1);
    let expected = expected.unwrap_or_else(|| panic!("{head}: {error}"));
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Every key, as people write it: `section.key`.
fn all_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for key in known_keys("") {
        let head = match key.as_str() {
            "api" | "bmc" | "provisioning" | "boot_media" | "phone_home" | "images" | "fabric"
            | "timing" => {
                format!("[{key}]")
            }
            _ => {
                keys.insert(key);
                continue;
            }
        };
        let inner = known_keys(&head);
        keys.extend(inner.iter().map(|inner| format!("{key}.{inner}")));
    }
    keys
}

#[test]
fn the_example_configuration_is_one() {
    for text in [read("packaging/bessemer.toml"), example_with_everything()] {
        let config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        config.check().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let example: Config = toml::from_str(&read("packaging/bessemer.toml")).unwrap();
    let default = Config::default();
    assert_eq!(example.data, default.data);
    assert_eq!(example.parked_vlan, default.parked_vlan);
    assert_eq!(example.timing, Timing::default());
    assert_eq!(
        (example.api.listen, example.api.insecure),
        (default.api.listen, default.api.insecure)
    );
    let required = "[provisioning]\naddress = '10.77.0.1'\nsubnet = '10.77.0.0/24'\n\
                    pool_first = '10.77.0.50'\npool_last = '10.77.0.99'";
    let default = toml::from_str::<Config>(required).unwrap().provisioning;
    let (example, default) = (example.provisioning.unwrap(), default.unwrap());
    assert_eq!(
        (example.ramdisk, example.agent_port, example.boot_port),
        (default.ramdisk, default.agent_port, default.boot_port)
    );
    assert_eq!(example.kernel_arguments, default.kernel_arguments);
}

#[test]
fn every_key_is_in_the_example_and_explained() {
    let keys = all_keys();
    assert!(keys.len() > 30, "{keys:?}");
    let example: toml::Table = toml::from_str(&example_with_everything()).unwrap();
    let reference = read("docs/configuration.md");
    for key in &keys {
        assert!(
            reference.contains(&format!("| `{key}` | ")),
            "docs/configuration.md does not explain `{key}`"
        );
        let value = match key.split_once('.') {
            None => example.get(key),
            Some((section, key)) => example[section].get(key),
        };
        assert!(
            value.is_some(),
            "packaging/bessemer.toml does not show `{key}`"
        );
    }
}

/// The reference is made from the code; after a change it is made anew by
/// `UPDATE_CONFIGURATION=1 cargo test -p bessemer-server --test docs`.
#[test]
fn the_configuration_reference_is_checked_in() {
    let made = reference();
    if std::env::var_os("UPDATE_CONFIGURATION").is_some() {
        fs::write(project().join("docs/configuration.md"), &made).unwrap();
    }
    assert!(
        read("docs/configuration.md") == made,
        "docs/configuration.md is not what the code says: run `UPDATE_CONFIGURATION=1 cargo test \
         -p bessemer-server --test docs`"
    );
}

/// The defaults in the reference are those of the code, for what is numbers.
#[test]
fn the_reference_tells_the_defaults_of_timing() {
    let reference = read("docs/configuration.md");
    let timing = serde_json::to_value(Timing::default()).unwrap();
    for (key, value) in timing.as_object().unwrap() {
        let row = format!("| `timing.{key}` | {value} | ");
        assert!(
            reference.contains(&row),
            "docs/configuration.md lacks `{row}`"
        );
    }
}

/// Each cause has a section with what the code says of it, and a test that brings it about. (That the
/// test is there is looked at with all tests that documents name.)
#[test]
fn every_cause_is_documented_and_reproduced() {
    let catalogue = read("docs/causes.md");
    let mut sections: Vec<_> = catalogue.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), Cause::ALL.len());
    let mut files = Vec::new();
    sources(&project().join("crates"), &mut files);
    for cause in Cause::ALL {
        let (code, heading) = (cause.code(), format!("`{}`\n", cause.code()));
        let section = sections.iter().position(|each| each.starts_with(&heading));
        let section = section.unwrap_or_else(|| panic!("docs/causes.md lacks {code}"));
        let section = sections.remove(section);
        let summary = cause.summary().to_lowercase();
        assert!(
            section.to_lowercase().contains(&summary),
            "{code}: {summary}"
        );
        assert!(
            section.contains(cause.remedy()),
            "{code}: {}",
            cause.remedy()
        );
        assert!(section.contains("\n- Seen: "), "{code}: what is seen?");
        let by = section.split("\n- Reproduced by: ").nth(1);
        let by = by.unwrap_or_else(|| panic!("{code}: which fault, and which test?"));
        let test = by.split('`').find(|name| name.contains(".rs::"));
        let (file, _) = test.and_then(|name| name.split_once("::")).unwrap();
        let planted = |path: &&String| {
            let text = || fs::read_to_string(path).unwrap();
            path.ends_with(&format!("/{file}")) && text().contains(&format!("\"{code}\""))
        };
        assert!(
            files.iter().any(|path| planted(&path)),
            "{file} does not name {code}"
        );
    }
}

/// Whatever a node's reason or explanation can name as its step or remedy is in the guide.
#[test]
fn troubleshooting_covers_every_step() {
    let guide = read("docs/troubleshooting.md");
    let plain: String = guide.split_whitespace().collect::<Vec<_>>().join(" ");
    let covered = |text: &str, what: &str| {
        assert!(
            plain.contains(text),
            "docs/troubleshooting.md lacks the {what} `{text}`"
        );
    };
    for step in Step::ALL {
        covered(&format!("`{}`", step.name()), "step");
        covered(doing(*step), "words");
    }
    let classes = [
        FailureClass::Transient,
        FailureClass::Permanent,
        FailureClass::Operator,
        FailureClass::Bug,
    ];
    for phase in Phase::ALL {
        covered(after_stop(*phase), "remedy");
        for class in classes {
            covered(remedy(*phase, class), "remedy");
        }
    }
}

/// The documents that people read.
fn documents() -> Vec<PathBuf> {
    let is_document = |path: &PathBuf| path.extension().is_some_and(|each| each == "md");
    [project(), project().join("docs")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(is_document)
        .collect()
}

/// What the links of a document lead to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
}

/// The anchor that a heading has on the page.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    let words: String = heading.to_lowercase().chars().filter(kept).collect();
    words.replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    assert!(documents.len() > 10, "{documents:?}");
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for link in links(&text) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let name = document.display();
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !place.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line.trim_start_matches('#').trim()) == place),
                    "{name}: {link} names no heading"
                );
            }
        }
    }
}

/// Every Rust file below `folder`, as text.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|each| each == "rs") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

/// A test is named by its file, as much of its path as the reader needs, and its function.
#[test]
fn the_tests_that_the_documents_name_exist() {
    let mut files = Vec::new();
    sources(&project().join("crates"), &mut files);
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        for (file, test) in quoted.filter_map(|name| name.split_once(".rs::")) {
            let end = format!("/{file}.rs");
            let declared = format!("fn {test}(");
            let found = files.iter().filter(|path| path.ends_with(&end));
            let found = found.filter(|path| fs::read_to_string(path).unwrap().contains(&declared));
            assert_eq!(
                found.count(),
                1,
                "{} names {test} in {file}.rs, which does not exist",
                document.display()
            );
            count += 1;
        }
    }
    assert!(count > 40, "only {count} names were looked at");
}

/// A file is named by as much of its path as the reader needs, so by some end of it.
#[test]
fn the_files_that_the_documents_name_exist() {
    let mut files = Vec::new();
    sources(&project().join("crates"), &mut files);
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        for name in quoted.filter(|name| name.ends_with(".rs") && !name.contains(' ')) {
            let end = format!("/{name}");
            assert!(
                files.iter().any(|file| file.ends_with(&end)),
                "{} names {name}, which does not exist",
                document.display()
            );
            count += 1;
        }
    }
    assert!(count > 60, "only {count} names were looked at");
}

/// Texts between two of `mark` that look like the kind of an event: `node.phase`.
fn kinds(text: &str, mark: char) -> BTreeSet<String> {
    const ABOUT: [&str; 9] = [
        "node", "server", "site", "rack", "switch", "address", "image", "agent", "boot",
    ];
    // What an agent boots is called so, too.
    const FILES: [&str; 2] = ["agent.efi", "agent.ipxe"];
    let is_kind = |word: &&str| {
        let parts = word.split_once('.');
        parts.is_some_and(|(about, what)| {
            let name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            ABOUT.contains(&about) && !what.is_empty() && what.bytes().all(name)
        }) && !FILES.contains(word)
    };
    let words = text.lines().flat_map(|line| line.split(mark));
    words.filter(is_kind).map(str::to_owned).collect()
}

#[test]
fn every_kind_of_event_is_explained() {
    let mut files = Vec::new();
    for folder in ["crates/store/src", "crates/server/src"] {
        sources(&project().join(folder), &mut files);
    }
    let told = files.iter();
    let told = told.flat_map(|path| kinds(&fs::read_to_string(path).unwrap(), '"'));
    let document = read("docs/api.md");
    let events = document.split("## Events").nth(1).expect("a chapter");
    let events = events.split("\n## ").next().expect("its text");
    assert_eq!(kinds(events, '`'), told.collect::<BTreeSet<_>>());
}
