//! PostgreSQL as a server that may be away for a while: it restarts, or another one takes over.
//!
//! A pool of connections alone lets everybody find that out by themselves, each for as long as its
//! patience lasts, and a server that has vanished without a word is waited for until the kernel
//! gives its connections up, a quarter of an hour later. So one connection, the one that listens
//! (`wake`), finds out for all: it is asked for a sign of life every few seconds, and while it is
//! lost everything fails at once with [`Error::Away`]. When it is back, there is a new pool, so that
//! nobody meets a connection of before.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::Error;

/// Connections per server process, of the hundred that PostgreSQL allows by default, besides the
/// one that listens.
const CONNECTIONS: u32 = 16;

/// How long a connection may be waited for while all are busy, and at the start while the database
/// starts, too.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest time that a connection may have been idle for to be used without being asked for a sign of
/// life.
const TRUSTED: Duration = Duration::from_secs(1);

/// The longest silence of the connection that listens until it is asked for a sign of life.
const BEAT: Duration = Duration::from_secs(5);

/// The longest that it may take to give one, and that a new connection may take. Nothing takes
/// nearly as long unless the other side is gone or stands still.
const BEAT_LIMIT: Duration = Duration::from_secs(10);

/// A PostgreSQL database. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Postgres {
    shared: Arc<Shared>,
}

struct Shared {
    options: PgConnectOptions,
    pool: RwLock<PgPool>,
    presence: watch::Sender<Presence>,
    /// Questions of the connection that listens, and its making, that wait for an answer.
    asked: AtomicU32,
}

/// Whether the database is there, as far as is known.
#[derive(Clone, Debug, Default)]
struct Presence {
    /// Since when it is not, and why.
    away: Option<(Instant, Arc<str>)>,
    /// How often it has come back.
    comebacks: u64,
    closed: bool,
}

impl Postgres {
    /// Connects, and waits for a database that is starting.
    pub(crate) async fn connect(options: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = pool_options().connect_with(options.clone()).await?;
        let shared = Shared {
            options,
            pool: RwLock::new(pool),
            presence: watch::Sender::default(),
            asked: AtomicU32::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How many connections are being made or used at this moment.
    pub(crate) fn connections_in_use(&self) -> u32 {
        let pool = self.pool();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        pool.size().saturating_sub(idle) + self.shared.asked.load(Ordering::Relaxed)
    }

    /// Waits for an answer of the connection that listens, or until it may be made anew.
    async fn answer<T>(&self, question: impl Future<Output = T>) -> Result<T, Elapsed> {
        let _asked = Asked::on(&self.shared.asked);
        timeout(BEAT_LIMIT, question).await
    }

    /// The connections of this moment: not to be kept.
    pub(crate) fn pool(&self) -> PgPool {
        let pool = self.shared.pool.read();
        pool.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does `work` for as long as the database is there.
    ///
    /// What is cut off may have been carried out, as when a connection breaks.
    pub(crate) async fn meanwhile<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error>
    where
        Error: From<E>,
    {
        tokio::select! {
            biased;
            why = self.away() => Err(Error::Away(why)),
            result = work => Ok(result?),
        }
    }

    /// Waits until the database is away; why it is.
    async fn away(&self) -> String {
        let mut presence = self.shared.presence.subscribe();
        let away = presence.wait_for(|presence| presence.away.is_some()).await;
        let why = away.ok().and_then(|presence| presence.away.clone());
        match why {
            Some((_, why)) => why.as_ref().to_owned(),
            None => std::future::pending().await,
        }
    }

    /// Waits until the database is not known to be away.
    pub(crate) async fn back(&self) {
        let mut presence = self.shared.presence.subscribe();
        // Its sender is in `self`: it cannot have gone.
        let _ = presence.wait_for(|presence| presence.away.is_none()).await;
    }

    /// Waits until the database has come back more often than `seen` times; how often it has.
    pub(crate) async fn comeback_after(&self, seen: u64) -> u64 {
        let mut presence = self.shared.presence.subscribe();
        let back = presence
            .wait_for(|presence| presence.comebacks > seen)
            .await;
        let comebacks = back.ok().map(|presence| presence.comebacks);
        match comebacks {
            Some(comebacks) => comebacks,
            None => std::future::pending().await,
        }
    }

    /// Whether the database is away, and for how long.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        let presence = self.shared.presence.borrow();
        presence.away.as_ref().map(|(since, _)| since.elapsed())
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&self) {
        let mut presence = self.shared.presence.subscribe();
        let _ = presence.wait_for(|presence| presence.closed).await;
    }

    /// Finishes what is running and closes every connection.
    pub(crate) async fn close(&self) {
        let closes = |presence: &mut Presence| presence.closed = true;
        self.shared.presence.send_modify(closes);
        let pool = self.pool();
        // A database that is away answers no goodbyes.
        tokio::select! {
            () = pool.close() => {}
            _ = self.away() => {}
        }
    }

    /// A connection of its own that hears what is told on `channel`.
    pub(crate) async fn listener(&self, channel: &str) -> Result<PgListener, Error> {
        let connecting = async {
            // A pool takes its time over a refused connection, and tells nothing of it meanwhile.
            let probe = PgConnection::connect_with(&self.shared.options).await?;
            probe.close().await?;
            let own = PgPoolOptions::new().max_connections(1);
            let own = own.connect_lazy_with(self.shared.options.clone());
            let mut listener = PgListener::connect_with(&own).await?;
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match self.answer(connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(no_sign()),
        }
    }

    /// Waits for the next thing that is told, for as long as there are signs of life.
    pub(crate) async fn next_told(&self, listener: &mut PgListener) -> Result<String, Error> {
        loop {
            match timeout(BEAT, listener.try_recv()).await {
                Ok(Ok(Some(told))) => return Ok(told.payload().to_owned()),
                Ok(Ok(None)) => return Err(Error::Away("it has closed the connection".into())),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => match self.answer(listener.execute("SELECT 1")).await {
                    Ok(alive) => {
                        alive?;
                    }
                    Err(_) => return Err(no_sign()),
                },
            }
        }
    }

    /// Lets everybody know that the database is away.
    pub(crate) fn is_away(&self, why: &str) {
        let goes = |presence: &mut Presence| {
            let is_new = presence.away.is_none();
            if is_new {
                presence.away = Some((Instant::now(), why.into()));
            }
            is_new
        };
        if self.shared.presence.send_if_modified(goes) {
            warn!("PostgreSQL is away ({why}); everything waits until it is back");
        }
    }

    /// Lets everybody know that the database is there.
    pub(crate) fn is_back(&self) {
        let Some(away) = self.away_for() else {
            return;
        };
        let fresh = pool_options().connect_lazy_with(self.shared.options.clone());
        let pool = self.shared.pool.write();
        let before = std::mem::replace(&mut *pool.unwrap_or_else(PoisonError::into_inner), fresh);
        // Its connections may hang in the air: nobody waits for their end.
        tokio::spawn(async move { before.close().await });
        self.shared.presence.send_modify(|presence| {
            presence.away = None;
            presence.comebacks += 1;
        });
        info!("PostgreSQL is back after {} s", away.as_secs());
    }
}

/// Counts one question for as long as it is there, however its wait ends.
struct Asked<'a>(&'a AtomicU32);

impl<'a> Asked<'a> {
    fn on(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn no_sign() -> Error {
    Error::Away(format!(
        "it gave no sign of life for {} s",
        BEAT_LIMIT.as_secs()
    ))
}

/// A connection that was used a moment ago is not asked whether it is there: that would double what a
/// single question takes, of the database's time, of ours and of everybody's who waits for a connection.
fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for > TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}
