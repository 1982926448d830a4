//! Nodes as their rows have them, for answers: nothing of them is copied, and compound values stay the
//! JSON that this crate has written.
//!
//! What is stored is what the API shows (`bessemer_wire` has the types of both), so to read it and to
//! write it again would be most of what an answer costs, above all a list of thousands. A change of how one of these columns is stored
//! therefore needs a migration that rewrites it.

use std::sync::Arc;

use bessemer_core::Timestamp;
use bessemer_core::hardware::Inventory;
use bessemer_core::lifecycle::Goal;
use bessemer_core::root_disk::RootDiskHint;

use crate::Error;
use crate::database::{Cells, from_json, parse};
use crate::inventories;
use crate::nodes::as_id;
use crate::page::{Cursor, rows_for};
use crate::records::NodeFilter;
use crate::store::Store;
use crate::value::values;

/// A node as its row has it. `json` of a value is that of its type in [`crate::NodeRecord`].
#[derive(Clone, Copy, Debug)]
pub struct NodeText<'r> {
    /// Its id.
    pub id: &'r str,
    /// Unique.
    pub name: &'r str,
    /// The name of its rack.
    pub rack: Option<&'r str>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Where its management controller is.
    pub bmc_url: &'r str,
    /// The account there.
    pub bmc_username: &'r str,
    /// How its certificate is judged, as JSON.
    pub bmc_trust: &'r str,
    /// Whether a key K_g is stored.
    pub has_ipmi_key: bool,
    /// Its NICs, as JSON.
    pub ports: &'r str,
    /// Which of them are bonded, as JSON.
    pub port_groups: &'r str,
    /// Whether it waits for orders in the agent.
    pub standby: &'r str,
    /// Of its spec.
    pub generation: i64,
    /// What is wanted of it, as JSON.
    pub goal: &'r str,
    /// Where it is, as JSON.
    pub state: &'r str,
    /// Which machine it is, as JSON.
    pub identity: Option<&'r str>,
    /// What it is made of, as JSON, if that was asked for.
    pub inventory: Option<&'r str>,
    /// Whose server it is.
    pub server: Option<&'r str>,
    /// How it is to boot.
    pub boot_method: Option<&'r str>,
    /// What it can boot from, as JSON.
    pub boot_abilities: Option<&'r str>,
    /// Which disk is its root disk, as JSON.
    pub root_disk_hint: Option<&'r str>,
    /// Whether its machine is on, as far as is known.
    pub power: Option<&'r str>,
    /// Since when that is known, or is not known any more.
    pub power_since: Option<Timestamp>,
    /// Since when its management controller has not answered.
    pub bmc_silent_since: Option<Timestamp>,
}

impl NodeText<'_> {
    /// What it is made of, if that was asked for.
    pub fn read_inventory(&self) -> Result<Option<Arc<Inventory>>, Error> {
        let Some(text) = self.inventory else {
            return Ok(None);
        };
        inventories::read(parse("id", self.id)?, text).map(Some)
    }

    /// What is wanted of it.
    pub fn read_goal(&self) -> Result<Goal, Error> {
        from_json("goal", self.goal)
    }

    /// Which disk is its root disk, as an operator has said.
    pub fn read_root_disk_hint(&self) -> Result<Option<RootDiskHint>, Error> {
        let hint = self.root_disk_hint;
        hint.map(|hint| from_json("root_disk_hint", hint))
            .transpose()
    }
}

/// A query for nodes, whose rows [`node_text`] reads.
macro_rules! select_texts {
    ($inventory:literal, $rest:literal) => {
        concat!(
            "SELECT id, name, (SELECT rack.name FROM rack WHERE rack.id = node.rack), created_at, \
             bmc_url, bmc_username, bmc_trust, \
             CAST(CASE WHEN bmc_ipmi_key IS NULL THEN 0 ELSE 1 END AS BIGINT), \
             ports, port_groups, standby, generation, state, identity, ",
            $inventory,
            ", server, boot_method, boot_abilities, root_disk_hint, power, \
             power_since, bmc_silent_since, goal FROM node ",
            $rest
        )
    };
}

