//! Machines, controllers and systems that do not do what they should.

use std::sync::atomic::Ordering;

use bessemer_core::lifecycle::{Phase, Step, Timing};
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::{Node, ServerStatus};
use jiff::{SignedDuration, Timestamp};

use crate::harness::disk::{assert_erased, assert_has_image, soil};
use crate::harness::{SimNode, Site, eager, order, problem, says};

/// Everything that a node's reason says.
fn reason(node: &Node) -> String {
    serde_json::to_string(&node.state.reason).unwrap()
}

/// Waits until a node has given up and come to rest in this state.
async fn given_up(site: &Site, node: &SimNode, state: &str) -> Node {
    let what = format!("{} to end as {state}", node.name);
    site.wait_for_node(node, &what, |node| {
        node.provision_state == state && node.state.at_rest()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_bmc_password_is_named_and_the_right_one_works() {
    let site = Site::start().await;
    let node = site.machine().await;
    let mut request = node.request();
    request.bmc.password = "wrong".into();
    site.api.create_node(&request).await.unwrap();
    let shown = given_up(&site, &node, "enroll").await;
    let bmc = node.address().to_string();
    says(
        reason(&shown),
        &["refuses the password", "operator", &bmc, "provide"],
    );
    assert_eq!(node.boots(), 0);
    // Trying again with the same password comes to the same end.
    site.api.provide_node(&node.name).await.unwrap();
    let generation = shown.generation;
    site.wait_for_node(&node, "the second refusal", |node| {
        node.provision_state == "enroll" && node.state.generation > generation
    })
    .await;
    site.api.delete_node(&node.name, true).await.unwrap();
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_bmc_is_tried_a_few_times_and_named() {
    let site = Site::start().await;
    let node = site.machine().await;
    node.set_faults(Faults {
        refuse_connections: true,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    let shown = given_up(&site, &node, "enroll").await;
    let bmc = node.address().to_string();
    says(reason(&shown), &["cannot be reached", &bmc, "provide"]);
    let history = site.api.node_history(&node.name, 100).await.unwrap();
    let tries = history.iter().map(|entry| entry.state.tries).max();
    assert_eq!(tries, Some(4));
    node.set_faults(Faults::default());
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_restarts_meanwhile_is_borne_with() {
    let site = Site::start().await;
    let node = site.machine().await;
    node.set_faults(Faults {
        unavailable_answers: 2,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_boots_is_given_up_after_three_attempts() {
    let timing = Timing {
        agent_boot_deadline: 1,
        ..eager()
    };
    let site = Site::start_with(timing, None).await;
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let shown = given_up(&site, &node, "inspect failed").await;
    says(
        reason(&shown),
        &["await_agent", "attempt 3 of 3", "did not call", "provide"],
    );
    assert_eq!(node.boots(), 3);
    let told = site.events().await;
    assert_eq!(
        told.iter()
            .filter(|event| event.kind == "node.failed")
            .count(),
        1
    );
    assert!(
        site.offered(&node).await.is_none(),
        "nobody waits for it any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn power_that_is_not_switched_on_is_noticed() {
    let timing = Timing {
        bmc_deadline: 1,
        ..eager()
    };
    let site = Site::start_with(timing, None).await;
    let node = site.machine().await;
    node.set_faults(Faults {
        ignore_power_commands: true,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    let shown = given_up(&site, &node, "inspect failed").await;
    says(
        reason(&shown),
        &[
            "power_on",
            "power on was asked for",
            "still reads power off",
        ],
    );
    node.set_faults(Faults::default());
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_be_switched_off_is_not_sold_again() {
    let timing = Timing {
        bmc_deadline: 1,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    site.deploy("one").await;
    node.set_faults(Faults {
        ignore_power_commands: true,
        ..Faults::default()
    });
    site.api.delete_server("one").await.unwrap();
    let shown = given_up(&site, &node, "error").await;
    says(
        reason(&shown),
        &[
            "power_off",
            "power off was asked for",
            "still reads power on",
            "provide",
        ],
    );
    assert_has_image(node.disk());
    let server = site.api.server("one").await.unwrap();
    assert_eq!(server.status, ServerStatus::Error);
    let refused = problem(site.api.create_server(&order("two"), "two").await);
    says(&refused, &["No node of flavor metal is free", "1 failed"]);
    node.set_faults(Faults::default());
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert!(site.api.server("one").await.unwrap_err().is_not_found());
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_override_that_is_not_kept_is_noticed_before_power_on() {
    let timing = Timing {
        bmc_deadline: 1,
        ..eager()
    };
    let site = Site::start_with(timing, None).await;
    let node = site.machine().await;
    node.set_faults(Faults {
        ignore_boot_override: true,
        ..Faults::default()
    });
    site.api.create_node(&node.request()).await.unwrap();
    let shown = given_up(&site, &node, "inspect failed").await;
    says(reason(&shown), &["prepare_boot", "boot"]);
    assert_eq!(
        node.boots(),
        0,
        "it would have booted whatever is on its disk"
    );
    node.set_faults(Faults::default());
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_vanishes_in_mid_write_costs_one_more_boot() {
    let timing = Timing {
        agent_silence: 3,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    soil(node.disk());
    node.host.faults.vanish_in_write.store(1, Ordering::SeqCst);
    let server = site.deploy("one").await;
    assert_eq!(server.posts, 2);
    assert_has_image(node.disk());
    let told = site.events().await;
    let again = |event: &&bessemer_wire::event::Event| event.message.contains("starting again");
    let told = told.iter().find(again).expect("an event that says so");
    says(&told.data, &["has been silent for more than 3 s"]);
    site.release("one", &node).await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_works_for_longer_than_it_may_be_silent_is_left_to_work() {
    const SILENCE: u32 = 3;
    let timing = Timing {
        agent_silence: SILENCE,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    node.host.faults.hold_in_write.send_replace(true);
    site.order("one").await;
    site.wait_for_node(&node, "the image to be written", |node| {
        node.progress.is_some()
    })
    .await;
    let silence = SignedDuration::from_secs(i64::from(SILENCE) + 2);
    site.wait_for_node(&node, "it to be written for longer than that", |node| {
        let state = &node.state;
        state.step == Step::WriteImage && Timestamp::now() > state.step_since + silence
    })
    .await;
    node.host.faults.hold_in_write.send_replace(false);
    let server = site.wait_for_active("one").await;
    assert_eq!(server.posts, 1, "it was taken for dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_erased_keeps_its_node_out_of_sale() {
    let site = Site::start().await;
    let node = site.machine().await;
    soil(node.disk());
    node.host.faults.fail_erase.store(3, Ordering::SeqCst);
    site.api.create_node(&node.request()).await.unwrap();
    let shown = given_up(&site, &node, "clean failed").await;
    says(
        reason(&shown),
        &[
            "erase",
            "attempt 3 of 3",
            &node.host.inventory.disks[0].serial,
            "Input/output error",
            "provide",
        ],
    );
    let for_rent = site.api.nodes(Some(Phase::Available), false).await;
    assert!(for_rent.unwrap().is_empty());
    // The disk is mended, or it was a passing thing.
    node.host.faults.fail_erase.store(1, Ordering::SeqCst);
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_in_mid_write_is_named_and_its_node_not_sold_again() {
    let (site, node) = Site::ready().await;
    let serial = &node.host.inventory.disks[0].serial;
    // One that passes costs a boot.
    node.host.faults.fail_write.store(1, Ordering::SeqCst);
    assert_eq!(site.deploy("one").await.posts, 2);
    assert_has_image(node.disk());
    site.release("one", &node).await;

    node.host.faults.fail_write.store(3, Ordering::SeqCst);
    site.order("two").await;
    let shown = given_up(&site, &node, "deploy failed").await;
    let words = ["write_image", "attempt 3 of 3", "Input/output error"];
    says(reason(&shown), &words);
    says(reason(&shown), &[serial, "delete the server"]);
    let server = site.api.server("two").await.unwrap();
    assert_eq!(server.status, ServerStatus::Error);
    says(&server.reason, &[serial]);
    let explained = site.api.explain_node(&node.name).await.unwrap();
    says(explained.json(), &[serial, "Input/output error"]);
    let refused = problem(site.api.create_server(&order("three"), "three").await);
    says(&refused, &["No node of flavor metal is free", "1 failed"]);
    // What is half written is erased before anybody else gets it.
    site.release("two", &node).await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_error_that_passes_costs_one_more_boot() {
    let site = Site::start().await;
    let node = site.machine().await;
    soil(node.disk());
    node.host.faults.fail_erase.store(1, Ordering::SeqCst);
    site.api.create_node(&node.request()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    assert_erased(node.disk());
    // Inspection and the first cleaning share a boot; the second attempt has one of its own.
    assert_eq!(node.boots(), 2);
    let told = site.events().await;
    let again = |event: &&bessemer_wire::event::Event| event.message.contains("starting again");
    let again = told.iter().find(again).expect("an event that says so");
    let serial = &node.host.inventory.disks[0].serial;
    says(
        &again.data,
        &["attempt 2 of 3", "Input/output error", serial],
    );
    assert!(told.iter().all(|event| event.kind != "node.failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_never_calls_home_ends_as_an_error_and_leaves_nothing() {
    let timing = Timing {
        os_boot_deadline: 2,
        os_boot_deadline_kexec: 2,
        ..eager()
    };
    let (site, node) = Site::ready_with(timing, None).await;
    // Once by kexec, and then from the disk in each of three attempts.
    node.host.faults.silent_os.store(4, Ordering::SeqCst);
    site.order("one").await;
    let shown = given_up(&site, &node, "deploy failed").await;
    says(
        reason(&shown),
        &[
            "await_os",
            "attempt 3 of 3",
            "did not say that it is up",
            "delete the server",
        ],
    );
    let server = site.api.server("one").await.unwrap();
    assert_eq!(
        (server.status, server.active_at),
        (ServerStatus::Error, None)
    );
    assert_eq!(server.posts, 6);
    let refused = problem(site.api.provide_node(&node.name).await);
    says(&refused, &["has a server", "delete the server first"]);
    site.release("one", &node).await;
    assert_erased(node.disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_the_middle_of_a_deployment_ends_in_an_erased_node() {
    let (site, node) = Site::ready().await;
    node.host.faults.hold_in_write.send_replace(true);
    let commands = node.host.carried_out().len();
    site.order("one").await;
    site.wait_for_node(&node, "the image to be written", |node| {
        node.progress
            .as_ref()
            .is_some_and(|progress| progress.bytes > 0)
    })
    .await;
    site.api.delete_server("one").await.unwrap();
    // Asking twice is as good as asking once; it may be gone already.
    if let Err(error) = site.api.delete_server("one").await {
        assert!(error.is_not_found(), "{error}");
    }
    site.wait_for_state(&node, "available").await;
    assert!(site.api.server("one").await.unwrap_err().is_not_found());
    assert_erased(node.disk());
    let steps = node.steps_since(commands);
    let names: Vec<_> = steps.iter().map(|(_, step)| step.as_str()).collect();
    assert_eq!(names, ["prove_agent", "write_image", "erase"]);
    assert!(steps[1].0 < steps[2].0, "the deletion is a new generation");
    let deleted = site.events().await;
    let deleted = deleted
        .iter()
        .filter(|event| event.kind == "server.deleted");
    assert_eq!(deleted.count(), 1);
    // The address and the name are free again.
    node.host.faults.hold_in_write.send_replace(false);
    site.api
        .create_server(&order("one"), "again")
        .await
        .unwrap();
    let again = site.wait_for_active("one").await;
    let network = site.api.network("tenants").await.unwrap();
    let usage = network.subnets[0].usage;
    assert_eq!(
        (usage.allocated, usage.free),
        (1, usage.pool - 1),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_before_the_machine_has_booted_does_not_wait_for_it() {
    let (site, node) = Site::ready().await;
    node.machine.set_stuck_in_firmware(true);
    site.order("one").await;
    site.wait_for_state(&node, "wait call-back").await;
    node.machine.set_stuck_in_firmware(false);
    site.release("one", &node).await;
    assert_erased(node.disk());
}
