//! Open vSwitch with its userspace datapath, started by hand.
//!
//! Nothing here touches an Open vSwitch that the host may run itself: database, sockets and pid
//! files are in the rack's folder and the kernel datapath is never asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::command::run;
use super::description::SwitchDescription;
use super::directory::StateDirectory;
use super::layout::{
    BRIDGE, OTHER_TENANT_INTERFACE, PROVISIONING_INTERFACE, REMOTE_INTERFACE, REMOTE_UPLINK, Shape,
    TENANT_INTERFACE, TRUNK_INTERFACE, TUNNEL_BRIDGE, UNDERLAY_INTERFACE, VLAN_OTHER_TENANT,
    VLAN_PARKED, VLAN_PROVISIONING, VLAN_REMOTE, VLAN_TENANT, VLANS_OF_TENANTS, switch_namespace,
};
use crate::Error;

/// The database schema in Debian's package.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Seconds `ovs-vsctl` waits for the switch to carry out a change.
const SETTLE_SECONDS: u32 = 10;

/// Starts the switch of a rack and plugs in every wire: access ports, the nodes' parked, and a trunk.
pub(super) async fn start(
    directory: &StateDirectory,
    shape: Shape,
    rack: u16,
) -> Result<(), Error> {
    let folder = directory.ovs(rack);
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    let database = folder.join("conf.db");
    run(
        "ovsdb-tool",
        ["create".as_ref(), database.as_os_str(), SCHEMA.as_ref()],
    )
    .await?;
    let socket = directory.ovsdb_socket(rack);
    let mut database_server = program(directory, rack, "ovsdb-server", "ovsdb");
    database_server.push(database.into());
    database_server.push(joined("--remote=punix:", &socket));
    run("ip", database_server).await?;
    vsctl(&socket, ["--no-wait", "init"]).await?;
    let mut switch = program(directory, rack, "ovs-vswitchd", "vswitchd");
    switch.push(joined("unix:", &socket));
    switch.push("--disable-system".into());
    run("ip", switch).await?;
    vsctl(&socket, bridge(shape, rack)).await?;
    Ok(())
}

/// The arguments of `ip` that start a daemon of Open vSwitch in the switch's namespace.
fn program(directory: &StateDirectory, rack: u16, program: &str, name: &str) -> Vec<OsString> {
    let folder = directory.ovs(rack);
    let mut line: Vec<OsString> = ["netns", "exec", switch_namespace(rack), "env"]
        .into_iter()
        .map(OsString::from)
        .collect();
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        line.push(joined(&format!("{variable}="), folder.clone()));
    }
    line.push(program.into());
    line.extend(["--detach", "--no-chdir"].map(OsString::from));
    line.push(joined("--pidfile=", folder.join(format!("{name}.pid"))));
    line.push(joined("--unixctl=", folder.join(format!("{name}.ctl"))));
    let log = match rack {
        1 => format!("{name}.log"),
        _ => format!("{name}{rack}.log"),
    };
    line.push(joined("--log-file=", directory.logs().join(log)));
    line.extend(["-vconsole:off", "-vsyslog:off"].map(OsString::from));
    line
}

fn joined(prefix: &str, path: impl Into<OsString>) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(path.into());
    word
}

/// One transaction that makes the bridge with all its ports.
fn bridge(shape: Shape, rack: u16) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut command = |line: &str| {
        words.push("--".to_owned());
        words.extend(line.split_whitespace().map(str::to_owned));
    };
    command(&format!("add-br {BRIDGE}"));
    command(&format!("set bridge {BRIDGE} datapath_type=netdev"));
    let mut fixed = Vec::new();
    if rack == 1 {
        fixed.extend([
            (PROVISIONING_INTERFACE.to_owned(), VLAN_PROVISIONING),
            (TENANT_INTERFACE.to_owned(), VLAN_TENANT),
            (REMOTE_UPLINK.to_owned(), VLAN_PROVISIONING),
            (REMOTE_INTERFACE.to_owned(), VLAN_REMOTE),
        ]);
    }
    if rack == 1 && shape.racks > 1 {
        fixed.push((OTHER_TENANT_INTERFACE.to_owned(), VLAN_OTHER_TENANT));
    }
    let nodes = shape.nodes_of(rack);
    let parked = nodes.flat_map(|number| shape.switch_ports(number));
    let parked = parked.map(|port| (port, VLAN_PARKED));
    for (port, vlan) in fixed.into_iter().chain(parked) {
        command(&format!(
            "add-port {BRIDGE} {port} tag={vlan} vlan_mode=access"
        ));
    }
    if shape.racks > 1 {
        for line in cables(rack) {
            command(&line);
        }
    }
    words
}

