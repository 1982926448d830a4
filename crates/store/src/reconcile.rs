//! How a node is moved: claim it (`claims`), read all about it, act with no transaction open, commit.
//!
//! Beside the fence of a claim, a number `news` rises with everything that is written about the node by
//! others while it is being worked on; a commit that has not seen the latest news leaves the node due
//! at once, so that no wake-up is slept over.

use bessemer_core::Timestamp;
use bessemer_core::id::{Generation, NodeId, ProjectId, ServerId};
use bessemer_core::lifecycle::{
    Action, Cleanliness, Executor, IntentKey, NodeState, Observed, Outcome, Phase, Step,
};

use crate::Error;
use crate::addresses;
use crate::boots;
use crate::database::{Row, Transaction};
use crate::events::{about_server, append};
use crate::intents::{self, select_node_and_intent};
use crate::kexec;
use crate::nodes::node_record;
use crate::overlay;
use crate::powers;
use crate::records::{Claim, Commit, NewEvent, NodeRecord, Work};
use crate::standby;
use crate::store::{Store, Write};
use crate::value::{due, json, values};

/// States that are kept of each node, and as many more as come until they are looked through again.
const HISTORY_KEPT: i64 = 1000;

/// How many states later what is too old is deleted.
const HISTORY_PRUNED_EVERY: i64 = 50;

impl Store {
    /// All that a reconcile needs to know about a claimed node, as of one moment.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now.
    pub async fn work(&self, claim: Claim) -> Result<Work, Error> {
        let mut read = self.database().snapshot().await?;
        let work = read_work(&mut read, claim).await?;
        read.roll_back().await?;
        Ok(work)
    }

    /// Writes down how an intent of the conductor ended, unless it is no longer pending, in which
    /// power state that leaves the machine, and what there is to tell about it: who sees that it
    /// ended finds the events. So it does no harm to write it down again when it is not known
    /// whether that has worked.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now.
    pub async fn record_outcome(
        &self,
        claim: Claim,
        key: &IntentKey,
        outcome: &Outcome,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), Error> {
        // Proves the claim and locks the node, so that nobody can claim it before the commit.
        const HOLD: &str = "UPDATE node SET owner = owner
            WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
        let mut write = self.write("record_outcome").await?;
        let held = write
            .execute(HOLD, values![claim.node, claim.fence])
            .await?;
        if held == 0 {
            return Err(Error::LeaseLost);
        }
        if end_intent(&mut write, claim, (key, outcome), now).await? {
            append(&mut write, events, now).await?;
        }
        write.commit().await
    }

    /// Stores what one reconcile decided, with all that follows from it, and gives the node back.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now; nothing is changed then.
    pub async fn commit(&self, claim: Claim, commit: Commit, now: Timestamp) -> Result<(), Error> {
        let turn = Turn {
            commit,
            ended: None,
            foreseen: false,
            keep_ms: None,
        };
        self.commit_turn(claim, &turn, now).await.map(drop)
    }

    /// The same together with how the intent ended that was carried out before, and perhaps without
    /// giving the node back.
    ///
    /// [`Error::LeaseLost`] if another worker has the node by now; nothing is changed then.
    pub async fn commit_turn(
        &self,
        claim: Claim,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let mut write = self.write("commit").await?;
        let committed = store_turn(&mut write, claim, turn, now).await?;
        match committed {
            Committed::Overtaken | Committed::Outdated => write.roll_back().await?,
            Committed::GivenBack | Committed::Kept(_) => write.commit().await?,
        }
        Ok(committed)
    }
}

/// What one turn of the conductor changes.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What was decided.
    pub commit: Commit,
    /// The intent that was carried out before, on whose outcome the decision rests.
    pub ended: Option<Ended>,
    /// Whether it rests on what was read before that was carried out: then it only counts if there have
    /// been no news since.
    pub foreseen: bool,
    /// Keep the node for so many milliseconds from now on, under a new fence; otherwise it is given
    /// back.
    pub keep_ms: Option<i64>,
}

