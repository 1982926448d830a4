//! Network namespaces: making, wiring, entering and removing them.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::command::{run, run_words};
use super::description::SwitchDescription;
use super::layout::{
    BMC_INTERFACE, CONTROL_BMC, CONTROL_PROVISIONING, CONTROL_PUBLIC, NAMESPACES, NS_CONTROL,
    NS_OTHER_TENANT, NS_REMOTE, NS_SECOND_SWITCH, NS_SWITCH, NS_TENANT, OTHER_TENANT_GATEWAY,
    OTHER_TENANT_INTERFACE, PROVISIONING_INTERFACE, PUBLIC_INTERFACE, REMOTE_GATEWAY,
    REMOTE_INTERFACE, REMOTE_PROVISIONING, REMOTE_PROVISIONING_ADDRESS, REMOTE_SUBNET,
    REMOTE_UPLINK, Shape, TENANT_GATEWAY, TENANT_INTERFACE, TENANT_PUBLIC, TENANT_PUBLIC_ADDRESS,
    TENANT_SUBNET, TRUNK_INTERFACE, TUNNEL_BRIDGE, TUNNEL_MTU, UNDERLAY_INTERFACE, bmc_address,
    switch_namespace, tunnel_address,
};
use crate::Error;

fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

fn exists(namespace: &str) -> bool {
    path(namespace).exists()
}

/// Those that so many racks need.
fn needed(racks: u16) -> &'static [&'static str] {
    let count = if racks > 1 { NAMESPACES.len() } else { 4 };
    &NAMESPACES[..count]
}

/// Whether all that so many racks need exist.
pub(super) fn all_exist(racks: u16) -> bool {
    needed(racks).iter().all(|namespace| exists(namespace))
}

