//! Keeps the tasks of a server going.
//!
//! A server lives by tasks that never end: one watches ports, one looks at power states, one writes the
//! audit trail. A task that panics is over, and nobody is told unless somebody waits for it; whatever it
//! was there for is not done any more, until the next start. So every task that lasts runs under a
//! [`Supervisor`]: a panic is told at the level of errors, counted, and the task is started again, after
//! a pause that grows so that a fault which comes back at once does not keep a processor busy.
//!
//! A panic is always a fault of ours. What can be expected to go wrong is an error, and its task's own
//! to deal with.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// The pause before a task that has panicked is started again; doubled each time, up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A task that has run for this long has worked: its next pause is the first one again.
const WORKED: Duration = Duration::from_secs(600);

/// Catches panics, and starts tasks again that have ended by one. Clones share what they count.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    panics: AtomicU64,
    down: Mutex<BTreeMap<&'static str, usize>>,
}

/// What was done has panicked. Where, the process's panic hook has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl Supervisor {
    /// Does `work`, which `name` says to people. A panic in it is told and counted.
    ///
    /// What `work` shares with others has to bear the panic of its user: locks that are not poisoned by
    /// it, values that are whole at every moment.
    pub fn catch<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Panicked>> {
        // Not in the future of whoever waits: work may be large, and catches lie within each other.
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        async move { work.await.map_err(|_| self.panicked(name)) }
    }

    /// The same for what is done at once.
    pub fn catch_now<T>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T,
    ) -> Result<T, Panicked> {
        let done = std::panic::catch_unwind(AssertUnwindSafe(work));
        done.map_err(|_| self.panicked(name))
    }

    /// Counts a panic that was caught elsewhere.
    pub fn count(&self) {
        self.0.panics.fetch_add(1, Ordering::Relaxed);
    }

    fn panicked(&self, name: &'static str) -> Panicked {
        self.count();
        error!("{name} has panicked: this is a bug of Bessemer's, please report it");
        Panicked
    }

    /// Runs the task `name` until it returns, and starts it again whenever it panics.
    pub async fn keep<F>(&self, name: &'static str, start: impl FnMut() -> F)
    where
        F: Future<Output = ()>,
    {
        self.keep_until(&CancellationToken::new(), name, start)
            .await;
    }

    /// The same, but a task that has panicked is not started again after `stop`.
    pub async fn keep_until<F>(
        &self,
        stop: &CancellationToken,
        name: &'static str,
        mut start: impl FnMut() -> F,
    ) where
        F: Future<Output = ()>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            // What makes the task may panic as well as the task.
            let run = async { start().await };
            if self.catch(name, run).await.is_ok() || stop.is_cancelled() {
                return;
            }
            if began.elapsed() >= WORKED {
                pause = FIRST_PAUSE;
            }
            error!("{name} is started again in {} s", pause.as_secs());
            let down = Down::of(self, name);
            if timeout(pause, stop.cancelled()).await.is_ok() {
                return;
            }
            drop(down);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How often something has panicked.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    /// The names of the tasks that have panicked and wait to be started again.
    pub fn down(&self) -> Vec<&'static str> {
        self.0.down().keys().copied().collect()
    }
}

impl Shared {
    fn down(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // The map stays whole whatever happens to a holder of the lock.
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that is down for as long as this is there, however its pause ends.
struct Down<'a>(&'a Supervisor, &'static str);

impl<'a> Down<'a> {
    fn of(supervisor: &'a Supervisor, name: &'static str) -> Self {
        *supervisor.0.down().entry(name).or_default() += 1;
        Self(supervisor, name)
    }
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let mut down = self.0.0.down();
        if let Some(tasks) = down.get_mut(self.1) {
            *tasks -= 1;
            if *tasks == 0 {
                down.remove(self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_panics_is_counted_and_started_again() {
        let supervisor = Supervisor::default();
        let starts = AtomicU32::new(0);
        let task = supervisor.keep("a test", || async {
            assert_ne!(starts.fetch_add(1, Ordering::Relaxed), 0, "planted");
        });
        let began = Instant::now();
        task.await;
        assert_eq!(starts.load(Ordering::Relaxed), 2);
        assert_eq!(supervisor.panics(), 1);
        assert!(began.elapsed() >= FIRST_PAUSE, "it would spin");
        assert!(supervisor.down().is_empty(), "it is up again");
    }

    #[tokio::test]
    async fn what_waits_to_be_started_is_down_until_the_server_stops() {
        let supervisor = Supervisor::default();
        let (stop, began) = (CancellationToken::new(), Notify::new());
        let task = supervisor.keep_until(&stop, "a test", || async {
            began.notify_one();
            std::panic::panic_any("planted")
        });
        let stopping = async {
            began.notified().await;
            while supervisor.down() != ["a test"] {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::join!(task, stopping);
        assert_eq!(supervisor.panics(), 1, "it is not started again");
        assert!(supervisor.down().is_empty());
    }

    #[tokio::test]
    async fn what_is_done_once_says_how_it_ended() {
        let supervisor = Supervisor::default();
        assert_eq!(supervisor.catch("a test", async { 7 }).await, Ok(7));
        let broken = supervisor.catch("a test", async { std::panic::panic_any("planted") });
        assert_eq!(broken.await, Err::<(), _>(Panicked));
        assert_eq!(supervisor.panics(), 1);
    }
}
