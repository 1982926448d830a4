//! The store's own suite: every test runs on SQLite and on PostgreSQL, from one text.
//!
//! SQLite is a file in a temporary folder, PostgreSQL a private cluster on a Unix socket (see
//! `postgres`), one database for each test.

mod addresses;
mod boots;
mod catalogue;
mod claims;
mod conductors;
mod crash;
mod drift;
mod events;
mod leases;
mod machine;
mod migration;
mod networks;
mod nodes;
mod opening;
mod orders;
mod overlay;
mod passing;
mod places;
mod ports;
mod postgres;
mod powers;
mod servers;
mod sightings;
mod site;
mod standby;
mod turns;
mod verbs;
mod wake;

/// Makes each test function two tests, one on each database.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(crate::site::Site::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(crate::site::Site::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;
