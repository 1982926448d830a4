//! Two switches, what is plugged into them, and knowing when a frame has gone wherever it goes.
//!
//! A test that waits a while and then says that nothing came shows little. Here all counters are
//! compared instead: every frame that a machine sent has been taken in by its switch, every frame
//! that went into the trunk has come out of it, every frame that a switch let out has been heard.

use std::cell::Cell;
use std::collections::BTreeMap;

use bessemer_core::lifecycle::PortRole;
use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::{
    Attachment, AttachmentMode, Cable, Carrier, GroupMode, NodePorts, Port, PortGroup, SiteModel,
    SiteVlans, SwitchModel, plan,
};
use bessemer_fabric::{OnFailure, OvsdbAddress, OvsdbSwitch, Switch};
use tokio::time::{Duration, Instant};

use crate::control::{Control, Counter};
use crate::frames::{self, Frame, Station};
use crate::nic::Nic;
use crate::vswitch::Vswitch;

/// Where agents meet the conductor; controllers are reached; and ports that nobody uses are.
pub(crate) const PROVISIONING: u16 = 10;
pub(crate) const BMC: u16 = 20;
pub(crate) const PARKED: u16 = 4094;

/// Frames that may be on their way at once: a dummy device holds a hundred and drops the rest.
const BURST: usize = 50;

/// A machine: where it is plugged in, and its addresses.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) station: Station,
    /// The switch and the port of each of its cables.
    cables: Vec<(usize, String)>,
    pub(crate) nics: Vec<Nic>,
}

/// The switches `leaf1` and `leaf2`, each with the node ports `p1` to `p4`, and a trunk of all
/// networks between them. The conductor and the controllers' network are on `leaf1`.
pub(crate) struct Rack {
    leaves: [Vswitch; 2],
    controls: [Control; 2],
    /// What went into the trunk before anybody was at its other end.
    lost: [u64; 2],
    /// Whether frames might still go the way they went before the last change.
    has_changed: Cell<bool>,
}

impl Rack {
    /// With the trunk as it must be: on the switch that is nearer to the conductor it is protected, so
    /// that what idle agents behind it say does not reach those in front of it, nor the other way round.
    pub(crate) fn start() -> Self {
        Self::with_trunk(true)
    }

    pub(crate) fn with_trunk(protected: bool) -> Self {
        let leaves = [Vswitch::start(), Vswitch::start()];
        add_port(&leaves[0], "conductor", &format!("tag={PROVISIONING}"));
        add_port(&leaves[0], "bmc", &format!("tag={BMC}"));
        for (leaf, end) in [
            (&leaves[0], "pstream=\"punix"),
            (&leaves[1], "stream=\"unix"),
        ] {
            add_port(leaf, "trunk", "vlan_mode=trunk");
            let socket = wire(&leaves[0], "trunk");
            leaf.vsctl(&[
                "set",
                "interface",
                "trunk",
                &format!("options:{end}:{socket}\""),
            ]);
        }
        leaves[0].vsctl(&["set", "port", "trunk", &format!("protected={protected}")]);
        // The end that listens does not tell that it is connected: a frame has to come out.
        leaves[1].until(|| {
            let state = leaves[1].appctl(&["netdev-dummy/conn-state", "trunk"]);
            state.contains(": connected")
        });
        hear_from(&leaves[1]);
        let controls = leaves.each_ref().map(Control::of);
        leaves[0].until(|| controls[0].counters()["trunk"].taken > 0);
        for leaf in &leaves {
            let trunks = format!("trunks={PROVISIONING},100,101,200,201");
            leaf.vsctl(&["set", "port", "trunk", &trunks]);
        }
        let ends = controls
            .each_ref()
            .map(|control| control.counters()["trunk"]);
        let lost = [
            ends[0].let_out - ends[1].taken,
            ends[1].let_out - ends[0].taken,
        ];
        Self {
            leaves,
            controls,
            lost,
            has_changed: Cell::new(false),
        }
    }

