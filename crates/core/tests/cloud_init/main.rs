//! Every network document, read by real cloud-init: what its renderers write for five kinds of
//! system is parsed back and compared with what was ordered.
//!
//! `render.py` runs cloud-init's own code, out of Debian's package, which `scripts/install-dependencies test`
//! unpacks without installing it. The parsers beside it know each format by its own manual, and
//! nothing of our generator. Our own files for wicked and systemd-networkd go the same way, and have to be
//! right without exception. What a renderer cannot do stands in `exceptions.rs`, by field, with
//! the value that it writes instead and the reason; one that is not needed any more fails the test.

mod cases;
mod exceptions;
mod expected;
mod networkd;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bessemer_core::network_data::{
    Content, NetworkConfiguration, files, network_data, set_variables,
};
use serde::Deserialize;
use serde_json::{Value, json};

use cases::Case;

/// Interface (or `""` for the whole system) and field, with what is said of it.
type Facts = BTreeMap<(String, String), Value>;

#[derive(Deserialize)]
struct Rendering {
    case: String,
    renderer: String,
    /// What went wrong, if something did.
    error: Option<String>,
    /// What cloud-init complained of on the way.
    warnings: Vec<String>,
    /// Fields by interface.
    #[serde(default)]
    interfaces: BTreeMap<String, BTreeMap<String, Value>>,
    #[serde(default)]
    system: BTreeMap<String, Value>,
    /// The files, for people who look for the cause of a failure.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl Rendering {
    /// The files, one after the other.
    fn text(&self) -> String {
        let files = self.files.iter();
        files
            .map(|(path, text)| format!("--- {path}\n{text}"))
            .collect()
    }

    fn facts(&self) -> Facts {
        let system = self.system.iter().map(|fact| ("", fact));
        let interfaces = self.interfaces.iter();
        let interfaces =
            interfaces.flat_map(|(name, fields)| fields.iter().map(|fact| (name.as_str(), fact)));
        let all = system.chain(interfaces);
        all.map(|(name, (field, value))| ((name.to_owned(), field.clone()), value.clone()))
            .collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What SUSE's netconfig has in its file, in short.
const NETCONFIG: &str = "## Type: string\nNETCONFIG_DNS_POLICY=\"auto\"\n\n## Type: string\n\
    NETCONFIG_DNS_STATIC_SERVERS=\"\"\n";

/// The files that Bessemer renders by itself, by path.
fn own_files(case: &Case, configuration: NetworkConfiguration) -> BTreeMap<String, String> {
    let files = files(&case.networking, configuration).into_iter();
    let files = files.map(|file| match file.content {
        Content::Whole(text) => (file.path, text),
        Content::Variables(variables) => (file.path, set_variables(NETCONFIG, &variables)),
    });
    files.collect()
}

/// All renderings of all cases, by one process: starting cloud-init takes longer than a case.
fn render(cases: &[Case]) -> Vec<Rendering> {
    let package = root().join("target/cloud-init");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud_init/render.py");
    let cases: Vec<_> = cases
        .iter()
        .map(|case| {
            json!({
                "name": case.name,
                "network_data": network_data(&case.networking),
                "interfaces": case.interfaces,
                "files": {
                    "wicked": own_files(case, NetworkConfiguration::Wicked),
                    "networkd-files": own_files(case, NetworkConfiguration::Networkd),
                },
            })
        })
        .collect();
    // Debian's own interpreter has the modules that Debian's package needs.
    let mut python = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(package)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/install-dependencies test installs python3");
    let mut input = python.stdin.take().unwrap();
    let cases = serde_json::to_vec(&cases).unwrap();
    let writer = std::thread::spawn(move || input.write_all(&cases));
    let output = python.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "render.py failed; is cloud-init unpacked (scripts/install-dependencies test)?"
    );
    writer.join().unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn real_cloud_init_renders_what_was_ordered() {
    let cases = cases::all();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let renderings = render(&cases);
    assert_eq!(renderings.len(), cases.len() * exceptions::RENDERERS.len());

    let by_name: BTreeMap<_, _> = cases
        .iter()
        .map(|case| (case.name.as_str(), case))
        .collect();
    let mut used = BTreeSet::new();
    // One of each kind is enough to look at.
    let mut mistakes: BTreeMap<String, String> = BTreeMap::new();
    for rendering in &renderings {
        let case = by_name[rendering.case.as_str()];
        for (kind, mistake) in compare(case, rendering, &mut used) {
            mistakes.entry(kind).or_insert(mistake);
        }
    }
    let shown: Vec<_> = mistakes.into_values().collect();
    assert!(shown.is_empty(), "mistakes:\n{}", shown.join("\n"));
    let idle: Vec<_> = exceptions::EXCEPTIONS
        .iter()
        .enumerate()
        .filter(|(index, _)| !used.contains(index))
        .map(|(_, exception)| (exception.renderer, exception.field))
        .collect();
    assert!(idle.is_empty(), "exceptions that nothing needs: {idle:?}");
}

/// The mistakes of one rendering, each with its kind.
fn compare(
    case: &Case,
    rendering: &Rendering,
    used: &mut BTreeSet<usize>,
) -> Vec<(String, String)> {
    let place = format!("{} by {}", case.name, rendering.renderer);
    let complaints = rendering.warnings.iter();
    let complaints = complaints.filter(|text| !exceptions::is_expected_warning(case, text));
    let complaints = rendering.error.iter().chain(complaints);
    let mut mistakes: Vec<_> = complaints
        .map(|text| {
            (
                text.clone(),
                format!("{place}: {text}\n{}", rendering.text()),
            )
        })
        .collect();
    let (expected, seen) = (
        expected::facts(case, &rendering.renderer),
        rendering.facts(),
    );
    for key in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
        let (expected, seen) = (expected.get(key), seen.get(key));
        if expected == seen {
            continue;
        }
        let exception = exceptions::find(case, &rendering.renderer, key, (expected, seen));
        if let Some(index) = exception {
            used.insert(index);
            continue;
        }
        let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
        let (seen, expected) = (show(seen), show(expected));
        mistakes.push((
            format!("{} of {}", key.1, rendering.renderer),
            format!(
                "{place}: {key:?} is {seen}, ordered was {expected}\n{}",
                rendering.text()
            ),
        ));
    }
    mistakes
}
