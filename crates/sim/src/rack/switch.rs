//! Open vSwitch with its userspace datapath, started by hand.
//!
//! Nothing here touches an Open vSwitch that the host may run itself: database, sockets and pid
//! files are in the rack's folder and the kernel datapath is never asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::Value;

use super::command::run;
use super::directory::StateDirectory;
use super::layout::{
    BRIDGE, NS_SWITCH, PROVISIONING_INTERFACE, REMOTE_INTERFACE, REMOTE_UPLINK, TENANT_INTERFACE,
    VLAN_PARKED, VLAN_PROVISIONING, VLAN_REMOTE, VLAN_TENANT, switch_port,
};
use crate::Error;

/// The database schema in Debian's package.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Seconds `ovs-vsctl` waits for the switch to carry out a change.
const SETTLE_SECONDS: u32 = 10;

/// Starts the switch and plugs in every wire: access ports, the nodes' parked.
pub(super) async fn start(directory: &StateDirectory, nodes: u16) -> Result<(), Error> {
    let folder = directory.ovs();
    let database = folder.join("conf.db");
    run(
        "ovsdb-tool",
        ["create".as_ref(), database.as_os_str(), SCHEMA.as_ref()],
    )
    .await?;
    let mut database_server = program(directory, "ovsdb-server", "ovsdb");
    database_server.push(database.into());
    database_server.push(joined("--remote=punix:", directory.ovsdb_socket()));
    run("ip", database_server).await?;
    vsctl(directory, ["--no-wait", "init"]).await?;
    let mut switch = program(directory, "ovs-vswitchd", "vswitchd");
    switch.push(joined("unix:", directory.ovsdb_socket()));
    switch.push("--disable-system".into());
    run("ip", switch).await?;
    vsctl(directory, bridge(nodes)).await?;
    Ok(())
}

/// The arguments of `ip` that start a daemon of Open vSwitch in the switch's namespace.
fn program(directory: &StateDirectory, program: &str, name: &str) -> Vec<OsString> {
    let folder = directory.ovs();
    let mut line: Vec<OsString> = ["netns", "exec", NS_SWITCH, "env"]
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
    line.push(joined(
        "--log-file=",
        directory.logs().join(format!("{name}.log")),
    ));
    line.extend(["-vconsole:off", "-vsyslog:off"].map(OsString::from));
    line
}

fn joined(prefix: &str, path: impl Into<OsString>) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(path.into());
    word
}

/// One transaction that makes the bridge with all its ports.
fn bridge(nodes: u16) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut command = |line: &str| {
        words.push("--".to_owned());
        words.extend(line.split_whitespace().map(str::to_owned));
    };
    command(&format!("add-br {BRIDGE}"));
    command(&format!("set bridge {BRIDGE} datapath_type=netdev"));
    let fixed = [
        (PROVISIONING_INTERFACE.to_owned(), VLAN_PROVISIONING),
        (TENANT_INTERFACE.to_owned(), VLAN_TENANT),
        (REMOTE_UPLINK.to_owned(), VLAN_PROVISIONING),
        (REMOTE_INTERFACE.to_owned(), VLAN_REMOTE),
    ];
    let parked = (1..=nodes).map(|number| (switch_port(number), VLAN_PARKED));
    for (port, vlan) in fixed.into_iter().chain(parked) {
        command(&format!(
            "add-port {BRIDGE} {port} tag={vlan} vlan_mode=access"
        ));
    }
    words
}

async fn vsctl<S: Into<OsString>>(
    directory: &StateDirectory,
    words: impl IntoIterator<Item = S>,
) -> Result<String, Error> {
    let mut line = vec![
        joined("--db=unix:", directory.ovsdb_socket()),
        format!("--timeout={SETTLE_SECONDS}").into(),
    ];
    line.extend(words.into_iter().map(Into::into));
    run("ovs-vsctl", line).await
}

/// Moves a port to an access VLAN by hand, as somebody at the switch would.
///
/// # Errors
/// When the switch does not answer or has no such port.
pub async fn move_port(directory: &StateDirectory, port: &str, vlan: u16) -> Result<(), Error> {
    let change = ["set", "port", port, &format!("tag={vlan}")].map(str::to_owned);
    vsctl(directory, change).await.map(drop)
}

/// Whether database and switch both answer and the switch has a port of each of these names.
pub(super) async fn works(directory: &StateDirectory, ports: &[&str]) -> bool {
    let control = directory.ovs().join("vswitchd.ctl");
    // The database answers by itself, so the switch has to be asked as well.
    let switch = run(
        "ovs-appctl",
        ["-t".as_ref(), control.as_os_str(), "version".as_ref()],
    )
    .await;
    let vlans = vlans(directory).await;
    switch.is_ok() && vlans.is_ok_and(|vlans| ports.iter().all(|port| vlans.contains_key(*port)))
}

/// The access VLAN of every port that has one.
///
/// # Errors
/// When the switch does not answer.
pub(super) async fn vlans(directory: &StateDirectory) -> Result<BTreeMap<String, u16>, Error> {
    let table = vsctl(
        directory,
        ["--format=json", "--columns=name,tag", "list", "Port"],
    )
    .await?;
    let table: Value = serde_json::from_str(&table).map_err(|source| Error::Damaged {
        path: directory.ovsdb_socket(),
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