/// How an intent of the conductor ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which one.
    pub key: IntentKey,
    /// What it was to do.
    pub action: Action,
    /// How.
    pub outcome: Outcome,
    /// What there is to tell about it.
    pub events: Vec<NewEvent>,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is stored, and the node can be claimed again once it is due.
    GivenBack,
    /// It is stored, and this claim holds the node on. The one before is used up.
    Kept(Claim),
    /// Nothing is stored, and the node is still held: the intent that has ended is not the one that is
    /// open any more, so the decision rests on what does not count.
    Overtaken,
    /// Nothing is stored, and the node is still held: there are news that the decision does not know of.
    Outdated,
}

impl Work {
    /// Takes in how an intent ended, as if that had been stored already. Whether it counts: not if
    /// another one has been opened meanwhile.
    pub fn take_in(&mut self, ended: &Ended) -> bool {
        let Some((key, outcome)) = &mut self.seen.intent else {
            return false;
        };
        if *key != ended.key || *outcome != Outcome::Pending {
            return false;
        }
        *outcome = ended.outcome.clone();
        self.intent = None;
        if let Some(power) = powers::left_in(&ended.action, &ended.outcome) {
            self.node.power = power;
            self.seen.switched_on = false;
        }
        true
    }

    /// What this is once `commit`, which was decided on it, is stored, if there is something for the
    /// conductor to do then; it holds for as long as there are no other news. `None` if it is to be read:
    /// with the phase, more changes than the state.
    pub fn after(self, commit: Commit) -> Option<Self> {
        let Commit {
            before,
            next,
            intent,
            ..
        } = commit;
        let intent = intent.filter(|intent| intent.action.executor() == Executor::Conductor)?;
        if next.phase != before.phase || next.at_rest() || commit.kexec.is_some() {
            return None;
        }
        let os_up = self
            .seen
            .os_up
            .filter(|_| !has_switched_off(&before, &next));
        Some(Self {
            seen: Observed {
                intent: Some((intent.key.clone(), Outcome::Pending)),
                agent: self.seen.agent,
                os_up,
                kexec_failed: self.seen.kexec_failed,
                ..Observed::default()
            },
            node: NodeRecord {
                state: next,
                ..self.node
            },
            intent: Some(intent),
            news: self.news,
        })
    }
}

pub(crate) async fn read_work(read: &mut Transaction, claim: Claim) -> Result<Work, Error> {
    // Of agents, the one that has called, if its boot is still allowed.
    const SQL: &str = select_node_and_intent!(
        ", agent.id AS agent, agent.last_seen, agent.outdated",
        "LEFT JOIN boot AS agent ON agent.node = node.id AND agent.session IS NOT NULL \
         AND agent.last_seen IS NOT NULL \
         WHERE node.id = $1 AND node.fence = $2 AND node.owner IS NOT NULL"
    );
    let row = read.row(SQL, values![claim.node, claim.fence]).await?;
    let row = row.ok_or(Error::LeaseLost)?;
    let newest = intents::newest(&row)?;
    let agent = standby::agent_seen(&row)?;
    let mut node = node_record(&row)?;
    let inventory = node.inventory.as_deref();
    let kexec_failed = kexec::has_failed(read, &node.spec.goal, inventory).await?;
    node.spec.standby = standby::wanted(read, node.standby, inventory).await?;
    let pending = newest.clone().filter(|(intent, outcome)| {
        *outcome == Outcome::Pending && intent.action.executor() == Executor::Conductor
    });
    Ok(Work {
        node,
        seen: Observed {
            intent: newest.map(|(intent, outcome)| (intent.key, outcome)),
            agent,
            switched_on: row.integer("switched_on")? == 1,
            os_up: row.optional_number("os_up")?.map(Generation),
            kexec_failed,
            ..Observed::default()
        },
        intent: pending.map(|(intent, _)| intent),
        news: row.integer("news")?,
    })
}

