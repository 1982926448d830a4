//! `fuzz/` and [`TARGETS`] are the same list: a target that only one of the two runs is forgotten soon.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bessemer_fuzz::TARGETS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_target_has_a_program_and_seeds() {
    let targets: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets have one name");
    assert_eq!(names_in(&folder().join("fuzz_targets")), targets);
    assert_eq!(names_in(&folder().join("seeds")), targets);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter();
    let named: BTreeSet<_> = programs
        .map(|program| {
            let name = program["name"].as_str().unwrap().to_owned();
            assert_eq!(
                program["path"].as_str(),
                Some(&*format!("fuzz_targets/{name}.rs"))
            );
            name
        })
        .collect();
    assert_eq!(named, targets);
}

/// The programs need a nightly compiler, which is not always there: so there is nothing in them that
/// could be wrong but the name.
#[test]
fn programs_call_their_target_and_nothing_else() {
    for target in TARGETS {
        let name = target.name;
        let text = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        let expected = format!(
            "#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|input: &[u8]| \
             (bessemer_fuzz::target(\"{name}\").read)(input));\n"
        );
        assert_eq!(text, expected, "{name}");
    }
}
