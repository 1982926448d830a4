//! The store as a handle, and how every write reaches the disk: past the gate, and on to whoever
//! waits for news.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bessemer_tasks::Supervisor;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Error;
use crate::audit::{self, InTransaction, Outcomes};
use crate::database::{Database, Transaction};
use crate::open::{self, Location};
use crate::records::{Claim, Commit};
use crate::tokens::KnownTokens;
use crate::wake::{Note, Others};

/// The whole memory of Bessemer. Cheap to clone; clones share their connections.
///
/// Times are passed in as `now`, never read from a clock in here. Every method that writes does
/// so in one transaction and holds none open across anything but SQL.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    database: Database,
    options: StoreOptions,
    news: watch::Sender<u64>,
    others: Option<Others>,
    outcomes: Arc<Outcomes>,
    known_tokens: KnownTokens,
    commits: AtomicU64,
    /// End with this value.
    _tasks: JoinSet<()>,
}

/// How a store is opened.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Called around every commit; for crash tests. See [`Gate`].
    pub gate: Option<Gate>,
    /// Called around every commit, too; for tests of outages. See [`Outages`].
    pub outages: Option<Outages>,
    /// Called with every decision about a node before it is committed. See [`Witness`].
    pub witness: Option<Witness>,
    /// Who keeps the store's own tasks going.
    pub supervisor: Supervisor,
}

/// Stops a server exactly at a commit point, the way `kill -9` would.
///
/// It is called before and after every write transaction commits. When it returns false the
/// method that was committing never returns: before the commit its transaction is rolled back, as
/// a database does for a client that died; after the commit it stands. A test then drops the
/// whole server and starts another one on the same database. To be dead for good, a gate goes on
/// returning false once it has done so.
pub type Gate = Arc<dyn Fn(GatePoint) -> bool + Send + Sync>;

/// Takes the database away at a commit point, the way a broken connection would.
///
/// It is called where a [`Gate`] is. When it returns true, the method that is committing fails: before
/// the commit, nothing is written; after it, all is, and whoever committed does not know. It is also
/// called before each read of an embedded database, which then fails: what is asked for over a
/// connection fails in tests when that is cut.
pub type Outages = Arc<dyn Fn(GatePoint) -> bool + Send + Sync>;

/// Looks at what a conductor has decided about a node just before that is committed, while the node is
/// still locked: what is true of the machine at this moment is what the decision must be right about.
pub type Witness = Arc<dyn Fn(Claim, &Commit) + Send + Sync>;

/// A moment at which a server can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatePoint {
    /// The method that commits, such as `commit` or `place`; `read` before a read.
    pub name: &'static str,
    /// Which side of the commit, if it is one.
    pub when: When,
}

/// A side of a commit, or a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Something is about to be read outside of a transaction that writes.
    Reading,
    /// Nothing of it is in the database yet.
    Before,
    /// All of it is.
    After,
}

