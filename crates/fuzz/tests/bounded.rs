//! The bounded run: every target bears its seeds damaged in every way, at a bounded cost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bessemer_fuzz::damage::{any_damage, damaged};
use bessemer_fuzz::measure::{Counting, cost};
use bessemer_fuzz::{TARGETS, Target, target};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time of the processor for one input, unoptimised. None of them needs a tenth of it.
const LONGEST: Duration = Duration::from_secs(1);

/// Inputs are the same at every run, unless `PROPTEST_RNG_SEED` says other ones.
const SEED: u64 = 1856;

/// The seeds of a target, by name.
fn seeds(name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let files = fs::read_dir(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let files = files.map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

fn config(inputs: u32) -> Config {
    let mut config = Config {
        cases: inputs,
        failure_persistence: None,
        ..Config::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config
}

/// Reads one input, which must not cost too much.
fn bear(target: &Target, input: &[u8]) -> Result<(), TestCaseError> {
    let spent = cost(|| (target.read)(input));
    let bound = target.memory.of(input.len());
    prop_assert!(
        spent.memory <= bound,
        "{} bytes of input held {} bytes of memory, more than {bound}",
        input.len(),
        spent.memory
    );
    prop_assert!(spent.time <= LONGEST, "it took {:?}", spent.time);
    Ok(())
}

fn run(name: &str) {
    let target = target(name);
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds in fuzz/seeds");
    for (file, seed) in &seeds {
        assert!(
            seed.len() <= target.longest,
            "seed {name}/{file} is too long"
        );
        bear(target, seed).unwrap_or_else(|error| panic!("seed {name}/{file}: {error}"));
    }
    let seeds: Vec<_> = seeds.into_values().collect();
    let any_bytes = prop::collection::vec(any::<u8>(), 0..target.longest.min(600));
    let damaged_seed = (
        any::<prop::sample::Index>(),
        prop::collection::vec(any_damage(), 1..6),
    )
        .prop_map(move |(seed, damages)| {
            let seed: &Vec<u8> = seed.get(&seeds);
            damaged(seed, &damages, target.kind, target.longest)
        });
    let inputs = prop_oneof![1 => any_bytes, 19 => damaged_seed];
    let mut runner = TestRunner::new(config(target.inputs));
    if let Err(failure) = runner.run(&inputs, |input| bear(target, &input)) {
        panic!("{name}: {failure}");
    }
}

macro_rules! bounded {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

bounded! {
    dhcp_request
    tftp_packet
    router_solicitation
    redfish_answer
    ipmi_datagram
    ipmi_storage
    ovsdb_stream
    image_header
    image_chunk
    image_checksums
    agent_request
    conductor_answer
    neighbor_frame
    agent_start
    boot_loader
}
