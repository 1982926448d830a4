//! Boots of the agent: the address leased to one, the session it opens, what it reports.
//!
//! A node has one row here at most: the boot that it is allowed at present. It counts only while
//! it is also the boot that the node's state names; between the commit of a new boot and its
//! preparation, the old one is over already.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use bessemer_core::Timestamp;
use bessemer_core::boot_method::BootMethod;
use bessemer_core::id::{BootId, Generation, NodeId, ServerId};
use bessemer_core::lifecycle::{Action, Executor, Intent, IntentKey, NodeState, Outcome};
use bessemer_core::net::MacAddress;

use crate::Error;
use crate::database::Row;
use crate::intents::{self, select_node_and_intent};
use crate::kexec;
use crate::nodes::{node_record, set_inventory};
use crate::passing::{self, Decide, IN_PASSING, Reported};
use crate::records::{BootRecord, Claim, HelloOutcome, Learned, NewBoot, NodeRecord, RelayRecord};
use crate::store::{Store, Write};
use crate::value::{json, values};

/// Boots take turns to choose their addresses.
const TAKE_TURNS: &str =
    "UPDATE counter SET value = value + 1 WHERE name = 'boot_address' RETURNING value";

/// A query for whole boots, whose rows [`boot_record`] reads.
macro_rules! select_boot {
    ($rest:literal) => {
        concat!(
            "SELECT id, node, mac, address, session, method, media_inserted, relay FROM boot ",
            $rest
        )
    };
}

