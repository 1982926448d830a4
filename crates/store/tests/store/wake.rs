//! Servers on one database wake each other.

use std::time::Duration;

use bessemer_core::id::NodeId;
use bessemer_store::{Location, Store, Wake};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use uuid::Uuid;

use crate::site::{Site, enroll};

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
