//! How the ports of nodes are wired: where their cables lead, and which of them are bonded.
//!
//! How often a node has been wired is counted: whoever has looked at it, to order it or to wire it,
//! finds out when somebody else was faster.

use bessemer_core::Timestamp;
use bessemer_core::id::ServerId;
use bessemer_core::lifecycle::{Phase, PortRole};
use bessemer_wire::api::NodePort;

use crate::Error;
use crate::database::Row;
use crate::events::append;
use crate::nodes::about_node;
use crate::records::{NewWiring, NodeRecord};
use crate::store::Store;
use crate::switch_ports::check_cables;
use crate::value::{json, name, values};

impl Store {
    /// Wires a node anew, and has the conductor bring its switch ports to what that means for them.
    /// `seen` is the node as it was when that was decided; `by` names who wants it, and `what` is the
    /// rest of the sentence that the event says.
    ///
    /// [`Error::Conflict`], saying what to do, while the node has a server, whose networks its ports
    /// carry; while it is not at rest, or is being worked on; while the switch port that a cable is to
    /// leave is not parked; if somebody else was faster; or if a cable leads to no switch, or to where
    /// another node's does.
    pub async fn wire_node(
        &self,
        seen: &NodeRecord,
        wiring: &NewWiring,
        what: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        // Before the node is read, so that nobody can claim it or order it meanwhile.
        const LOCK: &str = "UPDATE node SET wirings = wirings + 1, news = news + 1 WHERE id = $1
            RETURNING phase, at_rest, server, lease_until, wirings, port_role";
        const CHANGE: &str = "UPDATE node SET ports = $2, port_groups = $3, port_control = $4,
            ports_suspect = CASE WHEN port_role IS NULL THEN 0 ELSE 1 END,
            due_at = CASE WHEN due_at < $5 THEN due_at ELSE $5 END WHERE id = $1";
        let mut write = self.write("wire_node").await?;
        check_cables(&mut write, Some(seen.id), &wiring.ports).await?;
        let row = write.row(LOCK, values![seen.id]).await?;
        let row = row.ok_or_else(|| Error::not_found("node", seen.id))?;
        may_be_wired(&row, seen, now)?;
        may_be_left(&row, seen, wiring)?;
        let values = values![
            seen.id,
            json("ports", &wiring.ports)?,
            json("port_groups", &wiring.port_groups)?,
            name("port_control", &wiring.port_control)?,
            now
        ];
        write.execute(CHANGE, values).await?;
        let message = format!("{what} of node `{}`, says `{by}`", seen.name);
        let event = about_node("node.wired", seen.id, message);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }
}

fn may_be_wired(row: &Row, seen: &NodeRecord, now: Timestamp) -> Result<(), Error> {
    let node = &seen.name;
    if let Some(server) = row.optional_parsed::<ServerId>("server")? {
        return Err(Error::not_now(format!(
            "node `{node}` has server {server}, whose networks its ports carry: delete the server first"
        )));
    }
    let phase: Phase = row.name("phase")?;
    let out_of_use = matches!(phase, Phase::Failed | Phase::Held | Phase::Retired);
    if row.integer("at_rest")? == 0 && !out_of_use {
        return Err(Error::not_now(format!(
            "node `{node}` is {}: wait until it is at rest, or hold it",
            phase.name()
        )));
    }
    if row.time("lease_until")? >= now {
        return Err(Error::not_now(format!(
            "node `{node}` is being worked on at this moment: try again in a few seconds"
        )));
    }
    if row.integer("wirings")? != seen.wirings + 1 {
        return Err(Error::not_now(format!(
            "the ports of node `{node}` were changed by somebody else a moment ago: look at them, and \
             try again"
        )));
    }
    Ok(())
}

/// A switch port that a cable leaves is nobody's from then on: it must carry nothing.
fn may_be_left(row: &Row, seen: &NodeRecord, wiring: &NewWiring) -> Result<(), Error> {
    let cable = |port: &NodePort| port.switch.clone().zip(port.switch_port.clone());
    let left = seen.ports.iter().filter_map(cable).find(|before| {
        let mut after = wiring.ports.iter().filter_map(cable);
        after.all(|after| after != *before)
    });
    let role: Option<PortRole> = row.optional_name("port_role")?;
    match (left, role) {
        (None, _) | (_, None | Some(PortRole::Parked)) => Ok(()),
        (Some((switch, port)), Some(role)) => Err(Error::not_now(format!(
            "port {port} of switch `{switch}` is not parked, but `{}`: hold node `{}` first, which parks \
             it",
            role.name(),
            seen.name
        ))),
    }
}