/// Writes down what a turn decided, with all that follows from it. Nothing of it may be committed if it is
/// overtaken or outdated.
pub(crate) async fn store_turn(
    write: &mut Write,
    claim: Claim,
    turn: &Turn,
    now: Timestamp,
) -> Result<Committed, Error> {
    let Turn { commit, ended, .. } = turn;
    let Some(row) = store_state(write, claim, turn, now).await? else {
        return Ok(Committed::Outdated);
    };
    if let Some(ended) = ended
        && !end_intent(write, claim, (&ended.key, &ended.outcome), now).await?
    {
        return Ok(Committed::Overtaken);
    }
    write.show(claim, commit);
    let Commit { before, next, .. } = commit;
    let moved = has_moved(before, next);
    // What has ended was the only one that was pending.
    if ended.is_none() && (moved || commit.intent.is_some()) {
        intents::supersede(write, claim.node, now).await?;
    }
    if let Some(intent) = &commit.intent {
        intents::open(write, claim.node, intent, now).await?;
    }
    if moved {
        append_history(write, claim.node, next, now).await?;
    }
    if next.at_rest() {
        // No agent has business here any more: its address is free again.
        const END_BOOT: &str = "DELETE FROM boot WHERE node = $1";
        write.execute(END_BOOT, values![claim.node]).await?;
    }
    if let Some(worked) = commit.kexec {
        kexec::remember(write, claim.node, worked, now).await?;
    }
    let told = ended.iter().flat_map(|ended| &ended.events);
    let mut events: Vec<_> = told.chain(&commit.events).cloned().collect();
    if let Some(server) = row.optional_parsed("server")? {
        let event = match row.text("goal_kind")?.as_str() {
            "deployed" => server_runs(write, server, before, next, now).await?,
            _ => server_goes(write, server, next.phase, now).await?,
        };
        events.extend(event);
    }
    append(write, &events, now).await?;
    Ok(match turn.keep_ms {
        None => Committed::GivenBack,
        Some(_) => Committed::Kept(Claim {
            fence: claim.fence + 1,
            ..claim
        }),
    })
}

/// Closes an intent, with what it leaves behind; `false` if it is not open any more.
async fn end_intent(
    write: &mut Write,
    claim: Claim,
    (key, outcome): (&IntentKey, &Outcome),
    now: Timestamp,
) -> Result<bool, Error> {
    let executor = Executor::Conductor;
    let closed = intents::close(write, claim.node, key, executor, outcome, now).await?;
    let Some(action) = closed else {
        return Ok(false);
    };
    powers::left_by(write, claim, &action, outcome, now).await?;
    boots::medium_left_by(write, claim.node, &action, outcome).await?;
    Ok(true)
}

/// Stores a state; `$more` are columns that say parts of it for indexes, which are only written when they
/// change: an index costs as much to keep as the row.
macro_rules! store_state {
    ($more:literal) => {
        concat!(
            "UPDATE node SET state = $3, ",
            $more,
            "owner = CASE WHEN $7 > 0 THEN owner END, lease_until = $7, \
             fence = CASE WHEN $7 > 0 THEN fence + 1 ELSE fence END, \
             due_at = CASE WHEN news = $4 THEN $5 ELSE $6 END, \
             switched_on = CASE WHEN news = $4 THEN 0 ELSE switched_on END, \
             os_up = CASE WHEN $8 = 1 THEN NULL ELSE os_up END \
             WHERE id = $1 AND fence = $2 AND owner IS NOT NULL AND ($9 = 0 OR news = $4) \
             RETURNING server, goal_kind"
        )
    };
}

/// Stores the state and gives the lease back, or keeps it, if the claim still holds. `None` if there are
/// news that count.
async fn store_state(
    write: &mut Write,
    claim: Claim,
    turn: &Turn,
    now: Timestamp,
) -> Result<Option<Row>, Error> {
    const HELD: &str = "SELECT id FROM node WHERE id = $1 AND fence = $2 AND owner IS NOT NULL";
    // With a new fence, a look at the machine's power state that was begun before finds that somebody
    // has worked on the node since.
    const SQL: &str = store_state!("phase = $10, at_rest = $11, clean = $12, ");
    const WITHIN_PHASE: &str = store_state!("");
    let Commit {
        before,
        next,
        news,
        wake_at,
        ..
    } = &turn.commit;
    let lease_until = turn
        .keep_ms
        .map_or(0, |lease| now.as_millisecond().saturating_add(lease));
    let mut values = values![
        claim.node,
        claim.fence,
        json("state", next)?,
        *news,
        wake_at.map(due),
        now,
        lease_until,
        i64::from(has_switched_off(before, next)),
        i64::from(turn.foreseen),
    ];
    let listed = |state: &NodeState| {
        let clean = state.cleanliness == Cleanliness::Clean;
        (state.phase, state.at_rest(), clean)
    };
    let row = if listed(before) == listed(next) {
        write.row(WITHIN_PHASE, values).await?
    } else {
        let (phase, at_rest, clean) = listed(next);
        values.extend(values![phase.name(), at_rest, clean]);
        write.row(SQL, values).await?
    };
    if row.is_none() {
        let held = write.row(HELD, values![claim.node, claim.fence]).await?;
        held.ok_or(Error::LeaseLost)?;
    }
    Ok(row)
}

