//! Controllers that do not answer are left alone, but for what people ask.

use bessemer_sim::redfish::Faults;
use bessemer_wire::api::PowerState;

use crate::harness::{SimNode, Site, says};

/// Has the controller refuse the password, for which it is left alone for minutes.
async fn left_alone_for_minutes(site: &Site, node: &SimNode) {
    node.set_faults(Faults {
        reject_credentials: true,
        ..Faults::default()
    });
    site.wait("it to be left alone", async || {
        site.api.explain_node(&node.name).await.unwrap();
        (site.server().site.bmcs.left_alone() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_controller_is_left_alone_and_what_waits_for_it_says_so() {
    let (site, node) = Site::ready().await;
    node.set_faults(Faults {
        refuse_connections: true,
        ..Faults::default()
    });
    let inside = &site.server().site;
    let record = inside.store.node(&node.name).await.unwrap();
    let client = inside.bmcs.of(&record).unwrap();
    site.wait("it to be left alone", async || {
        site.api.explain_node(&node.name).await.unwrap();
        (inside.bmcs.left_alone() == 1).then_some(())
    })
    .await;
    let sent = client.requests();
    site.api.explain_node(&node.name).await.unwrap();
    assert_eq!(
        client.requests(),
        sent,
        "it is asked although it is left alone"
    );

    // An order is what a person wants: it is tried once, and then waits with a reason.
    site.order("web").await;
    let waits = site
        .wait_for_node(&node, "it to wait for its controller", |node| {
            node.state.reason.summary.contains("has to wait")
        })
        .await;
    assert!(client.requests() > sent, "the order was not tried");
    let reason = &waits.state.reason;
    assert_eq!(reason.at, waits.state.retry_at);
    assert!(reason.at.is_some());
    says(
        reason,
        &[
            client.address(),
            "has not answered as it should since",
            "next try at",
            "cannot be reached",
            "bessemer node bmc",
        ],
    );

    // It is there again. What a person wants goes through before its time, and ends the wait.
    node.set_faults(Faults::default());
    site.release("web", &node).await;
    assert_eq!(inside.bmcs.left_alone(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_node_at_rest_does_not_wait_for_its_controllers_time() {
    let site = Site::start().await;
    let node = site.available().await;
    left_alone_for_minutes(&site, &node).await;
    node.set_faults(Faults::default());
    site.api
        .set_power(&node.name, PowerState::On)
        .await
        .unwrap();
    assert_eq!(site.server().site.bmcs.left_alone(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_failed_node_safe_does_not_wait_for_its_controllers_time() {
    let (site, node) = Site::ready().await;
    left_alone_for_minutes(&site, &node).await;
    // The order is tried once, in vain, and so is switching the machine off after that.
    site.order("web").await;
    site.wait_for_node(&node, "it to fail and rest", |node| {
        node.state.came_from.is_some() && node.state.at_rest()
    })
    .await;
    assert_eq!(site.server().site.bmcs.left_alone(), 1);
}
