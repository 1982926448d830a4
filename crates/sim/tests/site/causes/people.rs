//! What people have decided, and nodes with which nothing is wrong.

use bessemer_core::lifecycle::Outcome;
use bessemer_sim::machine::MachineEvent;
use bessemer_wire::api::{PowerVerb, ServerPowerRequest};

use super::{expect_failed, expect_waiting, explain};
use crate::harness::{Site, says};

#[tokio::test(flavor = "multi_thread")]
async fn what_people_have_decided() {
    let site = Site::start().await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "inspect wait").await;
    expect_waiting(&site, &node, "in-progress").await;
    site.api.abort_node(&node.name, "wrong rack").await.unwrap();
    let explained = expect_failed(&site, &node, "stopped").await;
    says(&explained.standing.reason.summary, &["wrong rack"]);
    site.api.hold_node(&node.name, "new fans").await.unwrap();
    site.wait_for_state(&node, "held").await;
    assert_eq!(explain(&site, &node).await.standing.cause.code, "held");
    node.machine.set_stuck_in_firmware(false);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.api.retire_node(&node.name, "sold").await.unwrap();
    site.wait_for_state(&node, "retired").await;
    assert_eq!(explain(&site, &node).await.standing.cause.code, "retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_instead_of_what_was_wanted_before() {
    let (site, node) = Site::ready().await;
    let server = site.deploy("one").await.id;
    assert_eq!(explain(&site, &node).await.standing.cause.code, "at-rest");
    // Its system does not shut down when it is asked to.
    let off = |force| ServerPowerRequest {
        power: PowerVerb::Off,
        force,
        shut_down_seconds: None,
    };
    let mut events = node.machine.events();
    let asked = site.api.switch_server("one", &off(false), "politely").await;
    asked.unwrap();
    while events.recv().await.unwrap() != MachineEvent::ShutdownRequested {}
    let asked = site.api.switch_server("one", &off(true), "at once").await;
    asked.unwrap();
    // What became of the first request.
    let here = &site.server().site;
    let named = format!("power {server} politely");
    let request = format!("power.{}", here.keyring.request_digest(&named));
    let id = site.node(&node).await.id;
    let became = here.store.outcome(id, &request).await.unwrap().unwrap();
    let Outcome::Failed { failure } = became else {
        panic!("{became:?}");
    };
    assert_eq!(failure.cause.unwrap().code(), "overtaken");
}
