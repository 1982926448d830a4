//! The thousand machines that calls are measured with, and how the conductor is kept from working
//! on them meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bessemer_core::hardware::{
    Cpu, Disk, FirmwareMode, Inventory, LldpNeighbor, MachineIdentity, Nic, Transport,
};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::Standby;
use bessemer_core::net::MacAddress;
use bessemer_store::{Store, StoreOptions};
use bessemer_wire::api::{BmcCreate, BmcTrust, Node, NodeCreate, NodePortCreate};
use bytes::Bytes;
use hyper::Method;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::connection::Connection;
use crate::process::Folder;

/// How many nodes there are.
pub(crate) const NODES: u16 = 1000;

/// How many nodes the conductor works on at a time.
const CONDUCTOR_PLACES: u8 = 64;

/// A closed port: nobody listens on TCPMUX (RFC 1078) any more.
const CLOSED: u16 = 1;

/// The longest wait for the conductor to call every silent management controller.
const PATIENCE: Duration = Duration::from_secs(20);

/// The request that registers node number `number`.
pub(crate) fn request(number: u16) -> anyhow::Result<Bytes> {
    let [high, low] = number.to_be_bytes();
    let bmc = SocketAddr::from((Ipv4Addr::new(127, 2, high, low), CLOSED));
    node(format!("node-{number}"), bmc, [2, 0, high, low])
}

/// The same for one of those that come and go.
pub(crate) fn passing(number: u16) -> anyhow::Result<(String, Bytes)> {
    let [high, low] = number.to_be_bytes();
    let bmc = SocketAddr::from((Ipv4Addr::new(127, 4, high, low), CLOSED));
    let name = format!("passing-{number}");
    Ok((name.clone(), node(name, bmc, [2, 2, high, low])?))
}

fn node(name: String, bmc: SocketAddr, mac: [u8; 4]) -> anyhow::Result<Bytes> {
    let [a, b, c, d] = mac;
    let port = |index| -> anyhow::Result<NodePortCreate> {
        let mac = MacAddress::new([a, b, c, d, 0, index])?;
        Ok(NodePortCreate::bare(mac))
    };
    let node = NodeCreate {
        standby: Standby::ByFlavor,
        name,
        rack: None,
        bmc: BmcCreate {
            url: format!("http://{bmc}"),
            username: "bessemer".into(),
            password: "not-a-secret".into(),
            trust: BmcTrust::Insecure,
            ipmi_key: None,
        },
        ports: vec![port(0)?, port(1)?],
        port_groups: Vec::new(),
        boot_method: None,
        root_disk_hint: None,
    };
    Ok(serde_json::to_vec(&node)?.into())
}

/// The id of the node that an answer shows.
pub(crate) fn id(answer: &[u8]) -> anyhow::Result<NodeId> {
    let node: Node = serde_json::from_slice(answer).context("the answer is not a node")?;
    Ok(node.id)
}

/// Nodes whose management controllers take calls and never answer. Each holds one of the
/// conductor's places, so while this value lives the conductor works on nothing else.
pub(crate) struct SilentNodes {
    ids: Vec<NodeId>,
    _calls: Vec<(TcpListener, TcpStream)>,
}

impl SilentNodes {
    /// Registers them, and waits until the conductor is stuck in every one.
    pub(crate) async fn register(api: &mut Connection) -> anyhow::Result<Self> {
        let (mut ids, mut listeners) = (Vec::new(), Vec::new());
        for number in 0..CONDUCTOR_PLACES {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 3, 0, number), 0)).await?;
            let name = format!("silent-{number}");
            let request = node(name, listener.local_addr()?, [2, 1, 0, number])?;
            ids.push(id(&api.call(Method::POST, "/v1/nodes", request).await?)?);
            listeners.push(listener);
        }
        let mut calls = Vec::new();
        for listener in listeners {
            let call = timeout(PATIENCE, listener.accept()).await;
            let (call, _) = call.context("the conductor has not called every node")??;
            calls.push((listener, call));
        }
        Ok(Self { ids, _calls: calls })
    }

    /// Their ids; the conductor is free again.
    pub(crate) fn hang_up(self) -> Vec<NodeId> {
        self.ids
    }
}

/// Writes down what each node is made of, as its inspection would. The server must be stopped.
pub(crate) async fn write_inventories(folder: &Folder, nodes: &[NodeId]) -> anyhow::Result<()> {
    let store = Store::open(&folder.database(), StoreOptions::default()).await?;
    for (number, node) in (0..).zip(nodes) {
        let inventory = inventory(number)?;
        store.set_identity(*node, &inventory.identity).await?;
        store.set_inventory(*node, &inventory).await?;
    }
    store.close().await;
    Ok(())
}

/// A common two-socket server: six disks, four cabled NICs; 2.2 kB of JSON.
pub(crate) fn inventory(number: u16) -> anyhow::Result<Inventory> {
    let nics: Result<_, _> = (0..4).map(|index| nic(number, index)).collect();
    Ok(Inventory {
        identity: MachineIdentity {
            serial: format!("BENCH{number:04}"),
            uuid: Some(Uuid::from_u128(number.into())),
        },
        manufacturer: "Example Inc.".into(),
        product: "PowerEdge R750".into(),
        firmware_version: "1.13.2".into(),
        firmware_mode: FirmwareMode::Uefi,
        cpu: Cpu {
            model: "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz".into(),
            architecture: "x86_64".into(),
            sockets: 2,
            cores: 64,
            threads: 128,
        },
        memory_mib: 515_000,
        disks: (0..6).map(|index| disk(number, index)).collect(),
        nics: nics?,
    })
}

fn disk(number: u16, index: u8) -> Disk {
    Disk {
        name: format!("nvme{index}n1"),
        size_bytes: 3_840_755_982_336,
        model: "SAMSUNG MZQL23T8HCLS-00A07".into(),
        serial: format!("S64HNE0R{number:04}{index}"),
        wwn: Some(format!("eui.36344830{number:04x}{index:04x}002538450000")),
        rotational: false,
        transport: Transport::Nvme,
    }
}

fn nic(number: u16, index: u8) -> anyhow::Result<Nic> {
    let [high, low] = number.to_be_bytes();
    Ok(Nic {
        name: format!("ens{index}f0np0"),
        mac: MacAddress::new([2, 0, high, low, 0, index])?,
        link: true,
        speed_mbps: Some(25_000),
        driver: "mlx5_core".into(),
        lldp: Some(LldpNeighbor {
            chassis: "02:00:5e:10:00:01".into(),
            port: format!("swp{}", index + 1),
            system_name: Some(format!("leaf-{index}")),
        }),
    })
}
