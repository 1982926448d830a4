//! Bonded ports, with a machine behind them that speaks no LACP (firmware, or somebody malicious), and with
//! one that does: another Open vSwitch, set up by its own tools as an operating system sets up its bond.

use std::time::Duration;

use bessemer_core::lifecycle::PortRole;
use bessemer_core::port_plan::AttachmentMode::{Native, Tagged};

use crate::control::Counter;
use crate::frames::{self, Frame};
use crate::nic::Nic;
use crate::rack::{BMC, Machine, PARKED, PROVISIONING, Rack, assert_deaf, wire};
use crate::vswitch::Vswitch;

const CONDUCTOR: usize = 1;

/// A bonded node at p1 and p2 of leaf2, the conductor, and a server of another tenant on either switch.
async fn machines(rack: &Rack) -> Vec<Machine> {
    let mut machines = vec![
        rack.node(1, 2, &["p1", "p2"]).await,
        rack.machine(50, 1, "conductor"),
    ];
    for (number, leaf) in [(2, 1), (3, 2)] {
        let machine = rack.node(number, leaf, &["p3"]).await;
        rack.connect(&machine, PortRole::Tenant, &[(200, Native)])
            .await;
        machines.push(machine);
    }
    machines
}

#[tokio::test]
async fn firmware_boots_by_one_member_of_a_bond() {
    let rack = Rack::start();
    let mut machines = machines(&rack).await;
    rack.connect(&machines[0], PortRole::Provisioning, &[])
        .await;
    // The fallback needs a moment: the switch waits for a partner first, as firmware repeats its requests.
    let leaf = rack.leaf(2);
    leaf.until(|| {
        leaf.appctl(&["bond/show", "lag-p1"])
            .contains("member p1: enabled")
    });
    for (from, to) in [(0, CONDUCTOR), (CONDUCTOR, 0)] {
        let bytes = frames::unicast(machines[from].station, machines[to].station, 1);
        let frame = Frame {
            name: "boot request".to_owned(),
            bytes: bytes.clone(),
        };
        rack.send(&mut machines, from, 0, &[frame]);
        assert_eq!(machines[to].heard(), [bytes]);
    }
}

#[tokio::test]
async fn a_malicious_guest_gets_no_further_by_a_bond() {
    let rack = Rack::start();
    let mut machines = machines(&rack).await;
    rack.connect(
        &machines[0],
        PortRole::Tenant,
        &[(100, Tagged), (101, Tagged)],
    )
    .await;
    let leaf = rack.leaf(2);
    leaf.until(|| {
        leaf.appctl(&["bond/show", "lag-p1"])
            .contains("member p1: enabled")
    });
    for nic in [0, 1] {
        let mut sent: Vec<Frame> = Vec::new();
        for target in 1..machines.len() {
            let first = u32::try_from(sent.len()).unwrap();
            let (attacker, victim) = (machines[0].station, machines[target].station);
            let vlans = [200, PROVISIONING, BMC, PARKED];
            sent.extend(frames::malicious(
                attacker,
                victim,
                &[100, 101],
                &vlans,
                first,
            ));
        }
        rack.send(&mut machines, 0, nic, &sent);
        for machine in &mut machines[1..] {
            assert_deaf(machine, &sent);
        }
    }
}

/// Frames of a transfer; a member is pulled after a third of them, and the other one after two thirds.
const TRANSFERRED: u32 = 300;

/// How long a sender waits before it sends a frame again, as TCP would.
const REPEAT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn members_pulled_in_mid_transfer_lose_nothing() {
    let rack = Rack::start();
    let bonded = rack.cabled(1, 2, &["p1", "p2"]).await;
    rack.connect(&bonded, PortRole::Tenant, &[(100, Tagged)])
        .await;
    let mut receiver = rack.node(2, 1, &["p3"]).await;
    rack.connect(&receiver, PortRole::Tenant, &[(100, Native)])
        .await;
    let (system, mut sender) = operating_system();
    for port in ["p1", "p2"] {
        let listen = format!("options:pstream=\"punix:{}\"", wire(rack.leaf(2), port));
        rack.leaf(2).vsctl(&["set", "interface", port, &listen]);
        plug_in(&rack, &system, port);
    }
    await_members(&rack, &["p1", "p2"]);

    let mut repeated = 0;
    for number in 0..TRANSFERRED {
        if number == TRANSFERRED / 3 {
            system.vsctl(&["clear", "interface", "p1", "options"]);
        } else if number == TRANSFERRED * 2 / 3 {
            plug_in(&rack, &system, "p1");
            await_members(&rack, &["p1", "p2"]);
            system.vsctl(&["clear", "interface", "p2", "options"]);
        }
        let frame = frames::broadcast(bonded.station, number);
        sender.send(&frame);
        rack.leaf(2).until(|| {
            let arrived = receiver.nics[0].hears(number, REPEAT);
            if !arrived {
                repeated += 1;
                sender.send(&frame);
            }
            arrived
        });
    }
    println!("{TRANSFERRED} frames arrived, {repeated} of them sent again");
}

/// A machine whose system bonds p1 and p2 and has VLAN 100 on the bond, and its NIC inside.
fn operating_system() -> (Vswitch, Nic) {
    let system = Vswitch::start();
    system.vsctl(&["del-port", "p1", "--", "del-port", "p2"]);
    let mut bond = vec!["add-bond", "br0", "bond0", "p1", "p2", "lacp=active"];
    bond.extend([
        "bond_mode=balance-tcp",
        "other_config:lacp-time=fast",
        "trunks=100",
    ]);
    for port in ["p1", "p2"] {
        bond.extend(["--", "set", "interface", port, "type=dummy"]);
    }
    system.vsctl(&bond);
    let socket = wire(&system, "p3");
    let listen = format!("options:pstream=\"punix:{socket}\"");
    system.vsctl(&[
        "set",
        "port",
        "p3",
        "tag=100",
        "--",
        "set",
        "interface",
        "p3",
        &listen,
    ]);
    let inside = Nic::plug(0, "p3", socket.as_ref(), Counter::default());
    (system, inside)
}

fn plug_in(rack: &Rack, system: &Vswitch, port: &str) {
    let end = format!("options:stream=\"unix:{}\"", wire(rack.leaf(2), port));
    system.vsctl(&["set", "interface", port, &end]);
}

/// Waits until LACP is negotiated on all `members`.
fn await_members(rack: &Rack, members: &[&str]) {
    let leaf = rack.leaf(2);
    leaf.until(|| {
        let shown = leaf.appctl(&["bond/show", "lag-p1"]);
        let enabled = |port: &&str| shown.contains(&format!("member {port}: enabled"));
        shown.contains("lacp_status: negotiated") && members.iter().all(enabled)
    });
}
