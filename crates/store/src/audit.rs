//! The audit trail: who asked for what, when, from where, with which outcome.
//!
//! Nothing here changes or deletes a row. A request is written down in the very transaction in which
//! something is first written for it: what it changed and that it was asked for are there together, or
//! not at all. One that writes nothing is written down when it has ended. So each request costs no
//! commit of its own, and an entry without an outcome is one whose server died before it had noted the
//! answer: what was asked for may have been done.
//!
//! Outcomes of what was changed follow within [`GATHERING`], many in one commit. Numbers rise in the
//! order in which requests become visible, as those of events do.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bessemer_core::Timestamp;
use bessemer_core::id::{ProjectId, TokenId};
use bessemer_wire::api::{AuditEntry, AuditOutcome, Role};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::error;

use crate::Error;
use crate::database::{Numbered, Row, Transaction, numbered};
use crate::store::{Inner, Store};
use crate::value::{name, values};

/// How long outcomes are gathered before they are written down together.
const GATHERING: Duration = Duration::from_millis(20);

/// From one try to write outcomes down to the next, while the database is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Outcomes that wait for a database that is away. Those of requests after them are only logged.
const MOST_WAITING: usize = 10_000;

/// The longest that a store that is being closed waits for its outcomes.
const CLOSING: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The request that this task carries out.
    static CARRIED_OUT: Asked;
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct NewAuditRequest {
    /// As the answer and the log name it.
    pub request: String,
    /// When.
    pub at: Timestamp,
    /// The token that asks.
    pub token: TokenId,
    /// Its name.
    pub token_name: String,
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project: ProjectId,
    /// The method of HTTP.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Where the connection comes from.
    pub peer: Option<IpAddr>,
}

/// A request that is being carried out, and whether it is written down.
#[derive(Clone)]
pub struct Asked(Arc<AskedState>);

struct AskedState {
    request: NewAuditRequest,
    written: Mutex<Written>,
}

/// Whether a request is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Not,
    /// In a transaction that has not been committed yet.
    Underway,
    Down,
}

impl Asked {
    /// A request that is about to be carried out.
    pub fn new(request: NewAuditRequest) -> Self {
        Self(Arc::new(AskedState {
            request,
            written: Mutex::new(Written::Not),
        }))
    }

    /// Carries it out: what this future writes first has the request in its transaction.
    pub async fn carry_out<T>(&self, future: impl Future<Output = T>) -> T {
        CARRIED_OUT.scope(self.clone(), future).await
    }

    /// Whether it is known to be in the database.
    fn is_down(&self) -> bool {
        *self.written() == Written::Down
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // A plain value: whole whatever happens to a holder of the lock.
        let written = self.0.written.lock();
        written.unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> bool {
        let mut written = self.written();
        let ours = *written == Written::Not;
        if ours {
            *written = Written::Underway;
        }
        ours
    }
}

/// A request in the transaction in which something is first written for it.
pub(crate) struct InTransaction(Asked);

impl InTransaction {
    /// Writes the request that this task carries out into `transaction`, if it is not written down
    /// yet. The last thing before the commit: the numbers' row stays locked until then.
    pub(crate) async fn begin(transaction: &mut Transaction) -> Result<Option<Self>, Error> {
        let Ok(asked) = CARRIED_OUT.try_with(Asked::clone) else {
            return Ok(None);
        };
        if !asked.begin() {
            return Ok(None);
        }
        // From here on, dropping it takes it back.
        let within = Self(asked);
        insert_request(transaction, &within.0.0.request).await?;
        Ok(Some(within))
    }

    pub(crate) fn committed(self) {
        *self.0.written() = Written::Down;
    }
}

impl Drop for InTransaction {
    fn drop(&mut self) {
        let mut written = self.0.written();
        if *written == Written::Underway {
            *written = Written::Not;
        }
    }
}

/// Outcomes that are not written down yet.
#[derive(Default)]
pub(crate) struct Outcomes {
    waiting: Mutex<Vec<(Asked, AuditOutcome)>>,
    some: Notify,
    /// Held while they are written down.
    turn: tokio::sync::Mutex<()>,
}

impl Outcomes {
    fn waiting(&self) -> MutexGuard<'_, Vec<(Asked, AuditOutcome)>> {
        // A list is whole whatever happens to a holder of the lock.
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, asked: &Asked, outcome: AuditOutcome) {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST_WAITING {
            let request = &asked.0.request.request;
            error!("the outcome of request {request} is missing in the audit trail: {outcome:?}");
            return;
        }
        waiting.push((asked.clone(), outcome));
        drop(waiting);
        self.some.notify_one();
    }
}

/// Writes outcomes down as they come, for as long as the store is there.
pub(crate) async fn keep_writing(outcomes: Arc<Outcomes>, store: Weak<Inner>) {
    // Some may have been left behind by a task before this one.
    outcomes.some.notify_one();
    loop {
        outcomes.some.notified().await;
        sleep(GATHERING).await;
        let Some(store) = store.upgrade().map(Store::of) else {
            return;
        };
        if let Err(error) = store.write_outcomes().await {
            error!(%error, "the audit trail lacks outcomes: trying again in a second");
            drop(store);
            sleep(AGAIN).await;
        }
    }
}

