//! The PostgreSQL of a site: a database of the cluster that all sites share, or a cluster of its own,
//! which crashes, stops or stands still, and takes every reader and writer of the site with it. Either
//! shows the site's time.

use std::sync::Arc;
use std::time::Duration;

use bessemer_store::{Location, Store, StoreOptions};
use tokio::sync::OnceCell;

use crate::clock::{Clock, Jump};
use crate::faults::SiteFault;
use crate::postgres::{self, Cluster};

pub(crate) struct Database {
    /// Where it is.
    pub(crate) url: String,
    clock: &'static Clock,
    own: Option<Arc<Cluster>>,
}

impl Database {
    /// An empty database in the shared cluster, or in one of its own.
    pub(crate) async fn new(is_own: bool, clock: &'static Clock) -> Self {
        if !is_own {
            let (url, own) = (empty_database().await, None);
            clock.show_in(&postgres::file_of_time(&url));
            return Self { url, clock, own };
        }
        let cluster = Cluster::start().await;
        let url = cluster.new_database().await;
        clock.show_in(&postgres::file_of_time(&url));
        postgres::show_time_of_file(&url).await;
        let own = Some(cluster);
        Self { url, clock, own }
    }

    /// Whether the site may do with it whatever it likes.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// How far its time of day is off, in nanoseconds.
    pub(crate) fn jump(&self) -> Jump {
        &self.clock.jump_of_shown
    }

    /// Cuts everybody's connections to it.
    pub(crate) async fn cut_connections(&self) {
        let _cutting = self.clock.waits_outside();
        postgres::cut_connections(&self.url).await;
    }

    /// It goes as `fault` says, and is back after a pause. Nothing happens to one that others have, too.
    pub(crate) async fn goes(&self, fault: SiteFault, pause: Duration) {
        let Some(cluster) = &self.own else { return };
        {
            let _going = self.clock.waits_outside();
            match fault {
                SiteFault::DatabaseCrashes => cluster.crash().await,
                SiteFault::DatabaseStalls => cluster.pause().await,
                _ => cluster.stop().await,
            }
        }
        tokio::time::sleep(pause).await;
        let _coming = self.clock.waits_outside();
        match fault {
            SiteFault::DatabaseStalls => cluster.go_on().await,
            _ => cluster.start_again().await,
        }
    }

    /// Leaves nothing of it.
    pub(crate) async fn end(self) {
        let _ending = self.clock.waits_outside();
        match self.own {
            None => postgres::drop_database(&self.url).await,
            Some(cluster) => {
                let ended = tokio::task::spawn_blocking(move || drop(cluster));
                ended.await.expect("the cluster ends");
            }
        }
    }
}

/// The URL of a database with the schema and nothing in it. The schema is made once and copied: two
/// dozen migrations take longer than many a run.
async fn empty_database() -> String {
    static SCHEMA: OnceCell<String> = OnceCell::const_new();
    let schema = SCHEMA.get_or_init(async || {
        let url = postgres::new_database().await;
        let location = Location::Postgres(url.clone());
        let store = Store::open(&location, StoreOptions::default()).await;
        store.unwrap().close().await;
        postgres::show_time_of_file(&url).await;
        url
    });
    postgres::copy_of(schema.await).await
}
