//! The server dies, at any moment, and the next one goes on as if nothing had happened.

use std::time::Duration;

use bessemer_core::lifecycle::{Standby, Step, Timing};
use bessemer_store::{GatePoint, Location, Store, StoreOptions};
use bessemer_wire::api::{NodeUpdate, ServerStatus};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::harness::disk::{assert_erased, assert_has_image, soil};
use crate::harness::trap::Trap;
use crate::harness::{SimNode, Site, eager, order, says};

/// How many sites share the commit points among them.
pub(crate) const SHARES: usize = 4;

/// More commits than a deployment has: one that goes on for longer does not end.
pub(crate) const MOST_POINTS: usize = 1000;

/// Kills the server at every commit point that one of [`SHARES`] sites has, before and after the
/// commit: of the way from order to active, and of the way from release to available.
async fn order_and_die_everywhere(share: usize, standby: Standby) {
    let trap = Trap::default();
    let (mut site, node) = Site::ready_with(eager(), Some(trap.gate())).await;
    let change = NodeUpdate {
        standby: Some(standby),
        ..NodeUpdate::default()
    };
    site.api.update_node(&node.name, &change).await.unwrap();
    site.wait_for_node(&node, "the node to have settled", |node| {
        node.state.settled() && node.state.standby == (standby == Standby::Always)
    })
    .await;
    let mut points = Vec::new();
    let (mut deploying, mut releasing) = (true, true);
    for at in (share..MOST_POINTS).step_by(SHARES) {
        if !deploying && !releasing {
            let fewest = if standby == Standby::Always { 25 } else { 35 };
            assert!(
                at > fewest,
                "only {at} commit points were found: {points:?}"
            );
            return;
        }
        let name = format!("server{at}");
        let died = deploy(&mut site, &node, &name, &trap, deploying.then_some(at)).await;
        deploying &= died.is_some();
        points.extend(died);
        let died = release(&mut site, &node, &name, &trap, releasing.then_some(at)).await;
        releasing &= died.is_some();
        points.extend(died);
    }
    panic!("it goes on and on: {points:?}");
}

/// Orders a server; the server process dies at commit point `at`, if there is one that late.
async fn deploy(
    site: &mut Site,
    node: &SimNode,
    name: &str,
    trap: &Trap,
    at: Option<usize>,
) -> Option<GatePoint> {
    soil(node.disk());
    let (boots, commands) = (node.boots(), node.host.carried_out().len());
    // Whoever idles in the agent is deployed without a POST, whatever happens to the server.
    let idles = site.node(node).await.state.step == Step::Standby;
    let posts = if idles { 0 } else { 1 };
    trap.set(at);
    let api = site.api.clone();
    let request = order(name);
    let ordering = tokio::spawn(async move { api.create_server(&request, &request.name).await });
    tokio::select! {
        () = trap.struck() => {}
        () = ordered(site, name) => {}
    }
    let died = start_again_if_dead(site, trap).await;
    ordering.await.unwrap().unwrap();
    let server = site.wait_for_active(name).await;

    let wrong = format!("after dying at {died:?}");
    assert_eq!(site.api.servers().await.unwrap().len(), 1, "{wrong}");
    assert_eq!(site.node(node).await.server, Some(server.id), "{wrong}");
    let seen = (u64::from(server.posts), node.boots() - boots);
    assert_eq!(seen, (posts, posts), "{wrong}");
    let steps = node.steps_since(commands);
    let generation = steps[0].0;
    let once = [
        "prove_agent",
        "write_image",
        "write_config_drive",
        "load_kernel",
        "hand_over",
    ];
    let once: Vec<_> = once.map(|step| (generation, step.to_owned())).into();
    assert_eq!(steps, once, "{wrong}");
    assert_has_image(node.disk());
    died
}

/// Gives the server back, in the same way.
async fn release(
    site: &mut Site,
    node: &SimNode,
    name: &str,
    trap: &Trap,
    at: Option<usize>,
) -> Option<GatePoint> {
    let (boots, commands) = (node.boots(), node.host.carried_out().len());
    let id = site.api.server(name).await.unwrap().id;
    trap.set(at);
    let api = site.api.clone();
    let server = name.to_owned();
    let deleting = tokio::spawn(async move {
        loop {
            match api.delete_server(&server).await {
                Err(error) if error.is_outage() => {
                    tokio::time::sleep(Duration::from_millis(20)).await
                }
                Err(error) if error.is_not_found() => return Ok(()),
                result => return result,
            }
        }
    });
    tokio::select! {
        () = trap.struck() => {}
        () = released(site, node, name) => {}
    }
    let died = start_again_if_dead(site, trap).await;
    deleting.await.unwrap().unwrap();
    site.wait_for_state(node, "available").await;

    let wrong = format!("after dying at {died:?}");
    assert!(site.api.servers().await.unwrap().is_empty(), "{wrong}");
    assert_eq!(site.node(node).await.server, None, "{wrong}");
    assert_eq!(node.boots() - boots, 1, "{wrong}");
    let steps: Vec<_> = node.steps_since(commands);
    assert!(
        matches!(&steps[..], [(_, step)] if step == "erase"),
        "{wrong}: {steps:?}"
    );
    assert_erased(node.disk());
    let told = site.events().await;
    for kind in ["server.active", "server.deleting", "server.deleted"] {
        let told = told
            .iter()
            .filter(|event| event.kind == kind && event.server == Some(id));
        assert_eq!(told.count(), 1, "{kind} {wrong}");
    }
    died
}

async fn ordered(site: &Site, name: &str) {
    site.wait("the order to be placed", async || {
        match site.api.server(name).await {
            Ok(server) => (server.status == ServerStatus::Active).then_some(()),
            Err(_) => None,
        }
    })
    .await;
}

