//! From a seed to a site, and what became of it.

use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::{self, Clock};
use crate::dice::Dice;
use crate::faults::{self, Rule, SiteFault};
use crate::story::{self, LIVES, Story};
use crate::world::{Kind, World};
use crate::{ending, rows};

/// Machines of a site.
const MACHINES: u64 = 8;

/// Runs of a site.
pub(crate) const RUNS_OF_A_SITE: u64 = MACHINES * LIVES;

/// The longest that a site may take on the real clock. None takes nearly as long.
const LIMIT: Duration = Duration::from_secs(1500);

/// Seeds in which something was found once, each with what it was. A seed tells another story once there
/// are more kinds of faults than there were: the tests that are named hold what was found, in
/// `crates/store/tests/store` and `crates/sim/tests/site`.
pub(crate) const KNOWN: &[(u64, &str)] = &[
    (
        2,
        "a server is killed at the first decision of an order, which is given back before another one \
         hears of it: the order was there for ever \
         (`a_server_that_is_given_back_before_its_node_moves_leaves_nothing`). And a system says that it is up while its machine is \
         switched off for the next attempt: the server was active while firmware ran \
         (`what_a_system_has_said_says_nothing_of_the_next_attempts`)",
    ),
    (
        11,
        "a deployment is stopped by an operator after its server has been given back, before its node has \
         moved for that: the node failed, and the server was being given back for ever \
         (`what_is_given_up_is_not_stopped_instead`)",
    ),
    (
        1_795_387_794_632,
        "a switch comes back with a tunnel whose VLAN has been given to another network since: nobody is in \
         there before its tunnels have been looked at, so the judge was wrong \
         (`nobody_is_let_into_a_vlan_that_a_forgotten_tunnel_leads_into`). So it was in seed 2, on a busy \
         machine",
    ),
];

/// What a seed decides.
#[derive(Debug)]
pub(crate) struct Site {
    seed: u64,
    kind: Kind,
    stories: Vec<Story>,
    site_faults: Vec<Rule<SiteFault>>,
}

impl Site {
    pub(crate) fn of(seed: u64) -> Self {
        // A run on PostgreSQL costs three times what it costs on SQLite.
        let (on_postgres, servers) = match seed % 8 {
            2 => (true, 1),
            3 => (true, 2),
            _ => (false, 1),
        };
        let kind = Kind {
            on_postgres,
            has_own_cluster: matches!(seed % 16, 2 | 3 | 11),
            servers,
            // It costs a tenth of a site.
            forgets_at_the_end: seed.is_multiple_of(4),
        };
        let machines = 0..MACHINES as usize;
        Self {
            seed,
            kind,
            stories: machines.map(|machine| Story::of(seed, machine)).collect(),
            site_faults: faults::of_site(&mut Dice::of(seed, 2), servers),
        }
    }

    /// Lives through it; what must never be, if it was.
    pub(crate) fn run(self) -> Result<(), String> {
        let seed = self.seed;
        let life = async move |clock| self.lives_through(clock).await;
        let lived = clock::live(format!("seed {seed}"), life);
        match lived {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(_) => Err(format!(
                "seed {seed}: the test itself has panicked, see above"
            )),
        }
    }

    async fn lives_through(self, clock: &'static Clock) -> Option<String> {
        let machines = self.stories.len();
        let world = World::start(self.seed, self.kind, machines, clock).await;
        let everything = async {
            let stories = self.stories.iter().enumerate();
            let stories = join_all(stories.map(|(at, story)| story::live(&world, at, story)));
            tokio::join!(stories, faults::strike_site(&world, &self.site_faults));
            ending::end(&world).await;
        };
        let everything = async {
            tokio::select! {
                () = everything => {}
                () = rows::watch(&world) => {}
            }
        };
        if !clock.within(LIMIT, everything).await {
            world.judge.object("the site does not come to its end");
        }
        let requests: u64 = world
            .machines
            .iter()
            .map(|machine| machine.bmc.requests())
            .sum();
        println!(
            "seed {}: {}, {} decisions, {requests} BMC requests, {:.0} s by its own clock",
            self.seed,
            self.kind(),
            world.judge.decisions(),
            clock.elapsed().as_secs_f64(),
        );
        let failure = self.failure(&world);
        world.end().await;
        failure
    }

    /// What must never be and was, after the story that led to it has been shown: the last lines are what
    /// people read first.
    fn failure(&self, world: &World) -> Option<String> {
        let violations = world.judge.violations();
        if violations.is_empty() {
            return None;
        }
        let (seed, kind) = (self.seed, self.kind());
        println!(
            "=== seed {seed}: {kind}\n{self:#?}\n{}",
            world.judge.story()
        );
        Some(format!(
            "=== seed {seed}: {kind}\n{}\n\
             BESSEMER_SEED={seed} cargo test -p bessemer-sim --test runs thousands -- --nocapture",
            violations.join("\n"),
        ))
    }

    fn kind(&self) -> String {
        let database = if self.kind.on_postgres {
            "PostgreSQL"
        } else {
            "SQLite"
        };
        format!("{database}, {} server(s)", self.kind.servers)
    }
}
