//! How nodes look to people.

use bessemer_core::boot_method::BootMethod;
use bessemer_core::hardware::{Disk, Inventory, Nic};
use bessemer_core::root_disk::RootDiskHint;
use bessemer_wire::api::{
    BmcTrust, Node, NodeHistoryEntry, NodePort, PortGroup, PowerSeen, RootDisk, RootDiskDecision,
};
use jiff::Timestamp;

use crate::failure::tell;
use crate::table::{NOTHING, pairs, table};
use crate::words::{ago, bytes, disk_identity, hardware, memory, progress, step};

/// One line for every node.
pub(super) fn list(nodes: &[&Node], detail: bool, now: Timestamp) -> String {
    let nodes = nodes.iter();
    if detail {
        let rows = nodes.map(|node| {
            let [name, state, since, reason] = line(node, now);
            let hardware = node.inventory.as_ref().map_or(NOTHING.into(), hardware);
            [name, state, since, hardware, reason]
        });
        return table(["NAME", "STATE", "SINCE", "HARDWARE", "REASON"], rows);
    }
    let rows = nodes.map(|node| line(node, now));
    table(["NAME", "STATE", "SINCE", "REASON"], rows)
}

fn line(node: &Node, now: Timestamp) -> [String; 4] {
    [
        node.name.clone(),
        node.provision_state.clone(),
        ago(node.state.since, now),
        node.state.reason.summary.clone(),
    ]
}

/// Everything about one node.
pub(super) fn details(node: &Node, now: Timestamp) -> String {
    let state = &node.state;
    let doing = (!state.settled()).then(|| {
        let mut text = format!("{}, since {}", step(state.step), ago(state.step_since, now));
        if state.attempt > 1 || state.tries > 1 {
            text.push_str(&format!(
                " (attempt {}, try {})",
                state.attempt, state.tries
            ));
        }
        text
    });
    let ports: Vec<_> = node.ports.iter().map(port).collect();
    let groups: Vec<_> = node.port_groups.iter().map(group).collect();
    let mut text = pairs([
        ("Name", Some(node.name.clone())),
        ("Id", Some(node.id.to_string())),
        ("Rack", node.rack.clone()),
        (
            "State",
            Some(format!(
                "{}, since {}",
                node.provision_state,
                ago(state.since, now)
            )),
        ),
        ("Doing", doing),
        ("Progress", node.progress.as_ref().map(progress)),
        ("Reason", Some(tell(&state.reason, now))),
        ("Standby", Some(node.standby.name().replace('_', " "))),
        ("Server", node.server.map(|server| server.to_string())),
        ("Power", Some(power(node, now))),
        ("BMC", Some(bmc(node, now))),
        ("Ports", Some(ports.join("\n"))),
        (
            "Port groups",
            Some(groups.join("\n")).filter(|text| !text.is_empty()),
        ),
        ("Boots by", boots_by(node)),
        ("Identity", node.identity.as_ref().map(ToString::to_string)),
        ("Registered", Some(ago(node.created_at, now))),
    ]);
    if let Some(inventory) = &node.inventory {
        text.push_str("\n\n");
        text.push_str(&machine(inventory, &root_disks(node)));
    }
    text
}

fn power(node: &Node, now: Timestamp) -> String {
    let state = match node.power.state {
        PowerSeen::On => "on",
        PowerSeen::Off => "off",
        PowerSeen::PoweringOn => "powering on",
        PowerSeen::PoweringOff => "powering off",
        PowerSeen::Unknown => "unknown",
    };
    match node.power.since {
        Some(since) => format!("{state}, since {}", ago(since, now)),
        None => state.to_owned(),
    }
}

fn bmc(node: &Node, now: Timestamp) -> String {
    let trust = match &node.bmc.trust {
        BmcTrust::System => "certificate judged by this site's authorities".to_owned(),
        BmcTrust::Pinned(fingerprint) => format!("certificate pinned: {fingerprint}"),
        BmcTrust::Insecure => "certificate not verified".to_owned(),
    };
    let mut text = format!("{} at {}\n{trust}", node.bmc.username, node.bmc.url);
    if let Some(since) = node.bmc.unreachable_since {
        text.push_str(&format!("\ndoes not answer, since {}", ago(since, now)));
    }
    text
}

