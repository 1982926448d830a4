//! One server of two stands still at the worst moment: it has just committed what it does to a machine
//! next. The seeds do this, too, but hardly ever for long enough at such a place: the other one has to take
//! the node over and start the tenant's system meanwhile.

use std::time::Duration;

use bessemer_core::lifecycle::{NodeState, Phase, Standby, Step};
use bessemer_sim::agent::Inside;

use crate::clock::{self, Clock};
use crate::offer::{SHARED, order};
use crate::process::Place;
use crate::story::{place, register, until};
use crate::world::{Kind, World};

/// The longest that anything may take, by the site's clock.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn who_has_stood_still_does_nothing_to_what_is_anothers_by_then() {
    crate::show_logs_if_asked();
    let life = async |clock| stand_still_before_switching_off(clock).await;
    let lived = clock::live("standing still".into(), life);
    let (violations, story) = lived.expect("the site comes to its end");
    assert!(violations.is_empty(), "{story}\n{violations:?}");
}

/// What must never be, if it was, and the story.
async fn stand_still_before_switching_off(clock: &'static Clock) -> (Vec<String>, String) {
    let kind = Kind {
        on_postgres: true,
        has_own_cluster: false,
        servers: 2,
        forgets_at_the_end: false,
    };
    let world = World::start(0, kind, 1, clock).await;
    let [first, second] = &world.servers[..] else {
        panic!("two servers");
    };
    second.kill().await;
    let node = register(&world, 0, Standby::ByFlavor).await;
    let node = node.expect("it is registered");
    let until = |condition: fn(&NodeState) -> bool| until(&world, node, PATIENCE, condition);
    assert!(until(|state| state.phase == Phase::Available && state.settled()).await);

    // The agent's work is done: its machine is switched off before its port moves.
    first.pause(Place::Beginning(Step::PowerDown), 0, PATIENCE);
    let second_goes_on = async {
        assert!(until(|state| state.step == Step::PowerDown).await);
        second.start().await;
        assert!(until(|state| state.step == Step::AwaitOs).await);
        first.wake();
        // Its system calls the first one, with whom it was ordered.
        let settled = until(|state| state.phase == Phase::Active || state.attempt > 1);
        assert!(settled.await);
    };
    let request = order("web1", "cycle", SHARED);
    tokio::join!(place(&world, "web1", &request), second_goes_on);
    // What it has begun comes to its end.
    first.stop().await;
    if world.machines[0].host.inside() != Inside::System {
        world.judge.object("the tenant's system does not run");
    }
    let found = (world.judge.violations(), world.judge.story());
    world.end().await;
    found
}