    fn counters(&self, index: usize) -> BTreeMap<String, Counter> {
        self.controls[index].counters()
    }

    /// A machine that is there from the start, such as the conductor.
    pub(crate) fn machine(&self, number: u8, leaf: usize, port: &str) -> Machine {
        Machine {
            name: format!("{port} of leaf{leaf}"),
            station: Station::new(number),
            cables: vec![(leaf, port.to_owned())],
            nics: vec![self.plug(leaf, port)],
        }
    }

    /// A node with NICs in these ports of a switch; several are bonded. Parked.
    pub(crate) async fn node(&self, number: u8, leaf: usize, ports: &[&str]) -> Machine {
        let mut machine = self.cabled(number, leaf, ports).await;
        machine.nics = ports.iter().map(|port| self.plug(leaf, port)).collect();
        machine
    }

    /// The same with nothing at the far end of the cables yet.
    pub(crate) async fn cabled(&self, number: u8, leaf: usize, ports: &[&str]) -> Machine {
        let machine = Machine {
            name: format!("node{number} at {} of leaf{leaf}", ports.join("+")),
            station: Station::new(number),
            cables: ports
                .iter()
                .map(|port| (leaf, (*port).to_owned()))
                .collect(),
            nics: Vec::new(),
        };
        // Devices are added anew when their ports are bonded, and a stream would break.
        self.connect(&machine, PortRole::Parked, &[]).await;
        machine
    }

    fn plug(&self, leaf: usize, port: &str) -> Nic {
        let switch = &self.leaves[leaf - 1];
        let socket = wire(switch, port);
        let listen = format!("options:pstream=\"punix:{socket}\"");
        switch.vsctl(&["set", "interface", port, &listen]);
        loop {
            let before = self.counters(leaf - 1)[port];
            let mut nic = Nic::plug(leaf, port, socket.as_ref(), before);
            nic.send(&frames::greeting());
            switch.until(|| self.counters(leaf - 1)[port].taken == nic.sent);
            // LACP speaks up by itself, perhaps before we listened: then we do not know what we missed.
            if self.counters(leaf - 1)[port].let_out == before.let_out {
                return nic;
            }
        }
    }

    /// Brings the ports of `machine` where a node of this role and these networks has them, as the
    /// conductor would. Networks are VLANs, each native or tagged.
    pub(crate) async fn connect(
        &self,
        machine: &Machine,
        role: PortRole,
        networks: &[(u16, AttachmentMode)],
    ) {
        let attachments: Vec<_> = networks
            .iter()
            .map(|(vlan, mode)| machine.attachment(*vlan, *mode))
            .collect();
        for plan in plan(&machine.ports(), role, &attachments, &site()).unwrap() {
            let index = usize::from(plan.switch == "leaf2");
            let applied = self
                .driver(index)
                .apply(&plan.ports, OnFailure::RollBack, soon())
                .await;
            applied.unwrap();
        }
        self.has_changed.set(true);
    }

    pub(crate) fn driver(&self, index: usize) -> OvsdbSwitch {
        let address = OvsdbAddress::Unix(self.leaves[index].socket());
        OvsdbSwitch::new(format!("leaf{}", index + 1), address)
    }

    /// The switch, to be asked or told something by hand.
    pub(crate) fn leaf(&self, number: usize) -> &Vswitch {
        &self.leaves[number - 1]
    }

    /// Sends `frames` by the NIC `nic` of the machine `sender`, and waits until every one of them has gone
    /// wherever it goes.
    pub(crate) fn send(
        &self,
        machines: &mut [Machine],
        sender: usize,
        nic: usize,
        frames: &[Frame],
    ) {
        if self.has_changed.take() {
            self.controls.iter().for_each(Control::wait_for_datapath);
        }
        for burst in frames.chunks(BURST) {
            for frame in burst {
                machines[sender].nics[nic].send(&frame.bytes);
            }
            self.settle(machines);
        }
    }