/// A page of them.
macro_rules! select_page {
    ($inventory:literal) => {
        select_texts!(
            $inventory,
            "WHERE (created_at, id) > ($1, $2) AND ($3 IS NULL OR phase = $3)
             AND ($4 IS NULL OR rack = $4) ORDER BY created_at, id LIMIT $5"
        )
    };
}

impl Store {
    /// Shows `take` the node with this name or id, with its inventory; what it makes of it.
    pub async fn node_text<T>(
        &self,
        name_or_id: &str,
        mut take: impl FnMut(NodeText<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // A name that looks like an id hides nothing.
        const SQL: &str = select_texts!(
            "(SELECT inventory.inventory FROM inventory WHERE inventory.node = node.id)",
            "WHERE id = COALESCE((SELECT by_id.id FROM node AS by_id WHERE by_id.id = $2),
             (SELECT by_name.id FROM node AS by_name WHERE by_name.name = $1))"
        );
        let mut taken = None;
        let values = values![name_or_id, as_id(name_or_id)];
        let each = self.database().each(SQL, values, |cells| {
            taken = Some(take(node_text(cells)?)?);
            Ok(())
        });
        each.await?;
        taken.ok_or_else(|| Error::not_found("node", name_or_id))
    }

    /// Shows `take` at most `limit` nodes in order of registration, from where `cursor` points, with
    /// their inventories if `detail` says so; the cursor of the next page, if there is one.
    pub async fn each_node(
        &self,
        filter: NodeFilter,
        detail: bool,
        cursor: Option<&str>,
        limit: u32,
        mut take: impl FnMut(NodeText<'_>) -> Result<(), Error>,
    ) -> Result<Option<String>, Error> {
        const SHORT: &str = select_page!("CAST(NULL AS TEXT)");
        const WHOLE: &str = select_page!(
            "(SELECT inventory.inventory FROM inventory WHERE inventory.node = node.id)"
        );
        let from = Cursor::read(cursor)?;
        let values = values![
            from.created_at,
            from.id,
            filter.phase.map(|phase| phase.name().to_owned()),
            filter.rack,
            rows_for(limit)
        ];
        let sql = if detail { WHOLE } else { SHORT };
        let (mut taken, mut last, mut next) = (0, String::new(), None);
        let each = self.database().each(sql, values, |cells| {
            let node = node_text(cells)?;
            if taken == limit {
                next = Some(std::mem::take(&mut last));
                return Ok(());
            }
            taken += 1;
            if taken == limit {
                last = Cursor::after(node.created_at, node.id);
            }
            take(node)
        });
        each.await?;
        Ok(next)
    }
}

fn node_text(cells: Cells<'_>) -> Result<NodeText<'_>, Error> {
    Ok(NodeText {
        id: cells.text(0, "id")?,
        name: cells.text(1, "name")?,
        rack: cells.optional_text(2, "rack_name")?,
        created_at: cells.time(3, "created_at")?,
        bmc_url: cells.text(4, "bmc_url")?,
        bmc_username: cells.text(5, "bmc_username")?,
        bmc_trust: cells.text(6, "bmc_trust")?,
        has_ipmi_key: cells.integer(7, "bmc_ipmi_key")? == 1,
        ports: cells.text(8, "ports")?,
        port_groups: cells.text(9, "port_groups")?,
        standby: cells.text(10, "standby")?,
        generation: cells.integer(11, "generation")?,
        state: cells.text(12, "state")?,
        identity: cells.optional_text(13, "identity")?,
        inventory: cells.optional_text(14, "inventory")?,
        server: cells.optional_text(15, "server")?,
        boot_method: cells.optional_text(16, "boot_method")?,
        boot_abilities: cells.optional_text(17, "boot_abilities")?,
        root_disk_hint: cells.optional_text(18, "root_disk_hint")?,
        power: cells.optional_text(19, "power")?,
        power_since: cells.optional_time(20, "power_since")?,
        bmc_silent_since: cells.optional_time(21, "bmc_silent_since")?,
        goal: cells.text(22, "goal")?,
    })
}