impl Store {
    /// Leases a provisioning address to one boot of a node: a free one of `pool`, or the one
    /// that the node's boot before had. Asked again for the same boot, it gives the same. From now
    /// on, the management controller may hold the medium of a boot by virtual media.
    ///
    /// [`Error::Exhausted`], naming `pool_name`, if there is none; [`Error::LeaseLost`] if another worker
    /// has the node by now: what it knows of the medium is not to be changed behind its back.
    pub async fn prepare_boot(
        &self,
        new: NewBoot,
        pool: RangeInclusive<Ipv4Addr>,
        pool_name: &str,
        now: Timestamp,
    ) -> Result<Ipv4Addr, Error> {
        const BEFORE: &str = "SELECT id, address, media_inserted FROM boot WHERE node = $1";
        // Proves the claim. With another boot, its agent, if it had one, is not its agent any more.
        const NEWS: &str = "UPDATE node SET news = news + 1
            WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        const MEDIUM: &str = "UPDATE boot SET media_inserted = 1 WHERE node = $1";
        const DELETE: &str = "DELETE FROM boot WHERE node = $1";
        const INSERT: &str =
            "INSERT INTO boot (id, node, mac, address, created_at, method, ramdisk, media_inserted)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let NewBoot {
            boot,
            claim: Claim { node, fence },
            mac,
            method,
            ramdisk,
        } = new;
        let medium = method == BootMethod::VirtualMedia;
        let mut write = self.write("prepare_boot").await?;
        let turn = take_turn(&mut write).await?;
        if write.execute(NEWS, values![node, fence]).await? == 0 {
            return Err(Error::LeaseLost);
        }
        let mut kept = None;
        if let Some(row) = write.row(BEFORE, values![node]).await? {
            let address = Ipv4Addr::from(row.number::<u32>("address")?);
            if row.parsed::<BootId>("id")? == boot {
                match medium && row.integer("media_inserted")? == 0 {
                    true => {
                        write.execute(MEDIUM, values![node]).await?;
                        write.commit_quietly().await?;
                    }
                    false => write.roll_back().await?,
                }
                return Ok(address);
            }
            kept = Some(address).filter(|address| pool.contains(address));
        }
        write.execute(DELETE, values![node]).await?;
        let address = match kept {
            Some(address) => address,
            None => next_free(&mut write, turn, &pool, pool_name).await?,
        };
        write
            .execute(
                INSERT,
                values![
                    boot,
                    node,
                    mac,
                    address,
                    now,
                    method.name(),
                    ramdisk,
                    medium
                ],
            )
            .await?;
        write.commit().await?;
        Ok(address)
    }

    /// The boot that the machine with this NIC is allowed, if any.
    pub async fn boot_by_mac(&self, mac: MacAddress) -> Result<Option<BootRecord>, Error> {
        const SQL: &str =
            select_boot!("WHERE node = (SELECT node FROM mac_address WHERE mac = $1) AND mac = $1");
        let row = self.database().row(SQL, values![mac]).await?;
        row.as_ref().map(boot_record).transpose()
    }

    /// The node that has this NIC, if any.
    pub async fn node_of_mac(&self, mac: MacAddress) -> Result<Option<NodeId>, Error> {
        const SQL: &str = "SELECT node FROM mac_address WHERE mac = $1";
        let row = self.database().row(SQL, values![mac]).await?;
        row.map(|row| row.parsed("node")).transpose()
    }

    /// This boot, while it is its node's latest.
    pub async fn boot(&self, boot: BootId) -> Result<Option<BootRecord>, Error> {
        const SQL: &str = select_boot!("WHERE id = $1");
        let row = self.database().row(SQL, values![boot]).await?;
        row.as_ref().map(boot_record).transpose()
    }

    /// The latest boot of this node, if any.
    pub async fn boot_of(&self, node: NodeId) -> Result<Option<BootRecord>, Error> {
        const SQL: &str = select_boot!("WHERE node = $1");
        let row = self.database().row(SQL, values![node]).await?;
        row.as_ref().map(boot_record).transpose()
    }

    /// The boot that this address is leased to, if any.
    pub async fn boot_by_address(&self, address: Ipv4Addr) -> Result<Option<BootRecord>, Error> {
        const SQL: &str = select_boot!("WHERE address = $1");
        let row = self.database().row(SQL, values![address]).await?;
        row.as_ref().map(boot_record).transpose()
    }

    /// Notes the relay through which a boot's firmware asks, and leases an address of `pool` to it
    /// instead, if it has one of another network. Returns the address.
    ///
    /// [`Error::Exhausted`], naming `pool_name`, if there is none; [`Error::NotFound`] if the boot
    /// is over, or its agent has called already.
    pub async fn relay_boot(
        &self,
        boot: BootId,
        relay: &RelayRecord,
        pool: RangeInclusive<Ipv4Addr>,
        pool_name: &str,
    ) -> Result<Ipv4Addr, Error> {
        const BEFORE: &str = "SELECT address FROM boot WHERE id = $1 AND session IS NULL";
        const MOVE: &str = "UPDATE boot SET relay = $2, address = $3 WHERE id = $1";
        let mut write = self.write("relay_boot").await?;
        let turn = take_turn(&mut write).await?;
        let row = write.row(BEFORE, values![boot]).await?;
        let row = row.ok_or_else(|| Error::not_found("boot", boot))?;
        let mut address = Ipv4Addr::from(row.number::<u32>("address")?);
        if !pool.contains(&address) {
            address = next_free(&mut write, turn, &pool, pool_name).await?;
        }
        let relay = json("relay", relay)?;
        write.execute(MOVE, values![boot, relay, address]).await?;
        write.commit().await?;
        Ok(address)
    }

    /// Opens a boot's session, once: `session_hash` is a digest of the secret that the agent will
    /// show from now on. Asking again for the same session is accepted, since an answer can be
    /// lost. What the agent is to do first is decided by `decide`, if nobody has the node.
    pub async fn hello(
        &self,
        boot: BootId,
        session_hash: &str,
        now: Timestamp,
        decide: Option<Decide<'_>>,
    ) -> Result<HelloOutcome, Error> {
        const OPEN: &str = "UPDATE boot SET session = $2, last_seen = $3
            WHERE id = $1 AND (session IS NULL OR session = $2)";
        let mut write = self.write("hello").await?;
        let Some((node, claim)) = wake_present(&mut write, boot, decide.is_some(), now).await?
        else {
            write.roll_back().await?;
            return Ok(HelloOutcome::Unknown);
        };
        let values = values![boot, session_hash, now];
        let opened = match write.execute(OPEN, values).await {
            // The session of another boot: just as much a replay.
            Err(error) if error.is_unique_violation() => 0,
            opened => opened?,
        };
        if opened == 0 {
            write.roll_back().await?;
            tracing::warn!(%node, %boot, "an agent's token was used a second time");
            return Ok(HelloOutcome::Replayed);
        }
        if let Some((claim, decide)) = claim.zip(decide) {
            passing::decide(&mut write, claim, decide, now).await?;
        }
        write.commit().await?;
        Ok(HelloOutcome::Accepted)
    }

    /// Whose session this is and of which boot, with what the agent is to do now, if anything. `None` if
    /// there is no such session, or its boot is over.
    pub async fn agent_session(
        &self,
        session_hash: &str,
    ) -> Result<Option<(BootId, NodeRecord, Option<Intent>)>, Error> {
        const SQL: &str = select_node_and_intent!(
            ", boot.id AS boot",
            "JOIN boot ON boot.node = node.id WHERE boot.session = $1"
        );
        let row = self.database().row(SQL, values![session_hash]).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let (boot, node) = (row.parsed("boot")?, node_record(&row)?);
        if node.state.boot(node.id) != boot {
            return Ok(None);
        }
        let open = intents::newest(&row)?.filter(|(intent, outcome)| {
            *outcome == Outcome::Pending && intent.action.executor() == Executor::Agent
        });
        Ok(Some((boot, node, open.map(|(intent, _)| intent))))
    }

    /// Notes that a boot's agent has been heard of.
    pub async fn touch_agent(&self, boot: BootId, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE boot SET last_seen = $2
            WHERE id = $1 AND session IS NOT NULL AND last_seen < $2";
        let mut write = self.write("touch_agent").await?;
        write.execute(SQL, values![boot, now]).await?;
        write.commit_quietly().await
    }

    /// Grants every agent its full time to call again, from `now` on: while there was no server,
    /// none could be heard of.
    pub async fn excuse_agents(&self, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE boot SET last_seen = $1 WHERE session IS NOT NULL";
        let mut write = self.write("excuse_agents").await?;
        write.execute(SQL, values![now]).await?;
        write.commit_quietly().await
    }

    /// Writes down how an intent of the agent ended, with what it has found out, and wakes the node. Does
    /// nothing unless the intent is still pending and the boot is the node's present one. What comes next is
    /// decided by `decide`, if nobody has the node.
    pub async fn agent_outcome(
        &self,
        boot: BootId,
        (key, outcome): (&IntentKey, &Outcome),
        learned: Learned<'_>,
        now: Timestamp,
        decide: Option<Decide<'_>>,
    ) -> Result<Reported, Error> {
        const SEEN: &str = "UPDATE boot SET last_seen = $2 WHERE id = $1 AND session IS NOT NULL";
        let mut write = self.write("agent_outcome").await?;
        let Some((node, claim)) = wake_present(&mut write, boot, decide.is_some(), now).await?
        else {
            write.roll_back().await?;
            return Ok(Reported::Unasked);
        };
        let open = write.execute(SEEN, values![boot, now]).await? > 0
            && intents::close(&mut write, node, key, Executor::Agent, outcome, now)
                .await?
                .is_some();
        if !open {
            write.roll_back().await?;
            return Ok(Reported::Unasked);
        }
        match learned {
            Learned::Nothing => {}
            Learned::Inventory(inventory) => set_inventory(&mut write, node, inventory).await?,
            Learned::Kernel(image, kernel) => {
                kexec::learn_kernel(&mut write, image, kernel).await?;
            }
        }
        let decided = match claim.zip(decide) {
            Some((claim, decide)) => passing::decide(&mut write, claim, decide, now).await?,
            None => None,
        };
        write.commit().await?;
        Ok(match decided {
            Some((node, intent)) => Reported::Decided(Box::new(node), intent),
            None => Reported::Noted,
        })
    }

    /// Notes that a server's OS has said that it is up, and wakes its node. Returns false, and
    /// does nothing, unless its node serves this server in this generation.
    pub async fn os_up(
        &self,
        server: ServerId,
        generation: Generation,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE node SET os_up = $2, news = news + 1,
            due_at = CASE WHEN due_at < $3 THEN due_at ELSE $3 END
            WHERE server = $1 AND generation = $2 AND goal_kind = 'deployed'";
        let mut write = self.write("os_up").await?;
        let values = values![server, generation, now];
        if write.execute(SQL, values).await? == 0 {
            write.roll_back().await?;
            return Ok(false);
        }
        write.commit().await?;
        Ok(true)
    }
}

