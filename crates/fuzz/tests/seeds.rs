//! Seeds are what their names say: one that its reader refuses at once would lead nowhere.

use std::fs;
use std::path::{Path, PathBuf};

use bessemer_bmc::ipmi::wire::Packet;
use bessemer_bmc::ipmi::{Fru, SensorRecord};
use bessemer_boot::dhcp::Request;
use bessemer_fabric::read_ovsdb;
use bessemer_image::import::examine;
use bessemer_image::map::BlockMap;
use bessemer_wire::agent::{Hello, Poll, PollAnswer, Welcome};
use bessemer_wire::problem::Problem;
use serde::de::DeserializeOwned;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target)
}

fn seed(target: &str, name: &str) -> Vec<u8> {
    fs::read(folder(target).join(name)).unwrap_or_else(|error| panic!("{target}/{name}: {error}"))
}

/// The seeds of a target whose names begin so.
fn seeds(target: &str, beginning: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.starts_with(beginning));
    let found: Vec<_> = names
        .map(|name| (name.clone(), seed(target, &name)))
        .collect();
    assert!(!found.is_empty(), "{target} has no seeds {beginning}*");
    found
}

fn all_are<T: DeserializeOwned>(target: &str, beginning: &str) {
    for (name, seed) in seeds(target, beginning) {
        if let Err(error) = serde_json::from_slice::<T>(&seed) {
            panic!("{target}/{name}: {error}");
        }
    }
}

#[test]
fn agents_and_conductors_understand_them() {
    all_are::<Hello>("agent_request", "hello");
    all_are::<Poll>("agent_request", "poll-");
    all_are::<Welcome>("conductor_answer", "welcome");
    all_are::<PollAnswer>("conductor_answer", "command-");
    all_are::<PollAnswer>("conductor_answer", "nothing");
    all_are::<BlockMap>("conductor_answer", "block-map");
    all_are::<Problem>("conductor_answer", "problem");
}

#[test]
fn images_are_of_their_kinds() {
    for (name, kind) in [
        ("raw-gpt", "raw"),
        ("raw-gpt-few-entries", "raw"),
        ("qcow2-2", "qcow2"),
        ("qcow2-3", "qcow2"),
        ("qcow2-extended-l2", "qcow2"),
        ("vmdk", "vmdk"),
        ("ova", "tar"),
        ("tar-long-name-gnu", "tar"),
        ("tar-long-name-pax", "tar"),
        ("gzip", "gzip"),
        ("xz", "xz"),
        ("zstd", "zstd"),
    ] {
        let examined = examine(&seed("image_header", name), 1 << 40, 4 << 20);
        assert_eq!(
            examined.map_err(|error| error.to_string()),
            Ok(kind),
            "{name}"
        );
    }
    for (name, reason) in [
        ("qcow2-loop", "more than once"),
        ("vmdk-snapshot", "snapshot"),
        ("tar-leads-out", "leads out"),
        ("mbr", "GPT"),
        ("iso", "installer"),
    ] {
        let refused = examine(&seed("image_header", name), 1 << 40, 4 << 20);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(reason), "{name}: {refused}");
    }
}

#[test]
fn packets_and_storage_are_read() {
    for (name, seed) in seeds("dhcp_request", "discover-") {
        assert!(Request::parse(&seed).is_ok(), "{name}");
    }
    for beginning in ["sealed-", "open", "rakp-", "cipher-suites-"] {
        for (name, seed) in seeds("ipmi_datagram", beginning) {
            assert!(Packet::parse(&seed).is_some(), "{name}");
        }
    }
    let fru = Fru::parse(&seed("ipmi_storage", "fru-all-areas"));
    assert_eq!(fru.serial().as_deref(), Some("SN0042"));
    for (name, seed) in seeds("ipmi_storage", "sensor-") {
        assert!(SensorRecord::parse(&seed).is_some(), "{name}");
    }
}

#[test]
fn switches_say_what_their_ports_carry() {
    let said = |name: &str| {
        let states = read_ovsdb(&seed("ovsdb_stream", name)).into_iter();
        let said = states.map(|state| (state.port, state.carries.to_string(), state.lag.is_some()));
        said.collect::<Vec<_>>()
    };
    let access = said("access-port.json");
    assert_eq!(access.len(), 2, "{access:?}");
    assert!(access[0].1.contains('7') && !access[0].2, "{access:?}");
    let bond = said("bond.json");
    assert!(
        bond.iter().filter(|(.., lag)| *lag).count() >= 2,
        "{bond:?}"
    );
    assert!(!said("tunnel.json").is_empty());
}
