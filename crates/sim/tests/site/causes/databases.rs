//! A database that is away when something has been found out that is to be kept.

use std::time::Duration;

use bessemer_server::config::DatabaseUrl;
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::Node;

use super::expect_failed;
use crate::conductors::postgres::Cluster;
use crate::harness::{SimNode, Site, eager, says};

/// So slow is each answer of the controller until the database has stopped: it is asked several times, and
/// the database stops long before the last answer.
const ANSWER: Duration = Duration::from_secs(2);

fn answers_after(node: &SimNode, answer_delay: Duration) {
    node.set_faults(Faults {
        answer_delay,
        ..Faults::default()
    });
}

fn rests(node: &Node) -> bool {
    node.state.came_from.is_some() && node.state.at_rest()
}

/// What the controller says of its machine is there, and cannot be written down: each time that it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_never_there_when_it_is_needed() {
    let cluster = Cluster::start().await;
    let url = cluster.new_database().await;
    let site = Site::start_as(eager(), None, |config| {
        config.database_url = Some(DatabaseUrl(url));
        // Whatever is asked of the controller is of the node's first step.
        config.bmc.power_check = 0;
    })
    .await;
    let node = site.machine().await;
    answers_after(&node, ANSWER);
    site.api.create_node(&node.request()).await.unwrap();
    let tries = &site.server().site.metrics.bmc_requests;
    let (mut times, mut asked) = (0, 0);
    loop {
        let ended = tries.get();
        site.wait("the controller to be asked", async || {
            (node.bmc_requests() > asked).then_some(())
        })
        .await;
        cluster.stop().await;
        answers_after(&node, Duration::ZERO);
        // Requests are counted when the try has ended.
        site.wait("the try to end", async || {
            (tries.get() > ended).then_some(())
        })
        .await;
        times += 1;
        asked = node.bmc_requests();
        answers_after(&node, ANSWER);
        cluster.start_again().await;
        let after = site
            .wait_for_node(&node, "the next try", |node| {
                node.state.tries > times || rests(node)
            })
            .await;
        if rests(&after) {
            break;
        }
    }
    assert!(times > 1, "it was not tried again");
    answers_after(&node, Duration::ZERO);
    let explained = expect_failed(&site, &node, "database-unavailable").await;
    says(&explained.standing.reason, &["database"]);

    // It stays now.
    site.api.provide_node(&node.name).await.unwrap();
    site.wait_for_state(&node, "available").await;
}