    /// Waits until every frame that was sent has gone wherever it goes.
    pub(crate) fn settle(&self, machines: &mut [Machine]) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !self.is_quiet(machines) {
            assert!(Instant::now() < limit, "frames are still under way");
        }
    }

    fn is_quiet(&self, machines: &mut [Machine]) -> bool {
        let before = self.controls.each_ref().map(Control::counters);
        for nic in machines.iter_mut().flat_map(|machine| &mut machine.nics) {
            let counter = before[nic.leaf - 1][&nic.port];
            if counter.taken < nic.sent {
                return false;
            }
            nic.receive_until(counter.let_out);
        }
        let trunk = [before[0]["trunk"], before[1]["trunk"]];
        (0..2).all(|from| trunk[from].let_out - self.lost[from] == trunk[1 - from].taken)
    }
}

impl Machine {
    fn ports(&self) -> NodePorts {
        let group = (self.cables.len() > 1).then(|| "bond0".to_owned());
        let each = self.cables.iter().enumerate();
        let each = each.map(|(index, (leaf, port))| Port {
            mac: self.mac(index),
            cable: Some(Cable {
                switch: format!("leaf{leaf}"),
                port: port.clone(),
            }),
            group: group.clone(),
            boots: index == 0,
        });
        NodePorts {
            node: self.name.clone(),
            ports: each.collect(),
            groups: group
                .iter()
                .map(|name| PortGroup {
                    name: name.clone(),
                    mode: GroupMode::Lacp,
                })
                .collect(),
        }
    }

    fn mac(&self, index: usize) -> MacAddress {
        let mut bytes = self.station.mac;
        bytes[4] = u8::try_from(index).unwrap();
        MacAddress::new(bytes).unwrap()
    }

    fn attachment(&self, vlan: u16, mode: AttachmentMode) -> Attachment {
        Attachment {
            network: format!("net{vlan}"),
            carrier: if self.cables.len() > 1 {
                Carrier::Group("bond0".to_owned())
            } else {
                Carrier::Port(self.mac(0))
            },
            vlan,
            mode,
            mtu: 1500,
            segment: None,
        }
    }

    /// The numbers of the frames that any NIC of it has heard since it was last asked.
    pub(crate) fn heard(&mut self) -> Vec<Vec<u8>> {
        self.nics.iter_mut().flat_map(Nic::take_heard).collect()
    }
}

/// Asserts that `machine` has heard nothing of `frames`, which are numbered from 0 on.
pub(crate) fn assert_deaf(machine: &mut Machine, frames: &[Frame]) {
    let heard = machine.heard();
    let numbers = heard.iter().filter_map(|each| frames::number(each));
    let names = numbers.map(|number| frames[usize::try_from(number).unwrap()].name.as_str());
    let names: Vec<_> = names.collect();
    assert!(names.is_empty(), "{} heard {names:#?}", machine.name);
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn site() -> SiteModel {
    let model = SwitchModel {
        vlans: SiteVlans {
            parked: PARKED,
            provisioning: Some(PROVISIONING),
            standby: None,
            rescue: None,
        },
        largest_mtu: None,
        storm_limit: None,
    };
    let leaves = ["leaf1", "leaf2"].map(|name| (name.to_owned(), model));
    SiteModel {
        switches: leaves.into(),
    }
}

fn add_port(leaf: &Vswitch, port: &str, column: &str) {
    leaf.vsctl(&[
        "add-port",
        "br0",
        port,
        column,
        "--",
        "set",
        "interface",
        port,
        "type=dummy",
    ]);
}

/// The socket at which the device of `port` listens.
pub(crate) fn wire(leaf: &Vswitch, port: &str) -> String {
    let socket = leaf.socket().with_file_name(format!("{port}.wire"));
    socket.to_str().unwrap().to_owned()
}

/// Has a switch hear a broadcast from its port p1.
fn hear_from(leaf: &Vswitch) {
    let frame = frames::broadcast(Station::new(254), 0);
    let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    leaf.appctl(&["netdev-dummy/receive", "p1", &digits]);
}