impl Store {
    /// Writes down at once the request that this task carries out, if there is one: before something is
    /// done for it that is not in the database.
    pub async fn write_request_down(&self) -> Result<(), Error> {
        let write = self.write("audit_request").await?;
        write.commit_quietly().await
    }

    /// Notes what became of a request.
    ///
    /// If something was written for it, its outcome follows soon. If not, both are written down before this
    /// returns; on an error, neither is, and nothing was carried out.
    pub async fn audit_outcome(&self, asked: &Asked, outcome: AuditOutcome) -> Result<(), Error> {
        let request = &asked.0.request;
        if !asked.begin() {
            self.outcomes().add(asked, outcome);
            return Ok(());
        }
        let within = InTransaction(asked.clone());
        let mut write = self.write("audit_refusal").await?;
        insert_request(&mut write, request).await?;
        insert_outcome(&mut write, &request.request, &outcome).await?;
        write.commit_quietly().await?;
        within.committed();
        Ok(())
    }

    /// Notes what became of a request that nobody carries out any more. It is written down soon, and the
    /// request with it if that has not happened.
    pub fn audit_abandoned(&self, asked: &Asked, outcome: AuditOutcome) {
        self.outcomes().add(asked, outcome);
    }

    /// Writes down the outcomes that wait, in one commit.
    pub(crate) async fn write_outcomes(&self) -> Result<(), Error> {
        let outcomes = self.outcomes();
        let _turn = outcomes.turn.lock().await;
        // They stay in the list until they are committed, should this be dropped half-way.
        let waiting = outcomes.waiting().clone();
        if waiting.is_empty() {
            return Ok(());
        }
        let written = async {
            let mut write = self.write("audit_outcome").await?;
            for (asked, outcome) in &waiting {
                let request = &asked.0.request;
                if !asked.is_down() {
                    insert_request(&mut write, request).await?;
                }
                insert_outcome(&mut write, &request.request, outcome).await?;
            }
            write.commit_quietly().await
        };
        match written.await {
            Ok(()) => drop(outcomes.waiting().drain(..waiting.len())),
            Err(error) => {
                outcomes.some.notify_one();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The same when the store is closed: what does not get written is told.
    pub(crate) async fn write_last_outcomes(&self) {
        match timeout(CLOSING, self.write_outcomes()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the audit trail lacks its last outcomes"),
            Err(_) => error!("the audit trail lacks its last outcomes: the database is too slow"),
        }
    }

    /// At most `limit` entries after `sequence`, oldest first, with the outcomes of all that this server
    /// has answered.
    pub async fn audit_after(&self, sequence: i64, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        const SQL: &str =
            "SELECT sequence, audit_request.request, asked_at, token, token_name, role,
            project, method, path, peer, answered_at, status, problem, location
            FROM audit_request LEFT JOIN audit_outcome
            ON audit_outcome.request = audit_request.request
            WHERE sequence > $1 ORDER BY sequence LIMIT $2";
        self.write_outcomes().await?;
        let rows = self.database().rows(SQL, values![sequence, limit]);
        rows.await?.iter().map(entry).collect()
    }
}

async fn insert_request(
    transaction: &mut Transaction,
    request: &NewAuditRequest,
) -> Result<(), Error> {
    // Numbers become visible in order, as those of events do. It may be
    // there already, if whoever committed it was dropped before hearing of it; so may an outcome.
    const INSERT: Numbered = numbered!(
        "audit",
        "audit_request",
        "request, asked_at, token, token_name, role, project, method, path, peer",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9",
        "ON CONFLICT (request) DO NOTHING"
    );
    let values = values![
        &request.request,
        request.at,
        request.token,
        &request.token_name,
        name("role", &request.role)?,
        request.project,
        &request.method,
        &request.path,
        request.peer.map(|peer| peer.to_string())
    ];
    transaction.insert_numbered(&INSERT, values).await?;
    Ok(())
}

async fn insert_outcome(
    transaction: &mut Transaction,
    request: &str,
    outcome: &AuditOutcome,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO audit_outcome (request, answered_at, status, problem, location)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (request) DO NOTHING";
    let values = values![
        request,
        outcome.at,
        u32::from(outcome.status),
        outcome.problem.clone(),
        outcome.location.clone()
    ];
    transaction.execute(SQL, values).await?;
    Ok(())
}

fn entry(row: &Row) -> Result<AuditEntry, Error> {
    let outcome = row.optional_time("answered_at")?.map(|at| {
        Ok::<_, Error>(AuditOutcome {
            at,
            status: row.number("status")?,
            problem: row.optional_text("problem")?,
            location: row.optional_text("location")?,
        })
    });
    Ok(AuditEntry {
        sequence: row.integer("sequence")?,
        request: row.text("request")?,
        at: row.time("asked_at")?,
        token: row.parsed("token")?,
        token_name: row.text("token_name")?,
        role: row.name("role")?,
        project: row.parsed("project")?,
        method: row.text("method")?,
        path: row.text("path")?,
        peer: row.optional_parsed("peer")?,
        outcome: outcome.transpose()?,
    })
}