/// How it boots the agent: as decided, or as can be told from what it can do.
fn boots_by(node: &Node) -> Option<String> {
    match (node.boot_method, node.boot_abilities) {
        (Some(method), _) => Some(format!("{method}, as decided")),
        (None, Some(abilities)) => {
            let able = [
                (BootMethod::UefiHttp, abilities.uefi_http),
                (BootMethod::Pxe, abilities.pxe),
                (BootMethod::VirtualMedia, abilities.virtual_media),
            ];
            let able = able.into_iter().filter(|(_, able)| *able);
            let names: Vec<_> = able.map(|(method, _)| method.name()).collect();
            Some(format!("the first possible of {}", names.join(", ")))
        }
        (None, None) => None,
    }
}

fn port(port: &NodePort) -> String {
    let mut text = port.mac.to_string();
    if let (Some(switch), Some(switch_port)) = (&port.switch, &port.switch_port) {
        text.push_str(&format!(" at {switch} {switch_port}"));
    }
    if let Some(physical_network) = &port.physical_network {
        text.push_str(&format!(", physical network {physical_network}"));
    }
    if let Some(group) = &port.group {
        text.push_str(&format!(", in {group}"));
    }
    text
}

fn group(group: &PortGroup) -> String {
    let members = group.members.len();
    format!("{} of {members} ports, {}", group.name, group.mode.name())
}

/// The disk that carries the operating system, or why there is none; each with what decides.
fn root_disks(node: &Node) -> String {
    let hint = |hint: &RootDiskHint| format!("the node's hint {hint}");
    let one = |choice: &RootDisk| {
        let decided_by = match (choice.decided_by, &choice.flavor) {
            (RootDiskDecision::Order, _) => "the order: a server is on it".to_owned(),
            (RootDiskDecision::Node, _) => {
                let own = node.root_disk_hint.as_ref().map(hint);
                own.unwrap_or_else(|| "the node's hint".to_owned())
            }
            (RootDiskDecision::Flavor, flavor) => {
                let flavor = flavor.as_deref().unwrap_or_default();
                format!("the hint of flavor {flavor}")
            }
            (RootDiskDecision::Rule, _) => {
                "the rule: the smallest that the image fits on".to_owned()
            }
        };
        match (&choice.disk, &choice.problem) {
            (Some(disk), _) => format!("{}\nby {decided_by}", disk_identity(disk)),
            (None, Some(problem)) => format!("none: {problem}\nby {decided_by}"),
            (None, None) => format!("none\nby {decided_by}"),
        }
    };
    node.root_disk
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join("\n")
}

fn machine(inventory: &Inventory, root_disks: &str) -> String {
    let cpu = &inventory.cpu;
    let cores = format!(
        "{} ({}), sockets {}, cores {}, threads {}",
        cpu.model, cpu.architecture, cpu.sockets, cpu.cores, cpu.threads
    );
    let disks: Vec<_> = inventory.disks.iter().map(disk).collect();
    let nics: Vec<_> = inventory.nics.iter().map(nic).collect();
    pairs([
        (
            "Machine",
            Some(format!("{} {}", inventory.manufacturer, inventory.product)),
        ),
        ("Firmware", Some(inventory.firmware_version.clone())),
        ("Processor", Some(cores)),
        ("Memory", Some(memory(inventory.memory_mib))),
        ("Disks", Some(disks.join("\n"))),
        (
            "Root disk",
            Some(root_disks.to_owned()).filter(|text| !text.is_empty()),
        ),
        ("NICs", Some(nics.join("\n"))),
    ])
}

