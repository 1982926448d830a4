//! Whether machines are switched on: as intents left them, and as looks at them find them.
//!
//! Looks are many and hardly ever find anything new, so reading for them is done many nodes at a
//! time, from few columns, and nothing is written but changes. A change is believed only if nobody
//! has worked on the node between reading it and writing it: then it is a change that nothing of
//! ours has made.

use bessemer_core::Timestamp;
use bessemer_core::id::{NodeId, ServerId};
use bessemer_core::lifecycle::{Action, Outcome, Phase, PowerState};
use serde_json::json;

use crate::Error;
use crate::database::{Row, Transaction};
use crate::events::append;
use crate::nodes::bmc_record;
use crate::records::{BmcRecord, Claim, NewEvent};
use crate::store::Store;
use crate::value::values;

/// A node whose power state is to be looked at.
#[derive(Clone)]
pub struct PowerWatch {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its management controller.
    pub bmc: BmcRecord,
    /// Whether it was on or off last, where known.
    pub power: Option<PowerState>,
    /// Whether its management controller is known not to answer.
    pub silent: bool,
    /// As in [`Claim`]: tells whether anybody has worked on the node since.
    fence: i64,
}

/// How many nodes are in which power state, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerCounts {
    /// Switched on.
    pub on: u64,
    /// Switched off.
    pub off: u64,
    /// Not known.
    pub unknown: u64,
    /// Those whose management controllers do not answer; in one of the other numbers, too.
    pub silent: u64,
}

impl Store {
    /// How many nodes there are.
    pub async fn node_count(&self) -> Result<u64, Error> {
        const SQL: &str = "SELECT COUNT(*) AS nodes FROM node";
        let row = self.database().row(SQL, values![]).await?;
        row.map_or(Ok(0), |row| row.number("nodes"))
    }

    /// At most `most` nodes to be looked at, in the order of their ids, from after `after` on. Those
    /// whose management controllers have never told which machine they manage are left out: their
    /// credentials may be wrong, and are not tried every minute.
    pub async fn power_watches(
        &self,
        after: Option<NodeId>,
        most: u32,
    ) -> Result<Vec<PowerWatch>, Error> {
        const SQL: &str = "SELECT id, name, bmc_url, bmc_username, bmc_password, bmc_ipmi_key,
            bmc_trust, power, bmc_silent_since, fence FROM node
            WHERE id > $1 AND identity IS NOT NULL ORDER BY id LIMIT $2";
        let after = after.map(|node| node.to_string()).unwrap_or_default();
        let rows = self.database().rows(SQL, values![after, most]).await?;
        let watch = |row: &Row| {
            Ok(PowerWatch {
                node: row.parsed("id")?,
                name: row.text("name")?,
                bmc: bmc_record(row)?,
                power: row.optional_name("power")?,
                silent: row.optional_integer("bmc_silent_since")?.is_some(),
                fence: row.integer("fence")?,
            })
        };
        rows.iter().map(watch).collect()
    }