/// The processes in a namespace, if it exists.
pub(super) async fn processes(namespace: &str) -> Result<Vec<i32>, Error> {
    if !exists(namespace) {
        return Ok(Vec::new());
    }
    let listed = run("ip", ["netns", "pids", namespace]).await?;
    Ok(listed
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

/// Removes those of our namespaces that exist, with all their interfaces.
pub(super) async fn remove_all() -> Result<(), Error> {
    for namespace in NAMESPACES {
        if exists(namespace) {
            run("ip", ["netns", "del", namespace]).await?;
        }
    }
    Ok(())
}

/// Makes the namespaces, the wires between them and a tap for each NIC.
pub(super) async fn create_all(shape: Shape) -> Result<(), Error> {
    for namespace in needed(shape.racks) {
        run("ip", ["netns", "add", namespace]).await?;
        run_words(&format!("ip -n {namespace} link set lo up")).await?;
    }
    wire(NS_CONTROL, NS_SWITCH, BMC_INTERFACE).await?;
    wire(NS_CONTROL, NS_SWITCH, PROVISIONING_INTERFACE).await?;
    wire(NS_CONTROL, NS_TENANT, PUBLIC_INTERFACE).await?;
    wire(NS_TENANT, NS_SWITCH, TENANT_INTERFACE).await?;
    wire(NS_REMOTE, NS_SWITCH, REMOTE_UPLINK).await?;
    wire(NS_REMOTE, NS_SWITCH, REMOTE_INTERFACE).await?;
    address(NS_CONTROL, BMC_INTERFACE, CONTROL_BMC).await?;
    address(NS_CONTROL, PROVISIONING_INTERFACE, CONTROL_PROVISIONING).await?;
    address(NS_CONTROL, PUBLIC_INTERFACE, CONTROL_PUBLIC).await?;
    address(NS_TENANT, PUBLIC_INTERFACE, TENANT_PUBLIC).await?;
    address(NS_TENANT, TENANT_INTERFACE, TENANT_GATEWAY).await?;
    address(NS_REMOTE, REMOTE_UPLINK, REMOTE_PROVISIONING).await?;
    address(NS_REMOTE, REMOTE_INTERFACE, REMOTE_GATEWAY).await?;
    run_words(&format!(
        "ip -n {NS_CONTROL} route add {REMOTE_SUBNET} via {REMOTE_PROVISIONING_ADDRESS} dev \
         {PROVISIONING_INTERFACE}"
    ))
    .await?;
    run_words(&format!(
        "ip -n {NS_CONTROL} route add {TENANT_SUBNET} via {TENANT_PUBLIC_ADDRESS} dev \
         {PUBLIC_INTERFACE}"
    ))
    .await?;
    if shape.racks > 1 {
        connect_racks().await?;
    }
    for number in 1..=shape.nodes {
        address(
            NS_SWITCH,
            BMC_INTERFACE,
            &format!("{}/24", bmc_address(number)),
        )
        .await?;
        let namespace = switch_namespace(shape.rack_of(number));
        for tap in shape.switch_ports(number) {
            run_words(&format!("ip -n {namespace} tuntap add {tap} mode tap")).await?;
            run_words(&format!("ip -n {namespace} link set {tap} up")).await?;
        }
    }
    // A new namespace may inherit the host's setting.
    for (namespace, forward) in [
        (NS_CONTROL, "0"),
        (NS_SWITCH, "0"),
        (NS_TENANT, "1"),
        (NS_REMOTE, "1"),
    ] {
        set_forwarding(namespace, forward).await?;
    }
    Ok(())
}

/// What a second rack brings along: the cables to the first one, and another tenant.
async fn connect_racks() -> Result<(), Error> {
    wire(NS_SWITCH, NS_SECOND_SWITCH, TRUNK_INTERFACE).await?;
    wire(NS_SWITCH, NS_SECOND_SWITCH, UNDERLAY_INTERFACE).await?;
    for namespace in [NS_SWITCH, NS_SECOND_SWITCH] {
        run_words(&format!(
            "ip -n {namespace} link set {UNDERLAY_INTERFACE} mtu {TUNNEL_MTU}"
        ))
        .await?;
    }
    wire(NS_OTHER_TENANT, NS_SWITCH, OTHER_TENANT_INTERFACE).await?;
    address(
        NS_OTHER_TENANT,
        OTHER_TENANT_INTERFACE,
        OTHER_TENANT_GATEWAY,
    )
    .await?;
    set_forwarding(NS_SECOND_SWITCH, "0").await?;
    set_forwarding(NS_OTHER_TENANT, "0").await
}

/// Gives the tunnels of a rack's switch, which has been started, their address.
pub(super) async fn set_tunnel_address(rack: u16) -> Result<(), Error> {
    let namespace = switch_namespace(rack);
    let ours = format!("{}/24", tunnel_address(rack));
    address(namespace, TUNNEL_BRIDGE, &ours).await?;
    run_words(&format!(
        "ip -n {namespace} link set {TUNNEL_BRIDGE} mtu {TUNNEL_MTU} up"
    ))
    .await?;
    Ok(())
}

/// A wire between two namespaces, with the same name at both ends.
async fn wire(left: &str, right: &str, interface: &str) -> Result<(), Error> {
    run_words(&format!(
        "ip -n {left} link add {interface} type veth peer name {interface} netns {right}"
    ))
    .await?;
    for namespace in [left, right] {
        // The userspace switch would pass on packets whose checksums nobody has filled in.
        run_words(&format!(
            "ip netns exec {namespace} ethtool -K {interface} tx off"
        ))
        .await?;
        run_words(&format!("ip -n {namespace} link set {interface} up")).await?;
    }
    Ok(())
}

async fn address(namespace: &str, interface: &str, address: &str) -> Result<(), Error> {
    run_words(&format!(
        "ip -n {namespace} addr add {address} dev {interface}"
    ))
    .await?;
    Ok(())
}

/// Has the tenant's router reach the conductor's public address, or not any more.
///
/// # Errors
/// When there is no rack.
pub async fn set_tenant_uplink(up: bool) -> Result<(), Error> {
    let state = if up { "up" } else { "down" };
    run_words(&format!(
        "ip -n {NS_TENANT} link set {PUBLIC_INTERFACE} {state}"
    ))
    .await?;
    Ok(())
}

/// Pulls the cable out of a switch's port, or puts it back.
///
/// # Errors
/// When there is no such port.
pub async fn set_link(switch: &SwitchDescription, port: &str, up: bool) -> Result<(), Error> {
    let state = if up { "up" } else { "down" };
    let namespace = &switch.namespace;
    run_words(&format!("ip -n {namespace} link set {port} {state}")).await?;
    Ok(())
}

async fn set_forwarding(namespace: &'static str, value: &'static str) -> Result<(), Error> {
    let file = Path::new("/proc/sys/net/ipv4/ip_forward");
    let write = move || std::fs::write(file, value).map_err(Error::file("write", file));
    run_in_namespace(namespace, async move || write()).await?
}

/// Runs `work` in a network namespace: on a thread of its own with a runtime of its own, because a
/// namespace belongs to a thread.
///
/// # Errors
/// When the namespace does not exist or cannot be entered.
pub async fn run_in_namespace<T, W, F>(namespace: &str, work: W) -> Result<T, Error>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = T>,
{
    let cannot_enter = |source| Error::EnterNamespace {
        namespace: namespace.to_owned(),
        source,
    };
    let file = File::open(path(namespace)).map_err(cannot_enter)?;
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let result = enter(&file).map(|runtime| runtime.block_on(work()));
        // The caller may have stopped waiting.
        let _ = sender.send(result);
    });
    let ended = |_| std::io::Error::other("the thread that entered it panicked");
    receiver
        .await
        .map_err(ended)
        .flatten()
        .map_err(cannot_enter)
}

fn enter(namespace: &File) -> std::io::Result<tokio::runtime::Runtime> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
