//! Nodes: registering, finding and forgetting them. What people want of them is in `wishes`.

use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootAbilities;
use bessemer_core::hardware::{Inventory, MachineIdentity};
use bessemer_core::id::{Generation, NodeId, ServerId};
use bessemer_core::lifecycle::{Cleanliness, Goal, NodeSpec, NodeState, Phase, Timing};
use bessemer_core::net::MacAddress;

use crate::Error;
use crate::database::{Row, Transaction};
use crate::events::append;
use crate::page::{Cursor, next_page, rows_for};
use crate::records::{
    BmcRecord, HistoryEntry, NewEvent, NewNode, NodeChanges, NodeFilter, NodeRecord,
};
use crate::store::{Store, Write};
use crate::switch_ports::check_cables;
use crate::value::{json, name, optional_json, sealed, values};
use crate::wishes::goal_kind;

/// A query for whole nodes, whose rows [`node_record`] reads, best in this order; perhaps with `more`
/// columns of other tables.
macro_rules! select_node {
    ($rest:literal) => {
        $crate::nodes::select_node!(more: "", $rest)
    };
    (more: $more:expr, $rest:expr) => {
        $crate::nodes::select_node!(
            inventory: "(SELECT inventory.inventory FROM inventory WHERE inventory.node = node.id) AS inventory",
            $more,
            $rest
        )
    };
    (inventory: $inventory:literal, $more:expr, $rest:expr) => {
        concat!(
            "SELECT node.id, node.identity, node.name, \
             (SELECT rack.name FROM rack WHERE rack.id = node.rack) AS rack_name, \
             node.bmc_url, node.bmc_username, node.bmc_password, node.bmc_ipmi_key, node.bmc_trust, \
             node.ports, node.port_groups, node.wirings, node.generation, node.goal, \
             node.port_control, node.abort, node.standby, node.state, ",
            $inventory,
            ", node.server, node.boot_method, node.boot_abilities, node.root_disk_hint, \
             node.port_role, node.ports_suspect, node.power, node.power_since, \
             node.bmc_silent_since, node.created_at, node.switched_on, node.os_up, node.news",
            $more,
            " FROM node ",
            $rest
        )
    };
}
pub(crate) use select_node;

/// The nodes that an order could have, in the words of the index `node_available`.
pub(crate) const AVAILABLE: &str = select_node!(
    "WHERE phase = 'available' AND clean = 1 AND goal_kind = 'available'
     AND server IS NULL AND EXISTS (SELECT 1 FROM inventory WHERE inventory.node = node.id)
     ORDER BY at_rest, created_at, id LIMIT $2 OFFSET $1"
);

const BY_ID: &str = select_node!("WHERE id = $1");

impl Store {
    /// Registers a machine: enrolled, wanted available, due at once.
    ///
    /// [`Error::Conflict`] if its name, BMC, one of its MAC addresses or of the switch ports that its
    /// cables lead to belongs to a node already.
    pub async fn create_node(&self, node: NewNode, now: Timestamp) -> Result<NodeRecord, Error> {
        refuse_repeated_mac(&node)?;
        let mut write = self.write("create_node").await?;
        match insert(&mut write, &node, now).await {
            Ok(()) => {}
            Err(error) if error.is_unique_violation() => {
                write.roll_back().await?;
                return Err(self.who_has(&node).await?);
            }
            Err(error) => return Err(error),
        }
        let row = write.row(BY_ID, values![node.id]).await?;
        let stored = node_record(&row.ok_or_else(|| Error::not_found("node", node.id))?)?;
        write.commit().await?;
        Ok(stored)
    }

    /// The node with this name or id.
    pub async fn node(&self, name_or_id: &str) -> Result<NodeRecord, Error> {
        const SQL: &str = select_node!("WHERE name = $1 OR id = $2");
        let rows = self
            .database()
            .rows(SQL, values![name_or_id, as_id(name_or_id)]);
        let row = by_id_first(rows.await?, name_or_id)?;
        node_record(&row.ok_or_else(|| Error::not_found("node", name_or_id))?)
    }

    /// The node with this id.
    pub async fn node_by_id(&self, id: NodeId) -> Result<NodeRecord, Error> {
        let row = self.database().row(BY_ID, values![id]).await?;
        node_record(&row.ok_or_else(|| Error::not_found("node", id))?)
    }

