//! The clocks of two servers are an hour off, one each way, and then that of their database jumps: neither
//! may take what the other one is doing for left alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bessemer_client::Client;
use bessemer_core::Timestamp;
use bessemer_core::lifecycle::{Phase, Standby};

use crate::clock::{self, Clock};
use crate::offer::{SHARED, order};
use crate::process::Slot;
use crate::story::{place, register, until};
use crate::world::{Kind, World};

/// The longest that anything may take, by the site's clock.
const PATIENCE: Duration = Duration::from_secs(900);

/// By how much two servers may be apart that ask a busy database.
const ACCURACY: Duration = Duration::from_secs(1);

const HOUR: i64 = 3600 * 1_000_000_000;

#[test]
fn servers_go_by_the_time_of_their_database() {
    crate::show_logs_if_asked();
    let lived = clock::live("one time".into(), async |clock| live(clock).await);
    let (violations, story) = lived.expect("the site comes to its end");
    assert!(violations.is_empty(), "{story}\n{violations:?}");
}

/// What must never be, if it was, and the story.
async fn live(clock: &'static Clock) -> (Vec<String>, String) {
    let kind = Kind {
        on_postgres: true,
        has_own_cluster: false,
        servers: 2,
        forgets_at_the_end: false,
    };
    let world = World::start(1, kind, 1, clock).await;
    for (server, by) in world.servers.iter().zip([HOUR, -HOUR]) {
        server.stop().await;
        server.jump.store(by, Ordering::SeqCst);
        server.start().await;
    }
    agree(&world).await;
    let node = register(&world, 0, Standby::ByFlavor).await;
    let node = node.expect("it is registered");
    let rest = |phase| {
        until(&world, node, PATIENCE, move |state| {
            assert!(state.attempt <= 1, "{state:?}");
            state.phase == phase && state.settled()
        })
    };
    assert!(rest(Phase::Available).await);
    let request = order("web1", "kexec", SHARED);
    let (placed, is_active) = tokio::join!(place(&world, "web1", &request), rest(Phase::Active));
    let server = placed.expect("there is a machine for it");
    assert!(is_active);

    let database = world.database.as_ref().expect("PostgreSQL");
    database.jump().store(HOUR, Ordering::SeqCst);
    let jumped = Timestamp::now();
    for server in &world.servers {
        while now(server).duration_since(jumped).as_hours() < 1 {
            tokio::time::sleep(ACCURACY).await;
        }
    }
    agree(&world).await;
    world.judge.given_up(server.id);
    let delete = async |api: &Client| api.delete_server("web1").await;
    let released = world.ask("release web1", delete).await;
    assert!(released.is_some() && rest(Phase::Available).await);
    for server in &world.servers {
        server.stop().await;
    }
    let found = (world.judge.violations(), world.judge.story());
    world.end().await;
    found
}

fn now(server: &Slot) -> Timestamp {
    let (server, _) = server.view().server().expect("it runs");
    server.site.now()
}

/// Both have the same time.
async fn agree(world: &World) {
    let [first, second] = &world.servers[..] else {
        panic!("two servers");
    };
    let apart = now(first).duration_since(now(second)).unsigned_abs();
    assert!(apart < ACCURACY, "{apart:?} apart");
}