/// Whether the machine has just been seen off. What a system has said until then says nothing of the one
/// that the next attempt is going to start.
fn has_switched_off(before: &NodeState, next: &NodeState) -> bool {
    matches!(before.step, Step::PowerOff | Step::PowerDown) && before.step != next.step
}

/// Whether a commit is worth a line of history, and ends older intents.
fn has_moved(before: &NodeState, next: &NodeState) -> bool {
    let place = |state: &NodeState| {
        (
            state.generation,
            state.phase,
            state.attempt,
            state.step,
            state.tries,
        )
    };
    place(before) != place(next)
}

pub(crate) async fn append_history(
    write: &mut Write,
    node: NodeId,
    state: &NodeState,
    now: Timestamp,
) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO history (node, sequence, reached_at, state)
        VALUES ($1, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM history WHERE node = $1), $2, $3)
        RETURNING sequence";
    const PRUNE: &str = "DELETE FROM history WHERE node = $1 AND sequence <= $2";
    let state = json("state", state)?;
    let row = write.row(INSERT, values![node, now, state]).await?;
    let sequence = row.map_or(Ok(0), |row| row.integer("sequence"))?;
    if sequence % HISTORY_PRUNED_EVERY == 0 {
        let oldest = sequence - HISTORY_KEPT;
        write.execute(PRUNE, values![node, oldest]).await?;
    }
    Ok(())
}

/// What a node's move means for the server that is wanted on it.
async fn server_runs(
    write: &mut Write,
    server: ServerId,
    before: &NodeState,
    next: &NodeState,
    now: Timestamp,
) -> Result<Option<NewEvent>, Error> {
    const ACTIVE: &str = "UPDATE server SET active_at = COALESCE(active_at, $2) WHERE id = $1
        RETURNING name, project, node";
    if next.phase != Phase::Active || before.phase == Phase::Active {
        return Ok(None);
    }
    let row = write.row(ACTIVE, values![server, now]).await?;
    row.map(|row| happened(&row, server, "server.active", "is active"))
        .transpose()
}

/// What a node's phase means for the server that is given back.
async fn server_goes(
    write: &mut Write,
    server: ServerId,
    phase: Phase,
    now: Timestamp,
) -> Result<Option<NewEvent>, Error> {
    const GONE: &str = "DELETE FROM server WHERE id = $1 RETURNING name, project, node";
    const FREE: &str = "UPDATE node SET server = NULL WHERE server = $1";
    // In cleaning, the node is off and off the tenant's network: what is left of the server is data to
    // be erased. Where it is available, nothing of the server ever was: it was given back before the
    // node had moved for it, or the cleaning was begun while the server was still wanted.
    if !matches!(phase, Phase::Cleaning | Phase::Available) {
        return Ok(None);
    }
    write.execute(FREE, values![server]).await?;
    addresses::free_all(write, server, now).await?;
    overlay::leave(write, server, now).await?;
    let row = write.row(GONE, values![server]).await?;
    row.map(|row| happened(&row, server, "server.deleted", "is deleted"))
        .transpose()
}

fn happened(
    row: &Row,
    server: ServerId,
    kind: &'static str,
    what: &str,
) -> Result<NewEvent, Error> {
    let project: ProjectId = row.parsed("project")?;
    let message = format!("server `{}` {what}", row.text("name")?);
    Ok(about_server(
        kind,
        (row.parsed("node")?, server, project),
        message,
    ))
}
