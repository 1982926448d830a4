//! Writes that wait for the disk together.
//!
//! A commit writes whole pages to the log and waits for the disk, which costs several times what its
//! statements do. So a write that has ended while others queue for the one connection that writes stays in
//! the open transaction (<https://www.sqlite.org/lang_savepoint.html>) and hands the connection on. What
//! has gathered when the queue has passed is committed at once, for all of it: the more there is to do, the
//! less each costs. A write that is alone is committed by itself, at once.
//!
//! Nobody hears that anything is written before it is on the disk; nor does who has found, in the same
//! transaction, that there is nothing to write because somebody else has just written it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::pool::{Lent, Opening, Pool};
use super::session::{Session, SqliteRow};
use crate::Error;
use crate::value::Value;

/// From one try to begin a write to the next, while another process writes.
const BEGIN_AGAIN: Duration = Duration::from_millis(5);

/// The connection that writes, and the queue for it.
pub(super) struct Writer {
    pool: Pool,
    queue: AtomicUsize,
    patience: Duration,
}

/// A place in the queue.
struct Queued<'w>(&'w AtomicUsize);

impl<'w> Queued<'w> {
    fn by(writer: &'w Writer) -> Self {
        writer.queue.fetch_add(1, Ordering::Relaxed);
        Self(&writer.queue)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Writer {
    /// Opens the connection, so that a file that cannot be opened is told at once.
    pub(super) fn open(opening: Opening, patience: Duration) -> Result<Self, rusqlite::Error> {
        let pool = Pool::new(opening, 1);
        pool.open_one()?;
        Ok(Self {
            pool,
            queue: AtomicUsize::new(0),
            patience,
        })
    }

    /// The connection, for reading one row, if nobody writes at this moment: nothing that others write
    /// has emptied its cache.
    pub(super) fn idle(&self) -> Result<Option<Lent>, rusqlite::Error> {
        let lent = self.pool.idle()?;
        // An open transaction, such as a batch's, has what is not on the disk yet.
        Ok(lent.filter(|lent| lent.is_over()))
    }

    /// Begins a write, with the write lock of the file.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<SqliteTransaction, Error> {
        let queued = Queued::by(self);
        let mut lent = self.pool.lend(self.patience).await?;
        drop(queued);
        let joined = !lent.batch.is_empty();
        match joined {
            true => lent.execute("SAVEPOINT one", Vec::new()).map(drop)?,
            false => self.begin_immediate(&mut lent).await?,
        }
        Ok(SqliteTransaction {
            lent,
            writer: Some(self.clone()),
            joined,
            ended: false,
        })
    }

    /// For another process's write lock we wait without holding up the thread.
    async fn begin_immediate(&self, lent: &mut Lent) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match lent.execute("BEGIN IMMEDIATE", Vec::new()) {
                Err(error) if is_busy(&error) && begun.elapsed() < self.patience => {
                    sleep(BEGIN_AGAIN).await;
                }
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    fn others_wait(&self) -> bool {
        self.queue.load(Ordering::Relaxed) > 0
    }

    /// Commits what is gathered by those who are in the queue at this moment.
    fn commit_after_queue(self: &Arc<Self>) {
        let writer = self.clone();
        tokio::spawn(async move {
            if let Ok(mut lent) = writer.pool.wait().await {
                // Those who wait are told in there.
                wait_for_disk(move || lent.commit_batch()).await.ok();
            }
        });
    }

    /// Waits for what is under way, and closes the connection.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Runs what waits for the disk, and holds up no other task.
///
/// A thread that has others to run hands them to a second one and waits itself, so that nobody has to be woken
/// when the disk is done. An error if the runtime ends before it has begun.
async fn wait_for_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, sqlx::Error> {
    #[allow(
        clippy::disallowed_methods,
        reason = "it is only called where there are threads to hand over to"
    )]
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => Ok(block_in_place(work)),
        _ => spawn_blocking(work)
            .await
            .map_err(|_| sqlx::Error::PoolClosed),
    }
}

/// `SQLITE_BUSY`: another process holds what is needed.
fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// Those whose writes have ended in a connection's open transaction, and who wait for the disk.
#[derive(Default)]
pub(super) struct Batch(Vec<oneshot::Sender<Result<(), rusqlite::Error>>>);

