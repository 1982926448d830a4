//! Waking the other servers on the same database.
//!
//! Servers on one PostgreSQL database share its work, so what one of them writes may be what another
//! waits for: a node that is due, a command for an agent that polls there, news for an event stream.
//! They tell each other by `NOTIFY`
//! (<https://www.postgresql.org/docs/current/sql-notify.html>), after the commit and many at a time:
//! in the transaction it would make all commits take turns. A wake-up carries nothing that is not in
//! the database, so one that gets lost costs the time until somebody looks anyway, and nothing else.
//! A SQLite file has one server, which wakes itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::id::NodeId;
use bessemer_tasks::Supervisor;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::Error;
use crate::postgres::Postgres;
use crate::store::Store;

/// Where servers tell each other.
const CHANNEL: &str = "bessemer_wake";

/// Wake-ups that wait to be told. More than these are as good as one.
const WAITING: usize = 1024;

/// Agents named in one message: PostgreSQL takes less than 8,000 bytes.
const AGENTS_IN_A_MESSAGE: usize = 100;

/// From one try to listen again to the next, while the database is away.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);

/// Something that another server may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A node has become due.
    NodesDue,
    /// There is a command for the agent of this node.
    Agent(NodeId),
}

/// What one server tells the others at a time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message {
    /// Who tells: everybody hears what they say themselves.
    from: Uuid,
    /// Somebody may wait for what was written.
    #[serde(default)]
    news: bool,
    #[serde(default)]
    nodes_due: bool,
    #[serde(default)]
    agents: BTreeSet<NodeId>,
}

/// What is told to the others: [`Store::news`], or more than that.
#[derive(Clone, Copy)]
pub(crate) enum Note {
    News,
    Wake(Wake),
}

/// The other servers on the same database.
pub(crate) struct Others {
    notes: mpsc::Sender<Note>,
    heard: broadcast::Sender<Wake>,
    /// End with this value.
    _tasks: JoinSet<()>,
}

impl Others {
    /// Begins to tell and to listen. What is heard of raises `news`.
    pub(crate) fn on(
        database: &Postgres,
        news: watch::Sender<u64>,
        supervisor: Supervisor,
    ) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let heard = broadcast::Sender::new(WAITING);
        let own = Uuid::new_v4();
        let mut tasks = JoinSet::new();
        let (told, keeper) = (database.clone(), supervisor.clone());
        tasks.spawn(async move {
            let start = || tell(told.clone(), own, waiting.clone());
            keeper.keep("waking other servers", start).await;
        });
        let (listened, passed_on) = (database.clone(), heard.clone());
        tasks.spawn(async move {
            let start = || listen(listened.clone(), own, passed_on.clone(), news.clone());
            let name = "the connection that listens to other servers";
            supervisor.keep(name, start).await;
        });
        Self {
            notes,
            heard,
            _tasks: tasks,
        }
    }

    /// Tells the others soon.
    pub(crate) fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            debug!("wake-ups are not told: too many wait, or the store is closing");
        }
    }

    /// What the others tell from now on.
    pub(crate) fn heard(&self) -> broadcast::Receiver<Wake> {
        self.heard.subscribe()
    }
}

impl Store {
    /// Wakes the other servers on this database. It is a hint and never waits: what it is about must
    /// have been committed before.
    pub fn wake_others(&self, wake: Wake) {
        if let Some(others) = self.others() {
            others.note(Note::Wake(wake));
        }
    }

    /// Whether there can be other servers on this database.
    pub fn has_others(&self) -> bool {
        self.others().is_some()
    }

    /// What other servers on this database wake us for; `None` where there can be none. Who lags
    /// behind takes it that everything was meant.
    pub fn woken(&self) -> Option<broadcast::Receiver<Wake>> {
        self.others().map(Others::heard)
    }
}

/// Tells what has come together since the last message.
async fn tell(database: Postgres, own: Uuid, waiting: Arc<Mutex<mpsc::Receiver<Note>>>) {
    let mut waiting = waiting.lock().await;
    let mut notes = Vec::new();
    while waiting.recv_many(&mut notes, AGENTS_IN_A_MESSAGE).await > 0 {
        let mut message = Message {
            from: own,
            ..Message::default()
        };
        for note in notes.drain(..) {
            match note {
                Note::News => message.news = true,
                Note::Wake(Wake::NodesDue) => message.nodes_due = true,
                Note::Wake(Wake::Agent(node)) => {
                    message.agents.insert(node);
                }
            }
        }
        if let Err(error) = notify(&database, &message).await {
            debug!(%error, "other servers are not woken; they look anyway");
        }
    }
}

async fn notify(database: &Postgres, message: &Message) -> Result<(), Box<dyn std::error::Error>> {
    let message = serde_json::to_string(message)?;
    let pool = database.pool();
    let notify = sqlx::query("SELECT pg_notify($1, $2)");
    let notify = notify.bind(CHANNEL).bind(message).execute(&pool);
    database.meanwhile(notify).await?;
    Ok(())
}

/// Hears what the others tell until the database is closed, and finds out for all whether it is there.
async fn listen(
    database: Postgres,
    own: Uuid,
    heard: broadcast::Sender<Wake>,
    news: watch::Sender<u64>,
) {
    let listener = Listener {
        database: &database,
        own,
        heard,
        news,
    };
    let (mut listening, mut missed) = (false, false);
    loop {
        let error = tokio::select! {
            () = database.closed() => return,
            error = listener.listen(missed, &mut listening) => error,
        };
        missed = true;
        // A connection alone may be cut: only one that cannot be had anew means that the database
        // is away.
        if std::mem::take(&mut listening) {
            debug!(%error, "listening again");
            continue;
        }
        match &error {
            Error::Away(why) => database.is_away(why),
            error => warn!(%error, "cannot hear other servers; trying again"),
        }
        tokio::select! {
            () = database.closed() => return,
            () = sleep(LISTEN_AGAIN) => {}
        }
    }
}

/// Who hears what the others tell.
struct Listener<'a> {
    database: &'a Postgres,
    own: Uuid,
    heard: broadcast::Sender<Wake>,
    news: watch::Sender<u64>,
}

impl Listener<'_> {
    /// Listens for as long as that works; why it does not any more. `listening` becomes true once it
    /// has begun. `missed`: what was told until then is lost, so everybody is woken.
    async fn listen(&self, missed: bool, listening: &mut bool) -> Error {
        let mut connection = match self.database.listener(CHANNEL).await {
            Ok(connection) => connection,
            Err(error) => return error,
        };
        *listening = true;
        self.database.is_back();
        if missed {
            self.pass_on(Message {
                news: true,
                nodes_due: true,
                ..Message::default()
            });
        }
        loop {
            let told = match self.database.next_told(&mut connection).await {
                Ok(told) => told,
                Err(error) => return error,
            };
            let message: Message = serde_json::from_str(&told).unwrap_or_default();
            if message.from != self.own {
                self.pass_on(message);
            }
        }
    }

    /// Wakes those in this server whom a message is for.
    fn pass_on(&self, message: Message) {
        if message.news {
            self.news.send_modify(|count| *count += 1);
        }
        let agents = message.agents.into_iter().map(Wake::Agent);
        for wake in agents.chain(message.nodes_due.then_some(Wake::NodesDue)) {
            // Nobody may be listening yet.
            let _ = self.heard.send(wake);
        }
    }
}
