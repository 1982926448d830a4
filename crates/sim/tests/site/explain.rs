//! Explaining nodes: what was seen of them is there. (Which cause is named for which fault: `causes`.)

use crate::causes::explain;
use crate::harness::{Site, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn what_works_is_explained_with_what_was_seen() {
    let (site, node) = Site::ready().await;
    let explained = explain(&site, &node).await;
    assert_eq!(explained.cause.code, "at-rest");
    assert_eq!(explained.provision_state, "available");
    let agent: Vec<_> = explained
        .agent
        .recent
        .iter()
        .map(|each| &each.what)
        .collect();
    let agent = format!("{agent:?}");
    says(&agent, &["an agent called", "erase", "inspect"]);
    assert!(explained.agent.last.is_some());
    let last = explained.bmc.last().unwrap();
    assert!(last.well, "{last:?}");
    says(&last.what, &["GET /redfish/v1/Systems/", "200"]);
    let refused = problem(site.api.explain_node("no-such").await);
    assert_eq!(refused.status, 404);
}
