//! Controllers that do not answer are left alone, but for what people ask.

use bessemer_sim::redfish::Faults;

use crate::harness::{Site, says};

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