/// The ports that lead to the other rack. The trunk's end near the conductor is protected, which keeps
/// idle machines of the two racks apart; the other one is not, so that they reach the conductor.
fn cables(rack: u16) -> [String; 4] {
    let tenants = VLANS_OF_TENANTS.map(|vlan| vlan.to_string()).join(",");
    let protected = rack == 1;
    [
        format!(
            "add-port {BRIDGE} {TRUNK_INTERFACE} vlan_mode=trunk \
             trunks={VLAN_PROVISIONING},{tenants} protected={protected}"
        ),
        format!("add-br {TUNNEL_BRIDGE}"),
        format!("set bridge {TUNNEL_BRIDGE} datapath_type=netdev"),
        format!("add-port {TUNNEL_BRIDGE} {UNDERLAY_INTERFACE}"),
    ]
}

async fn vsctl<S: Into<OsString>>(
    socket: &Path,
    words: impl IntoIterator<Item = S>,
) -> Result<String, Error> {
    let mut line = vec![
        joined("--db=unix:", socket),
        format!("--timeout={SETTLE_SECONDS}").into(),
    ];
    line.extend(words.into_iter().map(Into::into));
    run("ovs-vsctl", line).await
}

/// Moves a port to an access VLAN by hand, as somebody at the switch would.
///
/// # Errors
/// When the switch does not answer or has no such port.
pub async fn move_port(switch: &SwitchDescription, port: &str, vlan: u16) -> Result<(), Error> {
    let change = ["set", "port", port, &format!("tag={vlan}")].map(str::to_owned);
    vsctl(&switch.ovsdb_socket, change).await.map(drop)
}

/// What the switch itself says of something, such as `["lacp/show"]`.
///
/// # Errors
/// When it does not answer, or knows nothing of it.
pub async fn ask_switch(switch: &SwitchDescription, question: &[&str]) -> Result<String, Error> {
    let control = switch.ovsdb_socket.with_file_name("vswitchd.ctl");
    let mut line = vec![OsString::from("-t"), control.into()];
    line.extend(question.iter().map(OsString::from));
    run("ovs-appctl", line).await
}

/// Whether database and switch both answer and the switch has a port of each of these names.
pub(super) async fn works(switch: &SwitchDescription, ports: &[&str]) -> bool {
    // The database answers by itself, so the switch has to be asked as well.
    let answers = ask_switch(switch, &["version"]).await.is_ok();
    // Bonded ports are interfaces of one port.
    let interfaces = ["--bare", "--columns=name", "list", "Interface"];
    let interfaces = vsctl(&switch.ovsdb_socket, interfaces).await;
    let has = |known: &str| {
        ports
            .iter()
            .all(|port| known.lines().any(|line| line == *port))
    };
    answers && interfaces.is_ok_and(|known| has(&known))
}

/// The access VLAN of every port that has one.
///
/// # Errors
/// When the switch does not answer.
pub(super) async fn vlans(switch: &SwitchDescription) -> Result<BTreeMap<String, u16>, Error> {
    let table = vsctl(
        &switch.ovsdb_socket,
        ["--format=json", "--columns=name,tag", "list", "Port"],
    )
    .await?;
    let table: Value = serde_json::from_str(&table).map_err(|source| Error::Damaged {
        path: switch.ovsdb_socket.clone(),
        source,
    })?;
    let rows = table["data"].as_array().into_iter().flatten();
    Ok(rows
        .filter_map(|row| {
            let vlan = u16::try_from(row[1].as_u64()?).ok()?;
            Some((row[0].as_str()?.to_owned(), vlan))
        })
        .collect())
}
