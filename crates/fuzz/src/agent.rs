//! The agent protocol, seen from both ends; and what an agent hears of switches, machines and images.

use bessemer_agent::inventory::smbios;
use bessemer_agent::network::{arp, lldp};
use bessemer_agent::work::boot_entry::{from_file_names, from_grub, from_loader_entries};
use bessemer_boot::parameters::Parameters;
use bessemer_core::network_data::ConfigurationFile;
use bessemer_image::map::BlockMap;
use bessemer_wire::agent::{Hello, Poll, PollAnswer, Welcome};
use bessemer_wire::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an agent sends: `hello` and `poll`.
pub(crate) fn agent_request(body: &[u8]) {
    there_and_back::<Hello>(body);
    there_and_back::<Poll>(body);
}

/// What a conductor answers an agent with, block maps among it.
pub(crate) fn conductor_answer(body: &[u8]) {
    there_and_back::<Welcome>(body);
    there_and_back::<PollAnswer>(body);
    there_and_back::<Vec<ConfigurationFile>>(body);
    there_and_back::<Problem>(body);
    if let Some(map) = there_and_back::<BlockMap>(body) {
        // Chunks and holes are the image, all of it and once.
        let holes: u64 = map.holes().map(|hole| hole.end - hole.start).sum();
        assert_eq!(holes + map.data_bytes(), map.virtual_size());
        assert!(map.stored_bytes() <= map.data_bytes());
    }
}

/// What can be read can be written, and is the same when it is read again.
fn there_and_back<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(body).ok()?;
    let written = serde_json::to_string(&value).ok();
    let again = written.as_deref().map(serde_json::from_str::<T>);
    let again = again
        .and_then(Result::ok)
        .map(|value| serde_json::to_string(&value).ok());
    assert_eq!(
        again,
        Some(written),
        "it cannot be read again as it was written"
    );
    Some(value)
}

/// An LLDP frame without its Ethernet header, and an ARP packet.
pub(crate) fn neighbor_frame(frame: &[u8]) {
    let _ = arp::sender(frame);
    if let Some(lldp::Announcement::Neighbor(neighbor)) = lldp::parse(frame) {
        let texts = [
            Some(neighbor.chassis),
            Some(neighbor.port),
            neighbor.system_name,
        ];
        for text in texts.into_iter().flatten() {
            assert!(text.chars().count() <= 255 && !text.contains(char::is_control));
        }
    }
}

/// What the firmware and whoever is on the provisioning network can put before an agent: the kernel's command
/// line, and SMBIOS.
pub(crate) fn agent_start(input: &[u8]) {
    let _ = smbios::memory_mib(input);
    let line = String::from_utf8_lossy(input);
    if let Ok(parameters) = Parameters::parse(&line) {
        let again = parameters
            .render([])
            .ok()
            .map(|line| Parameters::parse(&line).ok());
        assert_eq!(again, Some(Some(parameters)));
    }
}

/// The configuration of an image's boot loader: a `grub.cfg`, entries of the Boot Loader Specification, names
/// of files.
pub(crate) fn boot_loader(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let _ = from_grub(&text);
    let entries: Vec<_> = text
        .split("\n\n")
        .enumerate()
        .map(|(number, entry)| (format!("entry-{number}.conf"), entry.to_owned()))
        .collect();
    let _ = from_loader_entries(&entries, &text);
    let names: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    let _ = from_file_names("boot", &names, "7f2c");
}
