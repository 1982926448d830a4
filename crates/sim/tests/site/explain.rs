//! Explaining nodes and servers: what was seen of them is there, and tenants are told what is theirs to
//! know. (Which cause is named for which fault: `causes`.)

use std::sync::atomic::Ordering;

use bessemer_client::Client;
use bessemer_core::lifecycle::{Step, Timing};
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::{Role, ServerExplanation, TokenCreate};

use crate::causes::{expect_failed, explain};
use crate::harness::node::USERNAME;
use crate::harness::{SimNode, Site, eager, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn what_works_is_explained_with_what_was_seen() {
    let (site, node) = Site::ready().await;
    let explained = explain(&site, &node).await;
    assert_eq!(explained.standing.cause.code, "at-rest");
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

/// Somebody of this project, who is no operator.
async fn member(site: &Site, project: &str) -> Client {
    let request = TokenCreate {
        name: format!("member-of-{project}"),
        role: Role::Member,
        project: Some(project.into()),
    };
    site.client(&site.api.create_token(&request).await.unwrap().secret)
}

/// What a tenant is told of a server. Nothing of the site's own is among it.
async fn told(tenant: &Client, server: &str, node: &SimNode) -> ServerExplanation {
    let explained = tenant.explain_server(server).await.unwrap();
    let shown = tenant.server(server).await.unwrap();
    let power = tenant.server_power(server).await.unwrap();
    let serial = node.host.inventory.identity.serial.clone();
    // As messages have it: quoted, in JSON.
    let account = format!("\\\"{USERNAME}\\\"");
    let events = tenant.events(0, 1000).await.unwrap();
    let events: String = events.iter().map(|event| event.json()).collect();
    for json in [explained.json(), shown.json(), power.json(), &events] {
        for own in [&node.address().to_string(), &account, &serial] {
            assert!(!json.contains(own), "a tenant is told {own}: {json}");
        }
    }
    explained.into_value()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_told_what_is_theirs_to_know() {
    let (site, node) = Site::ready().await;
    let (tenant, stranger) = (member(&site, "default").await, member(&site, "acme").await);
    site.deploy("one").await;
    let explained = told(&tenant, "one", &node).await;
    assert_eq!(explained.standing.cause.code, "at-rest");
    says(
        &explained.report.last().unwrap().what,
        &["by its cloud-init only"],
    );
    assert_eq!(problem(stranger.explain_server("one").await).status, 404);
    assert_eq!(problem(tenant.explain_node(&node.name).await).status, 403);

    // The reasons of failures have addresses and accounts in them.
    node.set_faults(Faults {
        reject_credentials: true,
        ..Faults::default()
    });
    site.api.delete_server("one").await.unwrap();
    let explained = expect_failed(&site, &node, "bmc-password-refused").await;
    says(&explained.standing.reason, &[USERNAME]);
    let explained = told(&tenant, "one", &node).await;
    assert_eq!(explained.standing.cause.code, "bmc-password-refused");
    assert_eq!(explained.standing.step, Step::PowerOff);
    says(&explained.standing.cause.remedy, &["operators"]);
    says(&explained.standing.reason, &["user name or password"]);
    let operator = site.api.explain_server("one").await.unwrap();
    says(&operator.standing.cause.remedy, &["bessemer node set"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_its_servers_own() {
    let timing = Timing {
        os_boot_deadline: 600,
        ..eager()
    };
    let site = Site::start_with(timing, None).await;
    let mut node = site.machine().await;
    node.speak_ipmi(false).await;
    site.api.create_node(&node.request_by_ipmi()).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    node.host.faults.silent_os.store(9, Ordering::SeqCst);
    let serial = node.machine.serial();
    for (server, line) in [("one", "what one has said"), ("two", "what two has said")] {
        site.order(server).await;
        let heard = async || {
            serial.write(format!("\r\n{line}\r\nroot password: hunter2\r\n"));
            let explained = site.api.explain_server(server).await.unwrap();
            let is_there = explained.console.iter().any(|heard| heard == line);
            is_there.then(|| explained.into_value())
        };
        let explained = site.wait("the console to be heard", heard).await;
        let console = explained.console.join("\n");
        says(&console, &["root password: ***"]);
        assert!(!console.contains("hunter2"), "{console}");
        let other = if server == "one" { "two" } else { "one" };
        assert!(!console.contains(&format!("what {other}")), "{console}");
        site.release(server, &node).await;
    }
}