async fn released(site: &Site, node: &SimNode, name: &str) {
    site.wait("the server to be gone", async || {
        let gone = site
            .api
            .server(name)
            .await
            .is_err_and(|error| error.is_not_found());
        let node = site.api.node(&node.name).await.ok()?;
        (gone && node.provision_state == "available").then_some(())
    })
    .await;
}

pub(crate) async fn start_again_if_dead(site: &mut Site, trap: &Trap) -> Option<GatePoint> {
    let died = trap.disarm()?;
    site.kill().await;
    site.start_again(Some(trap.gate())).await;
    Some(died)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_its_release_survive_a_crash_at_every_commit() {
    join_all((0..SHARES).map(|share| order_and_die_everywhere(share, Standby::Never))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_an_idle_node_survives_a_crash_at_every_commit() {
    join_all((0..SHARES).map(|share| order_and_die_everywhere(share, Standby::Always))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_survives_a_crash_at_every_commit() {
    join_all((0..SHARES).map(enrol_and_die_everywhere)).await;
}

/// Registers a new machine for every commit point on its way to available.
async fn enrol_and_die_everywhere(share: usize) {
    let trap = Trap::default();
    let mut site = Site::start_with(eager(), Some(trap.gate())).await;
    for at in (share..MOST_POINTS).step_by(SHARES) {
        let node = site.machine().await;
        soil(node.disk());
        trap.set(Some(at));
        let api = site.api.clone();
        let request = node.request();
        let registering = tokio::spawn(async move { api.create_node(&request).await });
        tokio::select! {
            () = trap.struck() => {}
            () = enrolled(&site, &node) => {}
        }
        let died = start_again_if_dead(&mut site, &trap).await;
        match registering.await.unwrap() {
            Ok(_) => {}
            // Nobody knows whether it was heard; asking again tells.
            Err(error) if error.is_outage() => match site.api.create_node(&node.request()).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.status(), Some(409), "{error}"),
            },
            Err(error) => panic!("{error}"),
        }
        site.wait_for_state(&node, "available").await;
        assert_erased(node.disk());
        let wrong = format!("after dying at {died:?}");
        assert_eq!(node.boots(), 1, "{wrong}");
        let steps = node.steps_since(0).into_iter().map(|(_, step)| step);
        assert_eq!(steps.collect::<Vec<_>>(), ["inspect", "erase"], "{wrong}");
        site.api.delete_node(&node.name, true).await.unwrap();
        if died.is_none() {
            assert!(at > 30, "only {at} commit points were found");
            return;
        }
    }
    panic!("it goes on and on");
}

async fn enrolled(site: &Site, node: &SimNode) {
    site.wait("the node to be available", async || {
        let node = site.api.node(&node.name).await.ok()?;
        (node.provision_state == "available").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_an_image_costs_neither_a_boot_nor_a_second_write() {
    let (mut site, node) = Site::ready().await;
    let (boots, commands) = (node.boots(), node.host.carried_out().len());
    node.host.faults.hold_in_write.send_replace(true);
    site.order("one").await;
    site.wait_for_node(&node, "the image to be written", |node| {
        node.progress
            .as_ref()
            .is_some_and(|progress| progress.bytes > 0)
    })
    .await;
    site.kill().await;
    site.start_again(None).await;
    site.wait_for_node(&node, "progress to be shown again", |node| {
        node.progress
            .as_ref()
            .is_some_and(|progress| progress.bytes > 0)
    })
    .await;
    node.host.faults.hold_in_write.send_replace(false);
    site.wait_for_active("one").await;
    assert_eq!(node.boots() - boots, 1);
    let writes = node
        .steps_since(commands)
        .into_iter()
        .filter(|(_, step)| step == "write_image");
    assert_eq!(writes.count(), 1);
    assert_has_image(node.disk());
}

/// What a server finds that was away for so long.
async fn nobody_listened_for_an_hour(site: &Site) {
    let location = Location::Sqlite(site.data().join("bessemer.db"));
    let store = Store::open(&location, StoreOptions::default())
        .await
        .unwrap();
    let last_heard = Timestamp::now() - SignedDuration::from_hours(1);
    store.excuse_agents(last_heard).await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_not_given_up_for_a_silence_of_our_own() {
    const SILENCE: u32 = 3;
    let timing = Timing {
        agent_silence: SILENCE,
        ..eager()
    };
    let (mut site, node) = Site::ready_with(timing, None).await;
    let boots = node.boots();
    node.host.faults.hold_in_write.send_replace(true);
    site.order("one").await;
    site.wait_for_node(&node, "the image to be written", |node| {
        node.progress.is_some()
    })
    .await;
    site.kill().await;
    nobody_listened_for_an_hour(&site).await;
    node.host.faults.hold_in_write.send_replace(false);
    site.start_again(None).await;
    site.wait_for_active("one").await;
    assert_eq!(node.boots() - boots, 1, "its agent was taken for dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_goes_on_where_it_was() {
    let (mut site, node) = Site::ready().await;
    node.host.faults.hold_in_write.send_replace(true);
    site.order("one").await;
    site.wait_for_state(&node, "deploying").await;
    site.stop().await;
    site.start_again(None).await;
    node.host.faults.hold_in_write.send_replace(false);
    site.wait_for_active("one").await;
    assert_has_image(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_work_in_one_folder() {
    let (mut site, _node) = Site::ready().await;
    says(
        site.start_a_second_one().await,
        &["is in use by another", "data folder of its own"],
    );
    assert_eq!(site.api.nodes(None, false).await.unwrap().len(), 1);
    site.kill().await;
    site.start_again(None).await;
}