/// A place in a batch.
struct Told(oneshot::Receiver<Result<(), rusqlite::Error>>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn join(&mut self) -> Told {
        let (tell, told) = oneshot::channel();
        self.0.push(tell);
        Told(told)
    }

    /// Tells all what became of their transaction, which is over.
    pub(super) fn tell(&mut self, outcome: Result<(), &rusqlite::Error>) {
        for waiting in self.0.drain(..) {
            // Whoever has stopped waiting is told nothing.
            waiting.send(outcome.map_err(again)).ok();
        }
    }
}

impl Told {
    async fn told(self) -> Result<(), Error> {
        match self.0.await {
            Ok(outcome) => Ok(outcome?),
            // The runtime ends, and nothing was committed.
            Err(_) => Err(sqlx::Error::PoolClosed.into()),
        }
    }
}

/// The same error, for one more who has it.
fn again(error: &rusqlite::Error) -> rusqlite::Error {
    let code = error.sqlite_error().copied();
    let code = code.unwrap_or(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR));
    rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
}

/// An open transaction, or what is as good as one in a batch. Dropping it rolls it back.
pub(crate) struct SqliteTransaction {
    lent: Lent,
    /// None of one that only reads.
    writer: Option<Arc<Writer>>,
    /// Whether what others have written is in the same transaction of the database.
    joined: bool,
    /// Whether what it wrote is undone, or part of a batch.
    ended: bool,
}

impl SqliteTransaction {
    /// One that reads.
    pub(super) fn snapshot(mut lent: Lent) -> Result<Self, rusqlite::Error> {
        lent.execute("BEGIN", Vec::new())?;
        Ok(Self {
            lent,
            writer: None,
            joined: false,
            ended: false,
        })
    }

    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, rusqlite::Error> {
        self.lent.execute(sql, values)
    }

    pub(crate) fn rows(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, rusqlite::Error> {
        self.lent.rows(sql, values)
    }

    /// Returns once what was written is on the disk.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self.writer.clone() {
            Some(writer) if self.joined || writer.others_wait() => self.commit_with(&writer).await,
            _ => self.commit_alone().await,
        }
    }

    async fn commit_alone(mut self) -> Result<(), Error> {
        let committed = wait_for_disk(move || self.lent.execute("COMMIT", Vec::new()));
        Ok(committed.await?.map(drop)?)
    }

    /// With what has gathered before, which somebody is going to commit, or as the first of a batch.
    async fn commit_with(mut self, writer: &Arc<Writer>) -> Result<(), Error> {
        if self.joined {
            self.lent.execute("RELEASE one", Vec::new())?;
        }
        let told = self.end_in_batch();
        if !self.joined {
            writer.commit_after_queue();
        }
        drop(self);
        told.told().await
    }

    pub(crate) async fn roll_back(mut self) -> Result<(), Error> {
        self.undo()?;
        let told = (!self.lent.batch.is_empty()).then(|| self.end_in_batch());
        drop(self);
        match told {
            Some(told) => told.told().await,
            None => Ok(()),
        }
    }

    fn end_in_batch(&mut self) -> Told {
        self.ended = true;
        self.lent.batch.join()
    }

    fn undo(&mut self) -> Result<(), rusqlite::Error> {
        self.ended = true;
        match self.joined {
            true => self.lent.undo_one(),
            false => self.lent.roll_back(),
        }
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if !self.ended {
            // If even that fails, the connection's next transaction does, and says so.
            self.undo().ok();
        }
    }
}

impl Session {
    /// Undoes what was written since the last savepoint; that of who has ended is kept.
    fn undo_one(&mut self) -> Result<(), rusqlite::Error> {
        // Some errors have undone everything already.
        if self.is_over() {
            return Ok(());
        }
        self.execute("ROLLBACK TO one", Vec::new())?;
        self.execute("RELEASE one", Vec::new()).map(drop)
    }

    /// Commits what has been gathered, and tells whom it concerns. Nothing if that has happened already.
    pub(super) fn commit_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let committed = self.execute("COMMIT", Vec::new());
        if committed.is_err() {
            self.roll_back().ok();
        }
        self.batch.tell(committed.as_ref().map(drop));
    }
}

#[cfg(test)]
mod tests;