/// Wakes and locks the node whose present boot this is. If `take` says so and nobody has it, it is held by
/// the claim that comes with it.
async fn wake_present(
    write: &mut Write,
    boot: BootId,
    take: bool,
    now: Timestamp,
) -> Result<Option<(NodeId, Option<Claim>)>, Error> {
    // The state is that under the lock: the node may have moved on to another boot just now.
    const SQL: &str = "UPDATE node SET news = news + 1,
        due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END,
        fence = CASE WHEN lease_until < $3 THEN fence + 1 ELSE fence END,
        owner = CASE WHEN lease_until < $3 THEN $4 ELSE owner END
        WHERE id = (SELECT boot.node FROM boot WHERE boot.id = $1)
        RETURNING id, state, fence, owner";
    let free_before = if take { now.as_millisecond() } else { i64::MIN };
    let values = values![boot, now, free_before, IN_PASSING];
    let Some(row) = write.row(SQL, values).await? else {
        return Ok(None);
    };
    let (node, state): (NodeId, NodeState) = (row.parsed("id")?, row.json("state")?);
    let fence = row.integer("fence")?;
    let taken = row.optional_text("owner")?.as_deref() == Some(IN_PASSING);
    let claim = taken.then_some(Claim { node, fence });
    Ok((state.boot(node) == boot).then_some((node, claim)))
}