    /// The node with this NIC, if any.
    pub async fn node_by_mac(&self, mac: MacAddress) -> Result<Option<NodeRecord>, Error> {
        const SQL: &str = select_node!(
            inventory: "CAST(NULL AS TEXT) AS inventory",
            "",
            "WHERE id = (SELECT node FROM mac_address WHERE mac = $1)"
        );
        let row = self.database().row(SQL, values![mac]).await?;
        row.as_ref().map(node_record).transpose()
    }

    /// At most `limit` nodes in order of registration, from where `cursor` points, without their
    /// inventories; with the cursor of the next page, if there is one.
    pub async fn nodes(
        &self,
        filter: NodeFilter,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<NodeRecord>, Option<String>), Error> {
        const SQL: &str = select_node!(
            inventory: "CAST(NULL AS TEXT) AS inventory",
            "",
            "WHERE (created_at, id) > ($1, $2) AND ($3 IS NULL OR phase = $3)
             AND ($4 IS NULL OR rack = $4) ORDER BY created_at, id LIMIT $5"
        );
        self.page_of_nodes(SQL, filter, cursor, limit).await
    }

    /// The same with their inventories, which are most of what there is to read.
    pub async fn nodes_with_inventory(
        &self,
        filter: NodeFilter,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<NodeRecord>, Option<String>), Error> {
        const SQL: &str = select_node!(
            "WHERE (created_at, id) > ($1, $2) AND ($3 IS NULL OR phase = $3)
             AND ($4 IS NULL OR rack = $4) ORDER BY created_at, id LIMIT $5"
        );
        self.page_of_nodes(SQL, filter, cursor, limit).await
    }

    async fn page_of_nodes(
        &self,
        sql: &'static str,
        filter: NodeFilter,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<NodeRecord>, Option<String>), Error> {
        let from = Cursor::read(cursor.as_deref())?;
        let phase = filter.phase.map(|phase| phase.name().to_owned());
        let values = values![
            from.created_at,
            from.id,
            phase,
            filter.rack,
            rows_for(limit)
        ];
        let mut rows = self.database().rows(sql, values).await?;
        let next = next_page(&mut rows, limit)?;
        let nodes: Result<_, _> = rows.iter().map(node_record).collect();
        Ok((nodes?, next))
    }

    /// At most `limit` nodes that an order could have now: those that wait in the agent, or are on their
    /// way there, before those that are off, each in order of registration.
    pub async fn available_nodes(&self, limit: u32) -> Result<Vec<NodeRecord>, Error> {
        self.available_nodes_after(0, limit).await
    }

