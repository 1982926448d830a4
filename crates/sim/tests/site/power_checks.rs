//! Looks at the power state of machines, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bessemer_server::Server;
use bessemer_server::config::DatabaseUrl;
use bessemer_sim::machine::Machine;
use bessemer_sim::redfish::Faults;
use bessemer_store::{Gate, When};
use bessemer_wire::api::{Node, PowerSeen, PowerState};

use crate::conductors::postgres;
use crate::harness::{SimNode, Site, eager, says};

/// A site that looks every second.
async fn site(gate: Option<Gate>) -> Site {
    Site::start_as(eager(), gate, |config| config.bmc.power_check = 1).await
}

fn looks(server: &Server) -> u64 {
    server.site.metrics.power_checks.get()
}

/// Waits for `more` further looks to have begun.
async fn looked(site: &Site, more: u64) {
    let before = looks(site.server());
    site.wait("machines to be looked at", async || {
        (looks(site.server()) >= before + more).then_some(())
    })
    .await;
}

async fn happened(site: &Site, kind: &str) -> Vec<String> {
    let events = site.events().await;
    let events = events.into_iter().filter(|event| event.kind == kind);
    events.map(|event| event.message).collect()
}

async fn wait_for_power(site: &Site, node: &SimNode, power: PowerSeen) -> Node {
    let what = format!("{} to be seen {power:?}", node.name);
    site.wait_for_node(node, &what, |node| node.power.state == power)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_for_rent_that_was_switched_on_is_switched_off_again() {
    let site = site(None).await;
    let node = site.available().await;
    let shown = wait_for_power(&site, &node, PowerSeen::Off).await;
    assert!(shown.power.since.is_some());
    assert_eq!(
        happened(&site, "node.power_changed").await,
        Vec::<String>::new()
    );
    let boots = node.boots();

    node.machine.power_on().await.unwrap();
    site.wait("it to be noticed", async || {
        let told = happened(&site, "node.power_changed").await;
        (!told.is_empty()).then_some(())
    })
    .await;
    site.wait_for_node(&node, "it to be off again", |node| {
        node.power.state == PowerSeen::Off && node.state.at_rest()
    })
    .await;
    assert!(node.machine.power_state().await == bessemer_sim::machine::PowerState::Off);
    assert_eq!(node.boots(), boots + 1, "by hand");
    let told = happened(&site, "node.power_changed").await;
    assert_eq!(told.len(), 1, "{told:?}");
    says(&told[0], &["was off and is on", "switched off again"]);
    let history = site.api.node_history(&node.name, 100).await.unwrap();
    let why = history.iter().map(|entry| &entry.state.reason);
    let mut why = why.filter_map(|reason| reason.seen.clone());
    assert!(why.any(|seen| seen.contains("found switched on")));

    // What an operator switches on by us is no surprise.
    site.api
        .set_power(&node.name, PowerState::On)
        .await
        .unwrap();
    looked(&site, 3).await;
    let shown = site.node(&node).await;
    assert_eq!(shown.power.state, PowerSeen::On);
    assert_eq!(happened(&site, "node.power_changed").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_server_that_its_tenant_shuts_down_is_only_noted() {
    let site = site(None).await;
    let node = site.available().await;
    site.offer(&node).await;
    site.deploy("web").await;
    wait_for_power(&site, &node, PowerSeen::On).await;
    let (boots, phase) = (node.boots(), site.node(&node).await.state);
    node.machine.power_off_from_within();
    wait_for_power(&site, &node, PowerSeen::Off).await;
    let told = happened(&site, "node.power_changed").await;
    assert_eq!(told.len(), 1, "{told:?}");
    says(&told[0], &["was on and is off"]);
    assert_eq!(site.node(&node).await.state, phase);
    node.machine.power_on().await.unwrap();
    wait_for_power(&site, &node, PowerSeen::On).await;
    assert_eq!(node.boots(), boots + 1);
    assert_eq!(site.node(&node).await.state, phase);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_does_not_answer_is_told_of_once_and_so_is_its_return() {
    let site = site(None).await;
    let node = site.available().await;
    wait_for_power(&site, &node, PowerSeen::Off).await;
    node.set_faults(Faults {
        refuse_connections: true,
        ..Faults::default()
    });
    let shown = wait_for_power(&site, &node, PowerSeen::Unknown).await;
    assert_eq!(shown.power.since, shown.bmc.unreachable_since);
    assert!(shown.bmc.unreachable_since.is_some());
    assert_eq!(shown.provision_state, "available");
    looked(&site, 3).await;
    let counts = site.server().site.store.power_counts().await.unwrap();
    assert_eq!((counts.off, counts.silent), (0, 1));
    node.set_faults(Faults::default());
    let shown = wait_for_power(&site, &node, PowerSeen::Off).await;
    assert_eq!(shown.bmc.unreachable_since, None);
    for kind in ["node.bmc_unreachable", "node.bmc_reachable"] {
        assert_eq!(happened(&site, kind).await.len(), 1, "{kind}");
    }
    says(
        &happened(&site, "node.bmc_unreachable").await[0],
        &[&node.name, "cannot be reached"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_left_alone_is_not_asked_by_looks() {
    let site = site(None).await;
    let node = site.available().await;
    node.set_faults(Faults {
        reject_credentials: true,
        ..Faults::default()
    });
    let inside = &site.server().site;
    site.wait("it to be left alone", async || {
        (inside.bmcs.left_alone() == 1).then_some(())
    })
    .await;
    let requests = node.bmc_requests();
    looked(&site, 3).await;
    assert_eq!(node.bmc_requests(), requests);
    assert_eq!(inside.bmcs.left_alone(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_one_request_and_writes_nothing() {
    let commits = Arc::new(AtomicU64::new(0));
    let counted = commits.clone();
    let gate: Gate = Arc::new(move |point| {
        counted.fetch_add(u64::from(point.when == When::After), Ordering::SeqCst);
        true
    });
    let site = site(Some(gate)).await;
    let node = site.available().await;
    wait_for_power(&site, &node, PowerSeen::Off).await;
    // Whatever led here has come to its end, with its last commit.
    looked(&site, 2).await;
    let before = (
        node.bmc_requests(),
        looks(site.server()),
        commits.load(Ordering::SeqCst),
    );
    let began = Instant::now();
    looked(&site, 4).await;
    let (looks, requests) = (
        looks(site.server()) - before.1,
        node.bmc_requests() - before.0,
    );
    // One a second; the first may have been on its way, and one may come late.
    let most = began.elapsed().as_secs() + 3;
    assert!(looks <= most, "{looks} looks in {most} s");
    // One may be on its way at either end.
    assert!(requests.abs_diff(looks) <= 1, "{requests} for {looks}");
    assert_eq!(commits.load(Ordering::SeqCst), before.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_machine_is_looked_at_by_one_of_two_servers() {
    let url = postgres::new_database().await;
    let mut site = Site::start_as(eager(), None, |config| {
        config.database_url = Some(DatabaseUrl(url));
        config.bmc.power_check = 1;
    })
    .await;
    let node = site.available().await;
    wait_for_power(&site, &node, PowerSeen::Off).await;
    site.start_second(None).await;
    // Once the first has learnt of the second, one of them looks and the other does not.
    site.wait("the machine to be one server's", async || {
        let servers = [site.server(), site.second()];
        let before = servers.map(looks);
        looked_by_any(&site, 3).await;
        let by = [0, 1].map(|index| looks(servers[index]) - before[index]);
        (by.contains(&0)).then_some(())
    })
    .await;
    // Whoever is left looks at it.
    site.kill_second().await;
    looked(&site, 2).await;
    node.machine.power_on().await.unwrap();
    site.wait("it to be switched off again", async || {
        let told = happened(&site, "node.power_changed").await;
        let node = site.node(&node).await;
        (told.len() == 1 && node.power.state == PowerSeen::Off).then_some(())
    })
    .await;
}

async fn looked_by_any(site: &Site, more: u64) {
    let all = || looks(site.server()) + looks(site.second());
    let before = all();
    site.wait("machines to be looked at", async || {
        (all() >= before + more).then_some(())
    })
    .await;
}

/// A look that panics is a look that was lost: the next round looks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_panics_does_not_end_the_watch() {
    let panics = Arc::new(AtomicU64::new(0));
    let counted = panics.clone();
    let gate: Gate = Arc::new(move |point| {
        let first = point.name == "power_seen" && counted.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(!first, "planted");
        true
    });
    let site = site(Some(gate)).await;
    let node = site.available().await;
    node.machine.power_on().await.unwrap();
    site.wait("it to be noticed", async || {
        let told = happened(&site, "node.power_changed").await;
        (!told.is_empty()).then_some(())
    })
    .await;
    assert_eq!(site.server().site.supervisor.panics(), 1);
}
