//! Servers on one database wake each other.

use std::time::Duration;

use bessemer_core::id::NodeId;
use bessemer_store::{Error, Location, Store, StoreOptions, Wake};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use uuid::Uuid;

use crate::postgres::Cluster;
use crate::site::{Site, at, enroll};

/// The longest that a wake-up takes, on a busy machine, and until listening has begun.
const LIMIT: Duration = Duration::from_secs(60);

/// Wakes the others until `woken` hears of it: at first it may not be listening yet.
async fn until_heard(waker: &Store, wake: Wake, woken: &mut Receiver<Wake>) {
    let heard = async {
        loop {
            waker.wake_others(wake);
            if let Ok(heard) = timeout(Duration::from_millis(50), woken.recv()).await {
                assert_eq!(heard.unwrap(), wake);
                return;
            }
        }
    };
    timeout(LIMIT, heard).await.expect("is heard of");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_one_postgresql_database_wake_each_other() {
    let site = Site::postgres().await;
    let (one, other) = (site.open().await, site.open().await);
    let (mut one_woken, mut other_woken) = (one.woken().unwrap(), other.woken().unwrap());
    let agent = Wake::Agent(NodeId(Uuid::from_u128(7)));
    until_heard(&one, agent, &mut other_woken).await;
    until_heard(&other, Wake::NodesDue, &mut one_woken).await;
    // Nobody is woken by what they told themselves: all of one's own was `agent`.
    while let Ok(heard) = one_woken.try_recv() {
        assert_eq!(heard, Wake::NodesDue);
    }

    // What is written is news to those who read elsewhere.
    let mut news = other.news();
    news.borrow_and_update();
    enroll(&one, 1).await;
    timeout(LIMIT, news.changed()).await.unwrap().unwrap();

    // Closing does not wait for who listens.
    timeout(LIMIT, one.close()).await.unwrap();
    timeout(LIMIT, other.close()).await.unwrap();
}

/// Ends every other connection to the database, as its restart does.
async fn cut_connections(site: &Site) {
    let Location::Postgres(url) = &site.location else {
        panic!("PostgreSQL alone cuts connections");
    };
    let mut connection = PgConnection::connect(url).await.unwrap();
    let cut = sqlx::raw_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    cut.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_has_one_server() {
    let store = Site::sqlite().open().await;
    store.wake_others(Wake::NodesDue);
    assert!(store.woken().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_listens_again() {
    let site = Site::postgres().await;
    let (one, other) = (site.open().await, site.open().await);
    let mut woken = other.woken().unwrap();
    until_heard(&one, Wake::NodesDue, &mut woken).await;
    cut_connections(&site).await;
    until_heard(&one, Wake::NodesDue, &mut woken).await;
}

/// Between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Reads until that ends as `is` wants it.
async fn until_reads(store: &Store, is: impl Fn(&Result<i64, Error>) -> bool) {
    let reads = async {
        while !is(&store.last_event().await) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    timeout(LIMIT, reads).await.expect("comes to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_is_away_and_back_for_everybody() {
    let cluster = Cluster::start().await;
    let location = Location::Postgres(cluster.new_database().await);
    let open = || async {
        let opened = Store::open(&location, StoreOptions::default()).await;
        opened.expect("opens")
    };
    let (one, other) = (open().await, open().await);
    let mut woken = other.woken().unwrap();
    until_heard(&one, Wake::NodesDue, &mut woken).await;
    enroll(&one, 1).await;

    cluster.crash().await;
    until_reads(&one, Result::is_err).await;
    until_reads(&other, |read| other.away_for().is_some() && read.is_err()).await;
    // Known to be away, it is not waited for: not by readers, and not by writers.
    for store in [&one, &other] {
        let asked = tokio::time::Instant::now();
        for _ in 0..1000 {
            let read = store.node("node1").await.err().expect("it is away");
            assert!(read.is_outage(), "{read}");
            let written = store.excuse_agents(at(2)).await.unwrap_err();
            assert!(written.is_outage(), "{written}");
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "each waits");
    }
    assert_eq!(at_once(other.comeback_after(0)).await, None);

    cluster.start_again().await;
    timeout(LIMIT, other.back_within(LIMIT)).await.unwrap();
    until_reads(&one, Result::is_ok).await;
    until_reads(&other, Result::is_ok).await;
    assert_eq!(at_once(other.comeback_after(0)).await, Some(1));
    assert_eq!(one.node("node1").await.unwrap().name, "node1");
    until_heard(&one, Wake::NodesDue, &mut woken).await;
    for store in [one, other] {
        timeout(LIMIT, store.close()).await.unwrap();
    }
}

/// What comes of it without waiting.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    timeout(Duration::ZERO, future).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_is_noticed_and_waited_for_no_longer() {
    let cluster = Cluster::start().await;
    let location = Location::Postgres(cluster.new_database().await);
    let opened = Store::open(&location, StoreOptions::default()).await;
    let store = opened.expect("opens");
    enroll(&store, 1).await;
    until_reads(&store, Result::is_ok).await;
    cluster.pause().await;
    // More readers than connections: all of them hear of it.
    let readers: Vec<_> = (0..40)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.node("node1").await.err().expect("nobody answers") })
        })
        .collect();
    for reader in readers {
        let error = timeout(LIMIT, reader).await.expect("in time").unwrap();
        assert!(error.is_outage(), "{error}");
    }
    cluster.go_on().await;
    until_reads(&store, Result::is_ok).await;
    assert_eq!(store.node("node1").await.unwrap().name, "node1");
    timeout(LIMIT, store.close()).await.unwrap();
}