    /// The same after the first `skip` of them.
    pub async fn available_nodes_after(
        &self,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<NodeRecord>, Error> {
        let rows = self.database().rows(AVAILABLE, values![skip, limit]);
        let rows = rows.await?;
        rows.iter().map(node_record).collect()
    }

    /// Forgets a node; with `force` also one that could still be used.
    ///
    /// [`Error::Conflict`], saying what to do, while it has a server, is being worked on, is
    /// neither at rest nor in a phase in which nothing is lost by stopping, or, without `force`,
    /// is neither retired, failed nor held.
    pub async fn delete_node(&self, id: NodeId, force: bool, now: Timestamp) -> Result<(), Error> {
        // Before the node is read, so that nobody can claim it or order it meanwhile.
        const LOCK: &str = "UPDATE node SET news = news + 1 WHERE id = $1
            RETURNING name, phase, at_rest, server, lease_until";
        let mut write = self.write("delete_node").await?;
        let row = write.row(LOCK, values![id]).await?;
        let row = row.ok_or_else(|| Error::not_found("node", id))?;
        let node_name = row.text("name")?;
        may_be_deleted(&row, &node_name, force, now)?;
        write
            .execute("DELETE FROM node WHERE id = $1", values![id])
            .await?;
        let event = about_node(
            "node.deleted",
            id,
            format!("node `{node_name}` is forgotten"),
        );
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Lets the conductor look at a node now.
    pub async fn wake(&self, id: NodeId, now: Timestamp) -> Result<(), Error> {
        let mut write = self.write("wake").await?;
        wake(&mut write, id, now).await?;
        write.commit().await
    }

    /// Writes down which machine a node is.
    pub async fn set_identity(&self, id: NodeId, identity: &MachineIdentity) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET identity = $2, news = news + 1 WHERE id = $1";
        let mut write = self.write("set_identity").await?;
        let identity = json("identity", identity)?;
        found(write.execute(SQL, values![id, identity]).await?, id)?;
        write.commit().await
    }

    /// Writes down what a node can be made to boot from.
    pub async fn set_boot_abilities(
        &self,
        id: NodeId,
        abilities: &BootAbilities,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET boot_abilities = $2, news = news + 1 WHERE id = $1";
        let mut write = self.write("set_boot_abilities").await?;
        let abilities = json("boot_abilities", abilities)?;
        found(write.execute(SQL, values![id, abilities]).await?, id)?;
        write.commit().await
    }

    /// Changes what an operator decides about a node, and wakes it if it is to go into standby, or
    /// out of it. Its generation stays: a server that it has is not touched by this.
    ///
    /// [`Error::Conflict`] if the management controller belongs to another node.
    pub async fn change_node(
        &self,
        id: NodeId,
        changes: NodeChanges,
        now: Timestamp,
    ) -> Result<(), Error> {
        const NEWS: &str = "UPDATE node SET news = news + 1 WHERE id = $1";
        const BOOT_METHOD: &str = "UPDATE node SET boot_method = $2 WHERE id = $1";
        const STANDBY: &str = "UPDATE node SET standby = $2 WHERE id = $1";
        const RACK: &str = "UPDATE node SET rack = $2 WHERE id = $1";
        const ROOT_DISK: &str = "UPDATE node SET root_disk_hint = $2 WHERE id = $1";
        let mut write = self.write("change_node").await?;
        found(write.execute(NEWS, values![id]).await?, id)?;
        if let Some(method) = changes.boot_method {
            let method = method.map(|method| method.name().to_owned());
            found(write.execute(BOOT_METHOD, values![id, method]).await?, id)?;
        }
        if let Some(bmc) = &changes.bmc
            && let Err(error) = set_bmc(&mut write, id, bmc).await
        {
            write.roll_back().await?;
            return Err(if error.is_unique_violation() {
                self.who_has_bmc(&bmc.url).await?.unwrap_or(error)
            } else {
                error
            });
        }
        if let Some(rack) = changes.rack {
            found(write.execute(RACK, values![id, rack]).await?, id)?;
        }
        if let Some(hint) = changes.root_disk_hint {
            let hint = optional_json("root_disk_hint", hint.as_ref())?;
            found(write.execute(ROOT_DISK, values![id, hint]).await?, id)?;
        }
        if let Some(standby) = changes.standby {
            found(
                write.execute(STANDBY, values![id, standby.name()]).await?,
                id,
            )?;
            wake(&mut write, id, now).await?;
        }
        write.commit().await
    }

    /// Writes down what a node is made of.
    pub async fn set_inventory(&self, id: NodeId, inventory: &Inventory) -> Result<(), Error> {
        let mut write = self.write("set_inventory").await?;
        set_inventory(&mut write, id, inventory).await?;
        write.commit().await
    }

    /// The latest `limit` states a node was in, newest first.
    pub async fn history(&self, id: NodeId, limit: u32) -> Result<Vec<HistoryEntry>, Error> {
        const SQL: &str = "SELECT reached_at, state FROM history WHERE node = $1
            ORDER BY sequence DESC LIMIT $2";
        let rows = self.database().rows(SQL, values![id, limit]).await?;
        let entry = |row: &Row| {
            Ok(HistoryEntry {
                at: row.time("reached_at")?,
                state: row.json("state")?,
            })
        };
        rows.iter().map(entry).collect()
    }

    /// How many nodes are in each phase, every phase named.
    pub async fn counts_by_phase(&self) -> Result<Vec<(Phase, u64)>, Error> {
        const SQL: &str = "SELECT phase, COUNT(*) AS nodes FROM node GROUP BY phase";
        let mut counts: Vec<_> = Phase::ALL.iter().map(|&phase| (phase, 0)).collect();
        for row in self.database().rows(SQL, values![]).await? {
            let found: Phase = row.name("phase")?;
            let nodes = row.number("nodes")?;
            let entry = counts.iter_mut().find(|(phase, _)| *phase == found);
            if let Some(entry) = entry {
                entry.1 = nodes;
            }
        }
        Ok(counts)
    }

    /// Says whose management controller that is, if it is anybody's.
    async fn who_has_bmc(&self, url: &str) -> Result<Option<Error>, Error> {
        const SQL: &str = "SELECT name FROM node WHERE bmc_url = $1";
        let Some(row) = self.database().row(SQL, values![url]).await? else {
            return Ok(None);
        };
        let message = format!("BMC {url} already belongs to node `{}`", row.text("name")?);
        Ok(Some(Error::conflict("bmc.url", message)))
    }

    /// Which field of a refused registration is taken, and by whom.
    async fn who_has(&self, node: &NewNode) -> Result<Error, Error> {
        const NAME: &str = "SELECT name FROM node WHERE name = $1";
        const MAC: &str = "SELECT node.name FROM mac_address
            JOIN node ON node.id = mac_address.node WHERE mac = $1";
        let database = self.database();
        if database.row(NAME, values![&node.name]).await?.is_some() {
            let message = format!("there is a node named `{}` already", node.name);
            return Ok(Error::conflict("name", message));
        }
        if let Some(conflict) = self.who_has_bmc(&node.bmc.url).await? {
            return Ok(conflict);
        }
        for (index, port) in node.ports.iter().enumerate() {
            if let Some(row) = database.row(MAC, values![port.mac]).await? {
                let (mac, holder) = (port.mac, row.text("name")?);
                let message = format!("MAC {mac} already belongs to node `{holder}`");
                return Ok(Error::conflict(format!("ports[{index}].mac"), message));
            }
        }
        // Whoever had it has been deleted since.
        Ok(Error::not_now(
            "another node had the same name, BMC or MAC address a moment ago: try again",
        ))
    }
}

async fn set_bmc(write: &mut Write, id: NodeId, bmc: &BmcRecord) -> Result<(), Error> {
    const SQL: &str = "UPDATE node SET bmc_url = $2, bmc_username = $3, bmc_password = $4,
        bmc_ipmi_key = $5, bmc_trust = $6 WHERE id = $1";
    let values = values![
        id,
        &bmc.url,
        &bmc.username,
        sealed(&bmc.password_sealed),
        bmc.ipmi_key_sealed.as_deref().map(sealed),
        json("bmc_trust", &bmc.trust)?,
    ];
    found(write.execute(SQL, values).await?, id)
}

fn refuse_repeated_mac(node: &NewNode) -> Result<(), Error> {
    for (index, port) in node.ports.iter().enumerate() {
        if node.ports[..index]
            .iter()
            .any(|other| other.mac == port.mac)
        {
            return Err(Error::conflict(
                format!("ports[{index}].mac"),
                format!("MAC {} is given twice", port.mac),
            ));
        }
    }
    Ok(())
}

async fn insert(write: &mut Write, node: &NewNode, now: Timestamp) -> Result<(), Error> {
    const NODE: &str = "INSERT INTO node (id, name, created_at, bmc_url, bmc_username,
        bmc_password, bmc_trust, ports, port_control, goal, goal_kind, generation, state, phase,
        at_rest, clean, boot_method, standby, bmc_ipmi_key, root_disk_hint, port_groups, rack,
        due_at, news, lease_until, fence)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
        $19, $20, $21, $22, $3, 0, 0, 0)";
    const MAC: &str = "INSERT INTO mac_address (mac, node) VALUES ($1, $2)";
    check_cables(write, None, &node.ports).await?;
    let generation = Generation(1);
    let state = NodeState::enrolled(generation, now);
    let goal = Goal::Available;
    let values = values![
        node.id,
        &node.name,
        now,
        &node.bmc.url,
        &node.bmc.username,
        sealed(&node.bmc.password_sealed),
        json("bmc_trust", &node.bmc.trust)?,
        json("ports", &node.ports)?,
        name("port_control", &node.port_control)?,
        json("goal", &goal)?,
        goal_kind(&goal),
        generation,
        json("state", &state)?,
        state.phase.name(),
        state.at_rest(),
        state.cleanliness == Cleanliness::Clean,
        node.boot_method.map(|method| method.name().to_owned()),
        name("standby", &node.standby)?,
        node.bmc.ipmi_key_sealed.as_deref().map(sealed),
        optional_json("root_disk_hint", node.root_disk_hint.as_ref())?,
        json("port_groups", &node.port_groups)?,
        node.rack,
    ];
    write.execute(NODE, values).await?;
    for port in &node.ports {
        write.execute(MAC, values![port.mac, node.id]).await?;
    }
    let message = format!("node `{}` is registered", node.name);
    append(write, &[about_node("node.enrolled", node.id, message)], now).await
}

