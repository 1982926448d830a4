//! Servers on VXLAN networks: two real Open vSwitches with a network between them, and frames that pass
//! from a port of the one to a port of the other.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bessemer_client::Error;
use bessemer_core::lifecycle::{Step, Timing};
use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_core::port_plan::AttachmentMode;
use bessemer_store::{Gate, GatePoint, When};
use bessemer_wire::api::{
    NetworkCreate, NetworkRequest, NetworkUpdate, NodePortCreate, ServerCreate, ServerRebuild,
    ServerStatus, SubnetCreate, SwitchUpdate,
};

use crate::harness::disk::ConfigDrive;
use crate::harness::trap::panics_at;
use crate::harness::{SimNode, Site, order, problem};
use crate::switches::vswitch::{EVERYBODY, Vswitch, frame};

/// A site with two switches, `leaf1` and `leaf2`, that reach each other.
struct Overlay {
    site: Site,
    one: Vswitch,
    two: Vswitch,
}

/// The VLANs of VXLAN networks on the switches.
const POOLS: [&str; 2] = ["3000-3009", "3500-3509"];

impl Overlay {
    /// With nothing on it yet; tunnels are read again every `port_check` seconds.
    async fn start(port_check: u32, gate: Option<Gate>) -> Self {
        let timing = Timing {
            retry_pause: 1,
            ..Timing::default()
        };
        let site = Site::start_as(timing, gate, |config| {
            config.port_check = port_check;
            config.provisioning.as_mut().unwrap().vlan = Some(10);
        })
        .await;
        let (one, two) = (Vswitch::with_tunnels(), Vswitch::with_tunnels());
        one.join(&two);
        let overlay = Self { site, one, two };
        for (name, pool, switch) in [
            ("leaf1", POOLS[0], &overlay.one),
            ("leaf2", POOLS[1], &overlay.two),
        ] {
            overlay.site.know_switch(name, &switch.socket()).await;
            let address = format!("10.50.0.{}", &name[4..]);
            let tunnels = SwitchUpdate {
                tunnel_address: Some(Some(address.parse::<IpAddr>().unwrap())),
                tunnel_vlans: Some(pool.parse().unwrap()),
                ..SwitchUpdate::default()
            };
            overlay.change(name, tunnels).await;
        }
        overlay
    }

    /// The same with the network `far` (VNI 5000), and the server `web1` on it at `p1` of `leaf1`.
    async fn with_server(port_check: u32, gate: Option<Gate>) -> (Self, SimNode) {
        let overlay = Self::start(port_check, gate).await;
        let node = overlay.node("leaf1", "p1").await;
        overlay.site.offer(&node).await;
        overlay.network("far", 5000, "10.9.0.0/24").await;
        overlay.deploy("web1", "far").await;
        (overlay, node)
    }

    async fn change(&self, switch: &str, update: SwitchUpdate) {
        self.site.api.update_switch(switch, &update).await.unwrap();
    }

    /// A node that is for rent, on this port.
    async fn node(&self, switch: &str, port: &str) -> SimNode {
        let node = self.site.machine().await;
        let mut request = node.request();
        request.ports = vec![NodePortCreate {
            switch: Some(switch.into()),
            switch_port: Some(port.into()),
            ..NodePortCreate::bare(request.ports[0].mac)
        }];
        self.site.api.create_node(&request).await.unwrap();
        self.site.wait_for_state(&node, "available").await;
        node
    }

    /// Makes a private VXLAN network.
    async fn network(&self, name: &str, vni: u32, cidr: &str) {
        let network = NetworkCreate {
            name: name.into(),
            kind: NetworkKind::Vxlan,
            scope: Some(NetworkScope::Private),
            project: None,
            vlan: None,
            vni: Some(vni),
            mtu: Some(1400),
            physical_network: None,
            subnets: vec![SubnetCreate {
                cidr: cidr.parse().unwrap(),
                gateway: None,
                dns: vec![],
                routes: vec![],
                pools: None,
            }],
        };
        self.site.api.create_network(&network).await.unwrap();
    }

