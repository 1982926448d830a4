//! A tenant's machine that comes back to network boot: it must come up from its disk again, and
//! never load the agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_core::Timestamp;
use bessemer_sim::machine::BootTarget;
use bessemer_sim::rack::{self, NodeDescription};
use serde_json::Value;
use tokio::time::sleep;

use super::tenant::{Boot, another_boot, flush};
use super::{Figure, Scene};

/// The longest until the firmware has heard what it is to hear.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the firmware hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: it asks in its tenant's network.
    OutOfReach,
    /// iPXE in the NIC of a BIOS is told to start the disk.
    SanBoot,
    /// PXE of UEFI hears nothing from us; somebody else's iPXE is told to leave.
    Exit,
}

impl Answer {
    /// What must have been seen of the machine, in these words.
    fn traces(self) -> &'static [&'static str] {
        const TOLD: &str = "was told to boot its disk";
        const FETCHED: &str = "fetches the script that starts its disk";
        match self {
            Self::OutOfReach => &[],
            Self::SanBoot => &[TOLD, FETCHED],
            Self::Exit => &[
                "no answer by DHCP: this node is to boot its disk",
                TOLD,
                FETCHED,
            ],
        }
    }
}

/// What must not change.
#[derive(Debug, PartialEq, Eq)]
struct Witness {
    provision_state: Value,
    /// Boots of the agent that were ever prepared.
    agent_boots: Value,
    /// What agents said.
    agent: Value,
}

async fn witness(scene: &Scene<'_>, node: &NodeDescription) -> Result<Witness> {
    let seen = scene.shell.json(&["node", "show", &node.name]).await?;
    let explained = scene.shell.json(&["node", "explain", &node.name]).await?;
    Ok(Witness {
        provision_state: seen["provision_state"].clone(),
        agent_boots: seen["state"]["boots"].clone(),
        agent: explained["agent"].clone(),
    })
}

/// Restarts the machine of `server` with the network before its disk, and logs in again.
pub(super) async fn come_back(
    scene: &Scene<'_>,
    node: &NodeDescription,
    server: &str,
    target: BootTarget,
    answer: Answer,
    what: &'static str,
) -> Result<Figure> {
    let before: Boot = another_boot(scene, server, "").await?;
    flush(scene, server).await?;
    let unchanged = witness(scene, node).await?;
    ensure!(unchanged.provision_state == "active", "{unchanged:?}");
    let nic = node.nics.first().context("the node has no NIC")?;
    let switch = scene.rack.switch_of(node).context("it has no switch")?;
    let (port, vlans) = (&nic.switch_port, &scene.rack.vlans);
    let (started, begun) = (Instant::now(), Timestamp::now());
    if answer != Answer::OutOfReach {
        rack::move_port(switch, port, vlans.provisioning).await?;
    }
    rack::restart_into(node, target).await?;
    if answer != Answer::OutOfReach {
        has_heard(scene, node, answer, begun).await?;
        rack::move_port(switch, port, vlans.tenant).await?;
    }
    let after = another_boot(scene, server, &before.id).await?;
    let now = witness(scene, node).await?;
    ensure!(now == unchanged, "was {unchanged:?}, now {now:?}");
    let figure = Figure {
        what,
        firmware: after.firmware,
        seconds: started.elapsed().as_secs_f64(),
        posts: None,
    };
    figure.show();
    Ok(figure)
}

/// Waits until the machine has left every trace of `answer`.
async fn has_heard(
    scene: &Scene<'_>,
    node: &NodeDescription,
    answer: Answer,
    begun: Timestamp,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let explained = scene.shell.json(&["node", "explain", &node.name]).await?;
        let mut missing = answer.traces().iter().filter(|trace| {
            let sightings = explained["boot"].as_array().into_iter().flatten();
            !sightings
                .into_iter()
                .any(|each| is_trace(each, trace, begun))
        });
        let Some(first) = missing.next() else {
            return Ok(());
        };
        if started.elapsed() > ANSWER_LIMIT {
            bail!(
                "{}: not seen: {first}; seen: {}",
                node.name,
                explained["boot"]
            );
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn is_trace(sighting: &Value, trace: &str, begun: Timestamp) -> bool {
    let text = |name: &str| sighting[name].as_str().unwrap_or_default();
    let at = text("at").parse::<Timestamp>();
    text("what").contains(trace) && at.is_ok_and(|at| at >= begun)
}