fn may_be_deleted(row: &Row, name: &str, force: bool, now: Timestamp) -> Result<(), Error> {
    if let Some(server) = row.optional_parsed::<ServerId>("server")? {
        return Err(Error::not_now(format!(
            "node `{name}` has server {server}: delete the server first"
        )));
    }
    let phase: Phase = row.name("phase")?;
    let out_of_use = matches!(phase, Phase::Failed | Phase::Held | Phase::Retired);
    let stoppable = out_of_use || matches!(phase, Phase::Enrolled | Phase::Available);
    if row.integer("at_rest")? == 0 && !stoppable {
        return Err(Error::not_now(format!(
            "node `{name}` is {}: hold it first, or wait until it is available",
            phase.name()
        )));
    }
    if !out_of_use && !force {
        return Err(Error::not_now(format!(
            "node `{name}` is {}: retire it first, or force it",
            phase.name()
        )));
    }
    if row.time("lease_until")? >= now {
        return Err(Error::not_now(format!(
            "node `{name}` is being worked on at this moment: try again in a few seconds"
        )));
    }
    Ok(())
}

/// Lets the conductor look at a node now, and locks the node until the transaction ends. A node
/// that is due already keeps its place in the queue.
pub(crate) async fn wake(
    transaction: &mut Transaction,
    id: NodeId,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE node SET news = news + 1,
        due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END WHERE id = $1";
    found(transaction.execute(SQL, values![id, now]).await?, id)
}