impl Store {
    /// Opens the database, making or upgrading its schema.
    ///
    /// [`Error::Setup`] if it cannot be opened, or was made by a newer version.
    pub async fn open(location: &Location, options: StoreOptions) -> Result<Self, Error> {
        let database = open::open(location, options.outages.clone()).await?;
        let news = watch::Sender::new(0);
        let supervisor = options.supervisor.clone();
        let others = match &database {
            Database::Sqlite(_) => None,
            Database::Postgres(database) => {
                Some(Others::on(database, news.clone(), supervisor.clone()))
            }
        };
        let inner = Arc::new_cyclic(|inner| {
            let outcomes = Arc::new(Outcomes::default());
            let mut tasks = JoinSet::new();
            let (own, store) = (outcomes.clone(), Weak::clone(inner));
            tasks.spawn(async move {
                let start = || audit::keep_writing(own.clone(), store.clone());
                supervisor.keep("writing the audit trail", start).await;
            });
            Inner {
                database,
                options,
                news,
                others,
                outcomes,
                known_tokens: KnownTokens::default(),
                commits: AtomicU64::new(0),
                _tasks: tasks,
            }
        });
        Ok(Self { inner })
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Rises with every write that somebody may be waiting for, of this server or another one. What has changed
    /// is to be read from the store: a wake-up carries nothing.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Finishes what is running and closes every connection.
    pub async fn close(&self) {
        self.write_last_outcomes().await;
        self.inner.database.close().await;
    }

    /// Waits while the database is known to be away ([`Error::Away`]), for `limit` at most.
    pub async fn back_within(&self, limit: Duration) {
        if let Database::Postgres(database) = self.database() {
            // Either way it is tried again.
            let _ = timeout(limit, database.back()).await;
        }
    }

    /// Waits until the database has come back more than `seen` times; how often it has. An embedded
    /// database never goes.
    pub async fn comeback_after(&self, seen: u64) -> u64 {
        match self.database() {
            Database::Sqlite(_) => std::future::pending().await,
            Database::Postgres(database) => database.comeback_after(seen).await,
        }
    }

    /// Transactions that have been committed through this store since it was opened.
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// For how long the database has been away; `None` while it is there.
    pub fn away_for(&self) -> Option<Duration> {
        match self.database() {
            Database::Sqlite(_) => None,
            Database::Postgres(database) => database.away_for(),
        }
    }

    /// How many connections to a database of its own processes are at work at this moment. None of an
    /// embedded one, whose work is this process's own.
    pub fn connections_in_use(&self) -> u32 {
        match self.database() {
            Database::Sqlite(_) => 0,
            Database::Postgres(database) => database.connections_in_use(),
        }
    }

    pub(crate) fn others(&self) -> Option<&Others> {
        self.inner.others.as_ref()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn known_tokens(&self) -> &KnownTokens {
        &self.inner.known_tokens
    }

    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.inner.outcomes
    }

    /// Begins a write; `name` is its gate point.
    pub(crate) async fn write(&self, name: &'static str) -> Result<Write, Error> {
        Ok(Write {
            transaction: self.inner.database.begin().await?,
            inner: self.inner.clone(),
            name,
        })
    }
}

/// A transaction that writes. Dropping it rolls it back.
///
/// On PostgreSQL, rows are locked in one order, so that no two writes wait for each other: the
/// `network` counter, then the `switch` counter and switches by name, then subnets by id, or the
/// `boot_address` counter; then the node (of several, by id), the server, and whatever belongs to them; then rows of
/// `local_network` by switch and network, and of `switch_tunnels` by switch; and last the counters
/// `address_history`, `event` and `audit`.
pub(crate) struct Write {
    transaction: Transaction,
    inner: Arc<Inner>,
    name: &'static str,
}

impl Write {
    /// Commits, and wakes those who wait for news.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        let inner = self.inner.clone();
        self.commit_quietly().await?;
        inner.news.send_modify(|count| *count += 1);
        if let Some(others) = &inner.others {
            others.note(Note::News);
        }
        Ok(())
    }

    /// Commits something that nobody waits for.
    pub(crate) async fn commit_quietly(mut self) -> Result<(), Error> {
        let asked = InTransaction::begin(&mut self.transaction).await?;
        let point = |when| GatePoint {
            name: self.name,
            when,
        };
        if !self.inner.lets_pass(point(When::Before)) {
            // A dead client does not learn whether this worked.
            self.transaction.roll_back().await.ok();
            return std::future::pending().await;
        }
        if self.inner.is_away(point(When::Before)) {
            self.transaction.roll_back().await.ok();
            return Err(lost());
        }
        self.transaction.commit().await?;
        self.inner.commits.fetch_add(1, Ordering::Relaxed);
        if let Some(asked) = asked {
            asked.committed();
        }
        if !self.inner.lets_pass(point(When::After)) {
            return std::future::pending().await;
        }
        if self.inner.is_away(point(When::After)) {
            return Err(lost());
        }
        Ok(())
    }

    /// Shows what is about to be committed.
    pub(crate) fn show(&self, claim: Claim, commit: &Commit) {
        if let Some(witness) = &self.inner.options.witness {
            witness(claim, commit);
        }
    }

    /// Undoes everything, for a caller that found out half-way that nothing is to be written.
    pub(crate) async fn roll_back(self) -> Result<(), Error> {
        self.transaction.roll_back().await
    }
}

impl Inner {
    fn lets_pass(&self, point: GatePoint) -> bool {
        self.options.gate.as_ref().is_none_or(|gate| gate(point))
    }

    fn is_away(&self, point: GatePoint) -> bool {
        let outages = self.options.outages.as_ref();
        outages.is_some_and(|outages| outages(point))
    }
}

/// What a connection that breaks in the middle of a commit looks like.
fn lost() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    sqlx::Error::Io(source).into()
}

impl Deref for Write {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Transaction {
        &mut self.transaction
    }
}