    async fn deploy(&self, name: &str, network: &str) {
        let request = on(name, network);
        self.site.api.create_server(&request, name).await.unwrap();
        self.site.wait_for_active(name).await;
    }

    /// Orders a server on `far`, or gives it back. Asked again, it is the same order, or gone.
    async fn ask(&self, server: &str, coming: bool) -> Result<(), Error> {
        let api = &self.site.api;
        if coming {
            return api
                .create_server(&on(server, "far"), server)
                .await
                .map(drop);
        }
        match api.delete_server(server).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Waits until the two switches have tunnels of these networks, and of no others.
    async fn wait_for_tunnels(&self, vnis: &[u32]) {
        let expected: Vec<_> = vnis.iter().map(|vni| format!("x{vni:06x}0a3200")).collect();
        let has = |switch: &Vswitch, remote: &str| {
            let expected: Vec<_> = expected
                .iter()
                .map(|name| format!("{name}{remote}"))
                .collect();
            tunnels(switch) == expected
        };
        let what = format!("tunnels of {vnis:?} and no others");
        self.site
            .wait(&what, async || {
                (has(&self.one, "02") && has(&self.two, "01")).then_some(())
            })
            .await;
    }
}

fn on(name: &str, network: &str) -> ServerCreate {
    let mut request = order(name);
    request.networks = vec![NetworkRequest {
        network: network.into(),
        addresses: vec![],
        port: None,
        mode: None,
    }];
    request
}

fn tunnels(switch: &Vswitch) -> Vec<String> {
    let ports = switch.vsctl(&["list-ports", "br0"]);
    let tunnels = ports.lines().filter(|port| port.starts_with("x0"));
    tunnels.map(str::to_owned).collect()
}

/// The same frame, tagged with `vlan` (IEEE 802.1Q).
fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let [high, low] = vlan.to_be_bytes();
    [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
}

/// Sends `sent` into one port and waits until it leaves another as `expected`.
fn passes(from: (&Vswitch, &str), sent: &[u8], to: (&Vswitch, &str), expected: &[u8]) {
    from.0.receive(from.1, sent);
    to.0.until(|| to.0.sent(to.1).iter().any(|frame| frame == expected));
}

fn has_seen(switch: &Vswitch, port: &str, mark: u8) -> bool {
    let frames = switch.sent(port);
    frames.iter().any(|frame| frame.last() == Some(&mark))
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_a_vxlan_network_reach_each_other_across_switches_and_nobody_else_does() {
    let overlay = Overlay::start(300, None).await;
    let Overlay { site, one, two } = &overlay;
    let first = overlay.node("leaf1", "p1").await;
    site.offer(&first).await;
    overlay.network("far", 5000, "10.9.0.0/24").await;
    overlay.network("other", 6000, "10.8.0.0/24").await;
    let mut request = on("web1", "far");
    request.networks[0].mode = Some(AttachmentMode::Tagged);
    site.api.create_server(&request, "web1").await.unwrap();
    site.wait_for_active("web1").await;
    // Its system is told of the VLAN that the network has there.
    let document = ConfigDrive::read(first.disk()).network_data;
    assert_eq!(document["links"][1]["vlan_id"], 3000, "{document}");
    assert!(tunnels(one).is_empty(), "there is nowhere to go yet");
    let second = overlay.node("leaf2", "p1").await;
    overlay.deploy("web2", "far").await;
    let mut others = Vec::new();
    for (name, switch) in [("own1", "leaf1"), ("own2", "leaf2")] {
        others.push(overlay.node(switch, "p2").await);
        overlay.deploy(name, "other").await;
    }
    overlay.wait_for_tunnels(&[5000, 6000]).await;
    let tag = |switch: &Vswitch, port| {
        switch
            .vsctl(&["get", "port", port, "tag"])
            .trim()
            .to_owned()
    };
    assert_eq!(
        [tag(two, "p1"), tag(one, "p2"), tag(two, "p2")],
        ["3500", "3001", "3501"]
    );

    let cry = frame(EVERYBODY, 1, 0xa1);
    passes((one, "p1"), &tagged(&cry, 3000), (two, "p1"), &cry);
    let answer = frame([0x52, 0x54, 0, 0, 0, 1], 2, 0xa2);
    passes((two, "p1"), &answer, (one, "p1"), &tagged(&answer, 3000));
    // The other project's, also where somebody guesses its VLANs; it comes last, and shows that what
    // had not passed by then does not.
    for (switch, port, vlan) in [(one, "p1", 3001), (two, "p1", 3501), (two, "p1", 3500)] {
        switch.receive(port, &tagged(&frame(EVERYBODY, 1, 0xa3), vlan));
    }
    let own = frame(EVERYBODY, 3, 0xa4);
    passes((one, "p2"), &own, (two, "p2"), &own);
    let seen = [0xa1, 0xa2, 0xa3, 0xa4].map(|mark| {
        let ports = [(one, "p1"), (one, "p2"), (two, "p1"), (two, "p2")];
        ports.map(|(switch, port)| has_seen(switch, port, mark))
    });
    assert_eq!(
        seen,
        [
            [false, false, true, false],
            [true, false, false, false],
            [false; 4],
            [false, false, false, true],
        ]
    );

    // Written anew, it is where it was.
    let same = ServerRebuild::default();
    site.api
        .rebuild_server("web1", &same, "anew")
        .await
        .unwrap();
    site.wait_for_active("web1").await;
    let document = ConfigDrive::read(first.disk()).network_data;
    assert_eq!(document["links"][1]["vlan_id"], 3000, "{document}");
    let again = frame(EVERYBODY, 1, 0xa5);
    passes((one, "p1"), &tagged(&again, 3000), (two, "p1"), &again);

    // When the last server on a switch leaves, its tunnels go, and only those.
    site.release("web2", &second).await;
    overlay.wait_for_tunnels(&[6000]).await;
    let refused = problem(site.api.delete_network("far").await);
    assert!(refused.detail.contains("web1"));
    site.release("web1", &first).await;
    site.wait("the network to have left its switches", async || {
        site.api.delete_network("far").await.ok()
    })
    .await;
    let last = frame(EVERYBODY, 3, 0xa6);
    passes((one, "p2"), &last, (two, "p2"), &last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_somebody_takes_away_is_put_back_and_told() {
    let (overlay, _first) = Overlay::with_server(1, None).await;
    let _second = overlay.node("leaf2", "p1").await;
    overlay.deploy("web2", "far").await;
    overlay.wait_for_tunnels(&[5000]).await;
    let Overlay { site, one, two } = &overlay;
    let tunnel = tunnels(one).remove(0);
    one.vsctl(&["del-port", "br0", &tunnel]);
    let told = site
        .wait("the drift to be told", async || {
            let mut events = site.events().await.into_iter();
            events.find(|event| event.kind == "switch.tunnels_drifted")
        })
        .await;
    assert_eq!(
        told.message,
        "switch leaf1: no tunnel of VNI 5000 (VLAN 3000) to 10.50.0.2; put back and read back"
    );
    assert_eq!(told.data["before"], serde_json::json!([]));
    assert_eq!(told.data["after"][0]["vni"], 5000);
    overlay.wait_for_tunnels(&[5000]).await;
    let cry = frame(EVERYBODY, 1, 0xb1);
    passes((one, "p1"), &cry, (two, "p1"), &cry);
    let drifts = site.events().await.into_iter();
    let drifts = drifts.filter(|event| event.kind == "switch.tunnels_drifted");
    assert_eq!(drifts.count(), 1, "none that was wanted is taken for one");
}

/// A switch may come back with what it had saved, when the VLAN of a tunnel is another network's by now.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_into_a_vlan_that_a_forgotten_tunnel_leads_into() {
    let (mut overlay, _first) = Overlay::with_server(300, None).await;
    let second = overlay.node("leaf2", "p1").await;
    overlay.deploy("web2", "far").await;
    let _third = overlay.node("leaf1", "p2").await;
    overlay.network("other", 6000, "10.8.0.0/24").await;
    overlay.deploy("own1", "other").await;
    overlay.wait_for_tunnels(&[5000]).await;
    let old = tunnels(&overlay.two).remove(0);
    overlay.site.release("web2", &second).await;
    overlay.wait_for_tunnels(&[]).await;
    let again = format!(
        "add-port br0 {old} tag=3500 external_ids:bessemer-tunnel=yes -- \
         set interface {old} type=vxlan options:key=5000 options:remote_ip=10.50.0.1"
    );
    let again: Vec<_> = again.split_whitespace().collect();
    overlay.two.vsctl(&again);

    // The hand-over waits for the tunnels of both switches: the one that is away shows what comes first.
    overlay.one.stop_database();
    let request = on("own2", "other");
    let api = &overlay.site.api;
    api.create_server(&request, "own2").await.unwrap();
    let Overlay { site, two, .. } = &overlay;
    site.wait("the forgotten tunnel to go", async || {
        (!tunnels(two).contains(&old)).then_some(())
    })
    .await;
    let tag = || two.vsctl(&["get", "port", "p1", "tag"]).trim().to_owned();
    assert_ne!(tag(), "3500", "the port comes last");
    overlay.one.start_database();
    overlay.site.wait_for_active("own2").await;
    overlay.wait_for_tunnels(&[6000]).await;
    let tag = overlay.two.vsctl(&["get", "port", "p1", "tag"]);
    assert_eq!(tag.trim(), "3500", "it is the VLAN that the other one had");
}

/// What looks at tunnels in turn is started again, and finds what it would have found.
#[tokio::test(flavor = "multi_thread")]
async fn the_watch_over_tunnels_goes_on_after_a_panic() {
    let broken = Arc::new(AtomicBool::new(false));
    let gate = panics_at("claim_tunnels", &broken);
    let (overlay, _first) = Overlay::with_server(1, Some(gate)).await;
    let _second = overlay.node("leaf2", "p1").await;
    overlay.deploy("web2", "far").await;
    overlay.wait_for_tunnels(&[5000]).await;
    broken.store(true, Ordering::SeqCst);
    overlay.site.wait_for_down("the watch over tunnels").await;
    let tunnel = tunnels(&overlay.one).remove(0);
    overlay.one.vsctl(&["del-port", "br0", &tunnel]);
    broken.store(false, Ordering::SeqCst);
    overlay.wait_for_tunnels(&[5000]).await;
    overlay.site.wait_for_none_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_waits_for_the_tunnels_of_every_switch_of_its_network() {
    let (mut overlay, _first) = Overlay::with_server(300, None).await;
    let second = overlay.node("leaf2", "p1").await;
    overlay.one.stop_database();
    let request = on("web2", "far");
    overlay
        .site
        .api
        .create_server(&request, "web2")
        .await
        .unwrap();
    let Overlay { site, two, .. } = &overlay;
    let waiting = site
        .wait_for_node(&second, "the hand-over to wait for leaf1", |node| {
            let reason = node.state.reason.to_string();
            node.state.step == Step::ConnectTenant && reason.contains("leaf1 cannot be reached")
        })
        .await;
    assert!(waiting.state.reason.next.is_some());
    let server = site.api.server("web2").await.unwrap();
    assert_ne!(server.status, ServerStatus::Active);
    let tag = two.vsctl(&["get", "port", "p1", "tag"]);
    assert_ne!(tag.trim(), "3500", "the port waits for the tunnels");
    overlay.one.start_database();
    overlay.site.wait_for_active("web2").await;
    overlay.wait_for_tunnels(&[5000]).await;

    // A switch that is away keeps no server from leaving; its tunnels go when it is back.
    overlay.one.stop_database();
    overlay.site.release("web2", &second).await;
    overlay.one.start_database();
    overlay.wait_for_tunnels(&[]).await;
}

/// A gate at which the server dies when it comes to the point that was said last.
fn deadly(point: &Arc<Mutex<Option<GatePoint>>>) -> Gate {
    let (point, dead) = (point.clone(), AtomicBool::new(false));
    Arc::new(move |here| {
        if dead.load(Ordering::SeqCst) {
            return false;
        }
        let mut point = point.lock().unwrap();
        if *point == Some(here) {
            *point = None;
            dead.store(true, Ordering::SeqCst);
            return false;
        }
        true
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_dies_between_two_steps_of_a_tunnel_leaves_nothing_undone() {
    let armed = Arc::new(Mutex::new(None));
    let (mut overlay, _first) = Overlay::with_server(300, Some(deadly(&armed))).await;
    let second = overlay.node("leaf2", "p1").await;
    let points = [
        ("claim_tunnels", When::After),
        ("tunnels_set", When::Before),
        ("tunnels_set", When::After),
    ];
    for (index, (name, when)) in points.into_iter().enumerate() {
        let point = GatePoint { name, when };
        let server = format!("next{index}");
        for coming in [true, false] {
            *armed.lock().unwrap() = Some(point);
            // Tunnels that still go for the order before may be what it dies of, so that it does
            // not answer. Whoever asked then asks again.
            let _ = overlay.ask(&server, coming).await;
            let dead = async || armed.lock().unwrap().is_none().then_some(());
            overlay.site.wait("the server to die", dead).await;
            overlay.site.kill().await;
            overlay.site.start_again(Some(deadly(&armed))).await;
            overlay.ask(&server, coming).await.unwrap();
            if coming {
                overlay.site.wait_for_active(&server).await;
                overlay.wait_for_tunnels(&[5000]).await;
                let mark = 0xc0 + u8::try_from(index).unwrap();
                let cry = frame(EVERYBODY, 1, mark);
                passes((&overlay.one, "p1"), &cry, (&overlay.two, "p1"), &cry);
            } else {
                overlay.site.wait_for_state(&second, "available").await;
                overlay.wait_for_tunnels(&[]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_a_switch_cannot_carry_is_refused_by_name() {
    let overlay = Overlay::start(300, None).await;
    let node = overlay.node("leaf1", "p1").await;
    let site = &overlay.site;
    site.offer(&node).await;
    overlay.network("far", 5000, "10.9.0.0/24").await;
    let refused = async || {
        let refused = problem(site.api.create_server(&on("web", "far"), "web").await);
        refused.detail
    };
    let without = SwitchUpdate {
        tunnel_address: Some(None),
        ..SwitchUpdate::default()
    };
    overlay.change("leaf1", without).await;
    let told = refused().await;
    assert!(
        told.contains("switch `leaf1` has no tunnel address"),
        "{told}"
    );
    let narrow = SwitchUpdate {
        tunnel_address: Some(Some("10.50.0.1".parse().unwrap())),
        largest_mtu: Some(Some(1440)),
        ..SwitchUpdate::default()
    };
    overlay.change("leaf1", narrow).await;
    let told = refused().await;
    assert!(
        told.contains("`far`: packets of 1400 bytes are 50 longer in a tunnel, and switch `leaf1`"),
        "{told}"
    );
    let wide = SwitchUpdate {
        largest_mtu: Some(Some(1450)),
        tunnel_vlans: Some("3000".parse().unwrap()),
        ..SwitchUpdate::default()
    };
    overlay.change("leaf1", wide).await;
    overlay.network("near", 5001, "10.7.0.0/24").await;
    let both = {
        let mut both = on("both", "far");
        both.networks.extend(on("", "near").networks);
        both
    };
    let told = problem(site.api.create_server(&both, "both").await).detail;
    assert!(
        told.contains("tunnel_vlans (3000) of switch `leaf1` has no free VLAN left"),
        "{told}"
    );
    // Nothing of a refused order stays.
    overlay.deploy("web", "far").await;
    let longer = NetworkUpdate {
        mtu: Some(1401),
        ..NetworkUpdate::default()
    };
    let told = problem(site.api.update_network("far", &longer).await).detail;
    assert!(
        told.contains(
            "Server `web` could not follow: network `far`: packets of 1401 bytes are 50 longer"
        ),
        "{told}"
    );
}