pub(crate) async fn set_inventory(
    transaction: &mut Transaction,
    id: NodeId,
    inventory: &Inventory,
) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO inventory (node, inventory) SELECT id, $2 FROM node WHERE id = $1
        ON CONFLICT (node) DO UPDATE SET inventory = excluded.inventory";
    let inventory = json("inventory", inventory)?;
    found(transaction.execute(SQL, values![id, inventory]).await?, id)
}

fn found(changed: u64, id: NodeId) -> Result<(), Error> {
    if changed == 0 {
        return Err(Error::not_found("node", id));
    }
    Ok(())
}

/// An id in the one spelling that is stored, if `text` is one.
pub(crate) fn as_id(text: &str) -> Option<String> {
    let id = text.parse::<uuid::Uuid>().ok()?;
    Some(id.to_string())
}

/// Of rows found by name or id, the one with the id: a name that looks like an id hides nothing.
pub(crate) fn by_id_first(rows: Vec<Row>, name_or_id: &str) -> Result<Option<Row>, Error> {
    let id = as_id(name_or_id);
    let mut by_name = None;
    for row in rows {
        if id.as_ref() == Some(&row.text("id")?) {
            return Ok(Some(row));
        }
        by_name = Some(row);
    }
    Ok(by_name)
}

pub(crate) fn about_node(kind: &'static str, node: NodeId, message: String) -> NewEvent {
    NewEvent {
        kind,
        node: Some(node),
        server: None,
        project: None,
        message,
        data: serde_json::Value::Object(serde_json::Map::new()),
    }
}

/// Reads how a management controller is reached.
pub(crate) fn bmc_record(row: &Row) -> Result<BmcRecord, Error> {
    Ok(BmcRecord {
        url: row.text("bmc_url")?,
        username: row.text("bmc_username")?,
        password_sealed: row.sealed("bmc_password")?,
        ipmi_key_sealed: row.optional_sealed("bmc_ipmi_key")?,
        trust: row.json("bmc_trust")?,
    })
}

/// Reads a row of [`select_node`].
pub(crate) fn node_record(row: &Row) -> Result<NodeRecord, Error> {
    let id = row.parsed("id")?;
    let identity: Option<MachineIdentity> = row.optional_json("identity")?;
    Ok(NodeRecord {
        id,
        name: row.text("name")?,
        rack: row.optional_text("rack_name")?,
        bmc: bmc_record(row)?,
        ports: row.json("ports")?,
        port_groups: row.json("port_groups")?,
        wirings: row.integer("wirings")?,
        spec: NodeSpec {
            node: id,
            generation: Generation(row.number("generation")?),
            goal: row.json("goal")?,
            identity: identity.clone(),
            port_control: row.name("port_control")?,
            standby: false,
            timing: Timing::default(),
            abort: row.optional_text("abort")?,
        },
        standby: row.name("standby")?,
        state: row.json("state")?,
        identity,
        inventory: row.inventory(id, "inventory")?,
        server: row.optional_parsed("server")?,
        boot_method: row.optional_name("boot_method")?,
        boot_abilities: row.optional_json("boot_abilities")?,
        root_disk_hint: row.optional_json("root_disk_hint")?,
        port_role: row.optional_name("port_role")?,
        ports_suspect: row.integer("ports_suspect")? == 1,
        power: row.optional_name("power")?,
        power_since: row.optional_time("power_since")?,
        bmc_silent_since: row.optional_time("bmc_silent_since")?,
        created_at: row.time("created_at")?,
    })
}