    /// Writes down that a management controller answered, and what, where it said whether the machine
    /// is on: something else than `watch` knows. Wakes a node at rest that should have stayed off.
    /// Whether it was written: nothing is if somebody has worked on the node since, or another look
    /// was quicker.
    pub async fn power_seen(
        &self,
        watch: &PowerWatch,
        seen: Option<PowerState>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        // A failed node that would not go off has been told so: it is not tried again and again.
        const SQL: &str = "UPDATE node SET power = COALESCE($3, power),
            power_since = CASE WHEN $3 IS NULL OR $3 = power THEN power_since ELSE $4 END,
            bmc_silent_since = NULL,
            switched_on = CASE WHEN $3 = 'on' AND at_rest = 1 AND server IS NULL
            AND (power = 'off' OR power IS NULL AND phase <> 'failed') THEN 1 ELSE switched_on END
            WHERE id = $1 AND fence = $2 AND owner IS NULL
            AND COALESCE(power, '') = $5 AND (bmc_silent_since IS NOT NULL) = ($6 = 1)
            AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.node = node.id
            AND intent.status = 'pending' AND intent.executor = 'conductor')
            RETURNING phase, server, switched_on";
        const WAKE: &str = "UPDATE node SET news = news + 1,
            due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END WHERE id = $1";
        let mut write = self.write("power_seen").await?;
        let name = seen.map(|seen| seen.name().to_owned());
        let known = watch.power.map_or("", PowerState::name);
        let values = values![watch.node, watch.fence, name, now, known, watch.silent];
        let Some(row) = write.row(SQL, values).await? else {
            write.roll_back().await?;
            return Ok(false);
        };
        let switched_on = row.integer("switched_on")? == 1;
        if switched_on {
            write.execute(WAKE, values![watch.node, now]).await?;
        }
        let server = row.optional_parsed("server")?;
        let mut events = Vec::new();
        if watch.silent {
            events.push(answers_again(watch, server));
        }
        if let (Some(was), Some(seen)) = (watch.power, seen)
            && was != seen
        {
            let phase = row.name("phase")?;
            events.push(power_changed(
                watch,
                server,
                phase,
                (was, seen),
                switched_on,
            ));
        }
        append(&mut write, &events, now).await?;
        if events.is_empty() && !switched_on {
            write.commit_quietly().await?;
        } else {
            write.commit().await?;
        }
        Ok(true)
    }

    /// Writes down that a management controller has not answered several looks, `why`. Once: nothing
    /// happens if that is known.
    pub async fn bmc_silent(
        &self,
        watch: &PowerWatch,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE node SET bmc_silent_since = $2
            WHERE id = $1 AND bmc_silent_since IS NULL RETURNING server";
        let mut write = self.write("bmc_silent").await?;
        let Some(row) = write.row(SQL, values![watch.node, now]).await? else {
            return write.roll_back().await;
        };
        let event = NewEvent {
            kind: "node.bmc_unreachable",
            node: Some(watch.node),
            server: row.optional_parsed("server")?,
            project: None,
            message: format!("{}: its power state cannot be read: {why}", watch.name),
            data: json!({ "bmc": watch.bmc.url }),
        };
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// How many nodes are on, off, or neither is known.
    pub async fn power_counts(&self) -> Result<PowerCounts, Error> {
        const SQL: &str = "SELECT COALESCE(power, 'unknown') AS state, COUNT(*) AS nodes,
            COUNT(bmc_silent_since) AS silent FROM node GROUP BY 1";
        let mut counts = PowerCounts::default();
        for row in self.database().rows(SQL, values![]).await? {
            let (nodes, silent): (u64, u64) = (row.number("nodes")?, row.number("silent")?);
            let heard = nodes.saturating_sub(silent);
            counts.silent += silent;
            counts.unknown += silent;
            match row.text("state")?.as_str() {
                "on" => counts.on += heard,
                "off" => counts.off += heard,
                _ => counts.unknown += heard,
            }
        }
        Ok(counts)
    }
}

fn answers_again(watch: &PowerWatch, server: Option<ServerId>) -> NewEvent {
    NewEvent {
        kind: "node.bmc_reachable",
        node: Some(watch.node),
        server,
        project: None,
        message: format!("{}: its management controller answers again", watch.name),
        data: json!({ "bmc": watch.bmc.url }),
    }
}

fn power_changed(
    watch: &PowerWatch,
    server: Option<ServerId>,
    phase: Phase,
    (was, seen): (PowerState, PowerState),
    switched_on: bool,
) -> NewEvent {
    let then = match (phase, switched_on) {
        (Phase::Available | Phase::Failed, true) => "; it is switched off again",
        _ => "",
    };
    NewEvent {
        kind: "node.power_changed",
        node: Some(watch.node),
        server,
        project: None,
        message: format!(
            "{}: the machine was {} and is {}, and nothing here has switched it{then}",
            watch.name,
            was.name(),
            seen.name()
        ),
        data: json!({ "was": was, "power": seen, "phase": phase }),
    }
}

/// Writes down what an intent that has ended leaves of a claimed node's power: after one that failed
/// nothing is known of it, and one that was not tried changes nothing.
pub(crate) async fn left_by(
    transaction: &mut Transaction,
    claim: Claim,
    action: &Action,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE node SET power = $2,
        power_since = CASE WHEN $2 = power THEN power_since ELSE $3 END, switched_on = 0
        WHERE id = $1";
    let Some(power) = left_in(action, outcome) else {
        return Ok(());
    };
    let known = power.map(|power| power.name().to_owned());
    let values = values![claim.node, known, now];
    transaction.execute(SQL, values).await?;
    Ok(())
}

/// In which power state a machine is left; `None` if it is as before.
pub(crate) fn left_in(action: &Action, outcome: &Outcome) -> Option<Option<PowerState>> {
    let left = action.leaves_power()?;
    match outcome {
        Outcome::Pending | Outcome::Deferred { .. } => None,
        Outcome::Done => Some(Some(left)),
        Outcome::Failed { .. } => Some(None),
    }
}