/// What has been carried out on a node has seen to it that its management controller holds no medium any more,
/// if it is such an action.
pub(crate) async fn medium_left_by(
    write: &mut Write,
    node: NodeId,
    action: &Action,
    outcome: &Outcome,
) -> Result<(), Error> {
    const EJECTED: &str =
        "UPDATE boot SET media_inserted = 0 WHERE node = $1 AND media_inserted <> 0";
    if action.ejects_medium() && *outcome == Outcome::Done {
        write.execute(EJECTED, values![node]).await?;
    }
    Ok(())
}

/// Waits for this write's turn to choose an address; how many had theirs before.
async fn take_turn(write: &mut Write) -> Result<i64, Error> {
    let row = write.row(TAKE_TURNS, values![]).await?;
    let turns = row.map_or(Ok(1), |row| row.integer("value"))?;
    Ok(turns - 1)
}

/// An address of the pool that no boot has: each turn looks from another one on, so that the first one
/// looked at is free more often than not, and an address that was given up rests for a while.
async fn next_free(
    write: &mut Write,
    turn: i64,
    pool: &RangeInclusive<Ipv4Addr>,
    pool_name: &str,
) -> Result<Ipv4Addr, Error> {
    const HAS: &str = "SELECT 1 AS taken FROM boot WHERE address = $1";
    const LOWEST: &str = "SELECT MIN(candidate) AS lowest FROM (
        SELECT $1 AS candidate
        UNION SELECT address + 1 FROM boot WHERE address >= $1 AND address < $2) AS candidates
        WHERE candidate <= $2 AND NOT EXISTS (SELECT 1 FROM boot WHERE address = candidate)";
    let (first, last) = (*pool.start(), *pool.end());
    let size = i64::from(u32::from(last).saturating_sub(u32::from(first))) + 1;
    let begin = u32::try_from(turn.rem_euclid(size)).unwrap_or(0);
    let begin = Ipv4Addr::from(u32::from(first).saturating_add(begin));
    if write.row(HAS, values![begin]).await?.is_none() {
        return Ok(begin);
    }
    for from in [begin, first] {
        let row = write.row(LOWEST, values![from, last]).await?;
        let lowest = row.map_or(Ok(None), |row| row.optional_number::<u32>("lowest"))?;
        if let Some(lowest) = lowest {
            return Ok(Ipv4Addr::from(lowest));
        }
    }
    Err(Error::Exhausted {
        what: "address",
        pool: pool_name.to_owned(),
    })
}

fn boot_record(row: &Row) -> Result<BootRecord, Error> {
    Ok(BootRecord {
        boot: row.parsed("id")?,
        node: row.parsed("node")?,
        mac: row.parsed("mac")?,
        address: Ipv4Addr::from(row.number::<u32>("address")?),
        used: row.optional_text("session")?.is_some(),
        method: row.name("method")?,
        media_inserted: row.integer("media_inserted")? != 0,
        relay: row.optional_json("relay")?,
    })
}
