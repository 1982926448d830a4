//! What an agent says and what it is to do next are one commit, as long as nobody has the node.

use std::sync::{Arc, Mutex};

use bessemer_store::{Gate, When};

use crate::harness::disk::assert_has_image;
use crate::harness::{Site, eager};

/// From when the agent proves that it lives until it has written the config drive, no conductor is needed.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_what_comes_next_as_it_reports() {
    let commits = Arc::new(Mutex::new(Vec::new()));
    let noted = commits.clone();
    let gate: Gate = Arc::new(move |point| {
        if point.when == When::After {
            noted.lock().unwrap().push(point.name);
        }
        true
    });
    let (site, node) = Site::ready_with(eager(), Some(gate)).await;
    commits.lock().unwrap().clear();
    site.order("web1").await;
    site.wait_for_active("web1").await;
    let commits = commits.lock().unwrap().clone();
    let of = |name| {
        commits
            .iter()
            .enumerate()
            .filter(move |(_, each)| **each == name)
    };
    let reports: Vec<_> = of("agent_outcome").map(|(at, _)| at).collect();
    // It proves that it lives, writes the image and the config drive, loads the kernel, and is armed.
    assert_eq!(reports.len(), 5, "{commits:?}");
    let between = &commits[reports[0]..reports[4]];
    let conductors = between
        .iter()
        .filter(|name| ["claim_due", "commit"].contains(name));
    assert_eq!(conductors.count(), 0, "{commits:?}");
    // Every step is told all the same.
    let events = site.events().await;
    let steps: Vec<_> = events
        .iter()
        .map(|event| event.data["step"].clone())
        .collect();
    for step in [
        "write_image",
        "write_config_drive",
        "load_kernel",
        "hand_over",
    ] {
        assert!(steps.contains(&step.into()), "{step} in {steps:?}");
    }
    assert_has_image(node.disk());
}
