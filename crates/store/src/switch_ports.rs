//! Which switch ports nodes are cabled to, what those were last seen to carry, and how switches fare.

use bessemer_core::Timestamp;
use bessemer_core::id::NodeId;
use bessemer_core::port_plan::PortState;
use bessemer_wire::api::NodePort;
use serde_json::json;

use crate::Error;
use crate::events::append;
use crate::nodes::{node_record, select_node};
use crate::places::about_place;
use crate::records::{NodeRecord, SwitchRecord};
use crate::store::{Store, Write};
use crate::switches::named_in_ports;
use crate::value::{self, values};

impl Store {
    /// Every node with a port on this switch, in order of registration.
    pub async fn nodes_on_switch(&self, switch: &SwitchRecord) -> Result<Vec<NodeRecord>, Error> {
        const SQL: &str =
            select_node!("WHERE REPLACE(ports, $1, '') <> ports ORDER BY created_at, id");
        let values = values![named_in_ports(&switch.name)];
        let rows = self.database().rows(SQL, values).await?;
        rows.iter().map(node_record).collect()
    }

    /// What ports of a switch were last seen to carry, and when, by name.
    pub async fn switch_ports(
        &self,
        switch: &SwitchRecord,
    ) -> Result<Vec<(PortState, Timestamp)>, Error> {
        const SQL: &str = "SELECT state, read_at FROM switch_port WHERE switch = $1 ORDER BY port";
        let rows = self.database().rows(SQL, values![switch.id]).await?;
        let read = rows
            .iter()
            .map(|row| Ok((row.json("state")?, row.time("read_at")?)));
        read.collect()
    }

    /// Notes that the switch of this name has told what these ports carry. If it did not answer
    /// before, that is told. Nothing happens if it is forgotten by now.
    pub async fn note_ports_read(
        &self,
        switch: &str,
        ports: &[PortState],
        now: Timestamp,
    ) -> Result<(), Error> {
        const WELL: &str = "UPDATE switch SET read_at = $2 WHERE name = $1";
        const RECOVERED: &str = "UPDATE switch SET failing = 0 WHERE name = $1 AND failing = 1";
        const PORT: &str = "INSERT INTO switch_port (switch, port, state, read_at)
            SELECT id, $2, $3, $4 FROM switch WHERE name = $1
            ON CONFLICT (switch, port) DO UPDATE SET state = excluded.state,
            read_at = excluded.read_at";
        let mut write = self.write("note_ports_read").await?;
        write.execute(WELL, values![switch, now]).await?;
        for state in ports {
            let values = values![switch, &state.port, value::json("state", state)?, now];
            write.execute(PORT, values).await?;
        }
        if write.execute(RECOVERED, values![switch]).await? == 0 {
            return write.commit_quietly().await;
        }
        let event = about_place("switch.recovered", ("switch", switch), "answers again");
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Notes that the switch of this name did not answer as it should. If it did before, that is told.
    pub async fn note_switch_error(
        &self,
        switch: &str,
        error: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const ERROR: &str = "UPDATE switch SET error = $2, error_at = $3 WHERE name = $1";
        const FAILS: &str = "UPDATE switch SET failing = 1 WHERE name = $1 AND failing = 0";
        let mut write = self.write("note_switch_error").await?;
        write.execute(ERROR, values![switch, error, now]).await?;
        if write.execute(FAILS, values![switch]).await? == 0 {
            return write.commit_quietly().await;
        }
        let mut event = about_place(
            "switch.failing",
            ("switch", switch),
            "does not answer as it should",
        );
        event.message = format!("{}: {error}", event.message);
        event.data["error"] = json!(error);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }
}

/// Refuses cables of a node, of `own` or a new one, that lead to no switch, or to where one of another
/// node's leads. The switches cannot be forgotten until the write ends.
pub(crate) async fn check_cables(
    write: &mut Write,
    own: Option<NodeId>,
    ports: &[NodePort],
) -> Result<(), Error> {
    const LOCK: &str = "UPDATE switch SET name = name WHERE name = $1";
    const OTHERS: &str = "SELECT name, ports FROM node WHERE REPLACE(ports, $1, '') <> ports
        AND ($2 IS NULL OR id <> $2)";
    let mut cables = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        if let (Some(switch), Some(switch_port)) = (&port.switch, &port.switch_port) {
            cables.push((switch, switch_port, index));
        }
    }
    // In one order, so that two writes never wait for each other.
    cables.sort_unstable();
    for (switch, switch_port, index) in cables {
        if write.execute(LOCK, values![switch]).await? == 0 {
            let field = format!("ports[{index}].switch");
            let message = format!("there is no switch `{switch}`: make it first");
            return Err(Error::conflict(field, message));
        }
        for row in write
            .rows(OTHERS, values![named_in_ports(switch), own])
            .await?
        {
            let others: Vec<NodePort> = row.json("ports")?;
            let taken = others.iter().any(|other| {
                other.switch.as_ref() == Some(switch)
                    && other.switch_port.as_ref() == Some(switch_port)
            });
            if taken {
                let field = format!("ports[{index}].switch_port");
                let node = row.text("name")?;
                let message = format!(
                    "port `{switch_port}` of switch `{switch}` already belongs to node `{node}`"
                );
                return Err(Error::conflict(field, message));
            }
        }
    }
    Ok(())
}