fn disk(disk: &Disk) -> String {
    let kind = if disk.rotational { "HDD" } else { "SSD" };
    let size = bytes(disk.size_bytes);
    let parts = [
        &disk.name,
        &format!("{size} {kind}"),
        &disk.model,
        &disk.serial,
    ];
    let known = parts.into_iter().filter(|part| !part.is_empty());
    known.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn nic(nic: &Nic) -> String {
    let mut text = format!("{} {}, {}", nic.name, nic.mac, nic.driver);
    match (nic.link, nic.speed_mbps) {
        (true, Some(speed)) => text.push_str(&format!(", {speed} Mbit/s")),
        (true, None) => text.push_str(", link"),
        (false, _) => text.push_str(", no link"),
    }
    if let Some(neighbor) = &nic.lldp {
        let switch = neighbor.system_name.as_ref().unwrap_or(&neighbor.chassis);
        text.push_str(&format!(", cabled to {switch} {}", neighbor.port));
    }
    text
}

/// One line for every state, oldest first.
pub(super) fn history(entries: &[&NodeHistoryEntry], now: Timestamp) -> String {
    let rows = entries.iter().map(|entry| {
        let state = &entry.state;
        [
            ago(entry.at, now),
            state.phase.name().to_owned(),
            step(state.step),
            format!("{}.{}", state.attempt, state.tries),
            state.reason.summary.clone(),
        ]
    });
    table(["WHEN", "PHASE", "STEP", "TRY", "REASON"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Node {
        serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000001", "name": "rack1-u07",
            "provision_state": "wait call-back", "generation": 3, "grown_later": 1,
            "state": {
                "phase": "deploying", "step": "await_agent", "generation": 3, "attempt": 2,
                "tries": 1, "boots": 4, "since": "2026-11-21T10:00:00Z",
                "step_since": "2026-11-21T10:01:00Z", "cleanliness": "clean",
                "deadline": null, "retry_at": null, "came_from": null,
                "reason": { "summary": "waiting for the agent", "next": "the power is cycled" },
            },
            "power": { "state": "unknown", "since": "2026-11-21T10:01:00Z" },
            "bmc": { "url": "https://10.0.0.7", "username": "root", "trust": { "pinned": "ab" },
                "unreachable_since": "2026-11-21T10:01:00Z" },
            "ports": [
                { "mac": "52:54:00:12:34:56", "switch": "leaf1", "switch_port": "swp7" },
                { "mac": "52:54:00:12:34:57" },
            ],
            "created_at": "2026-11-20T10:00:00Z",
            "inventory": {
                "identity": { "serial": "S1" }, "manufacturer": "Maker", "product": "Server 1",
                "firmware_version": "1.2", "firmware_mode": "uefi", "memory_mib": 32000,
                "cpu": { "model": "CPU", "architecture": "x86_64", "sockets": 1, "cores": 4,
                    "threads": 8 },
                "disks": [{ "name": "nvme0n1", "size_bytes": 34_359_738_368_u64, "model": "Fast",
                    "serial": "", "rotational": false, "transport": "nvme" }],
                "nics": [{ "name": "eth0", "mac": "52:54:00:12:34:56", "link": true,
                    "speed_mbps": 10000, "driver": "ixgbe",
                    "lldp": { "chassis": "c", "port": "swp7", "system_name": "leaf1" } }],
            },
        }))
        .unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T10:02:00Z".parse().unwrap()
    }

    #[test]
    fn a_node_is_one_line() {
        assert_eq!(
            list(&[&node()], false, now()),
            "NAME       STATE           SINCE   REASON\n\
             rack1-u07  wait call-back  2m ago  waiting for the agent"
        );
        let lines = [
            "NAME       STATE           SINCE   HARDWARE                               REASON",
            "rack1-u07  wait call-back  2m ago  8 threads, 32000 MiB, 1 disk (32 GiB)  \
             waiting for the agent",
        ];
        assert_eq!(list(&[&node()], true, now()), lines.join("\n"));
    }

    #[test]
    fn root_disks_say_what_decides() {
        let mut node = node();
        node.root_disk_hint = Some("serial=S1".parse().unwrap());
        node.root_disk = serde_json::from_value(json!([
            { "decided_by": "node",
              "disk": { "name": "nvme0n1", "serial": "S1", "size_bytes": 34_359_738_368_u64 } },
            { "decided_by": "flavor", "flavor": "m1", "problem": "several disks answer" },
        ]))
        .unwrap();
        let text = details(&node, now());
        let lines = "Root disk:  nvme0n1 (serial number S1, 32 GiB)\n\
            \x20           by the node's hint serial=S1\n\
            \x20           none: several disks answer\n\
            \x20           by the hint of flavor m1\n";
        assert!(text.contains(lines), "{text}");
    }

    #[test]
    fn details_leave_nothing_out() {
        assert_eq!(
            details(&node(), now()),
            "Name:        rack1-u07\n\
             Id:          00000000-0000-0000-0000-000000000001\n\
             State:       wait call-back, since 2m ago\n\
             Doing:       await agent, since 1m ago (attempt 2, try 1)\n\
             Reason:      waiting for the agent\n\
             \x20              next: the power is cycled\n\
             Standby:     by flavor\n\
             Power:       unknown, since 1m ago\n\
             BMC:         root at https://10.0.0.7\n\
             \x20            certificate pinned: ab\n\
             \x20            does not answer, since 1m ago\n\
             Ports:       52:54:00:12:34:56 at leaf1 swp7\n\
             \x20            52:54:00:12:34:57\n\
             Registered:  1d ago\n\
             \n\
             Machine:    Maker Server 1\n\
             Firmware:   1.2\n\
             Processor:  CPU (x86_64), sockets 1, cores 4, threads 8\n\
             Memory:     32000 MiB\n\
             Disks:      nvme0n1, 32 GiB SSD, Fast\n\
             NICs:       eth0 52:54:00:12:34:56, ixgbe, 10000 Mbit/s, cabled to leaf1 swp7"
        );
    }
}
