//! What operators learn of management controllers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::{BmcTrust, BmcUpdate, NodeUpdate};

use crate::harness::node::PASSWORD;
use crate::harness::{Site, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_is_asked_what_its_machine_is_made_of() {
    let (site, node) = Site::ready().await;
    let told = site.api.node_bmc(&node.name).await.unwrap();
    assert!(!told.json().contains(PASSWORD));
    let told = told.into_value();
    assert_eq!(told.model.as_deref(), Some("Simulated Server"));
    assert_eq!(told.serial.as_deref(), Some("SIM00001"));
    assert_eq!(told.firmware_version.as_deref(), Some("1.0"));
    assert_eq!(told.memory_mib, Some(16 * 1024));
    assert_eq!((told.cpus.len(), told.cpus[0].cores), (1, Some(4)));
    assert_eq!((told.nics.len(), told.nics[0].mac), (1, node.host.mac));
    let drive = &told.drives[0];
    assert_eq!(drive.serial.as_deref(), Some("SIMNVME00001"));
    assert_eq!(drive.size_bytes, Some(8 << 30));
    let media = &told.media_drives[0];
    assert_eq!(
        (media.kinds.join(" ").as_str(), media.holds_image),
        ("CD DVD", false)
    );
    assert_eq!(told.unread, ["the BMC lists no BootOptions"]);

    node.set_faults(Faults {
        reject_credentials: true,
        ..Faults::default()
    });
    let refused = problem(site.api.node_bmc(&node.name).await);
    assert_eq!(refused.status, 502);
    says(&refused, &["password", "credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_certificate_has_changed_is_told_nothing() {
    let site = Site::start().await;
    let mut node = site.machine_with_tls().await;
    let request = node.request();
    let BmcTrust::Pinned(before) = &request.bmc.trust else {
        panic!("{:?}", request.bmc.trust);
    };
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&node, "available").await;
    site.offer(&node).await;
    node.renew_certificate(&site).await;
    let requests = node.bmc_requests();
    site.order("one").await;
    let failed = site
        .wait_for_node(&node, "it to be given up", |node| {
            node.provision_state == "deploy failed" && node.state.at_rest()
        })
        .await;
    let BmcTrust::Pinned(after) = node.request().bmc.trust else {
        panic!("it speaks TLS");
    };
    let reason = serde_json::to_string(&failed.state.reason).unwrap();
    says(
        &reason,
        &[before, &after, "pin the new one", "somebody else"],
    );
    let explained = site.api.explain_node(&node.name).await.unwrap();
    says(explained.json(), &[&after]);
    assert_eq!(explained.standing.cause.code, "bmc-not-trusted");
    assert_eq!(node.bmc_requests(), requests, "it was told something");

    let weaker = changed(BmcUpdate {
        trust: Some(BmcTrust::Insecure),
        ..BmcUpdate::default()
    });
    let refused = problem(site.api.update_node(&node.name, &weaker).await);
    assert_eq!(refused.field.as_deref(), Some("bmc.password"));
    let pinned = changed(BmcUpdate {
        trust: Some(BmcTrust::Pinned(after)),
        ..BmcUpdate::default()
    });
    site.api.update_node(&node.name, &pinned).await.unwrap();
    site.api.delete_server("one").await.unwrap();
    site.wait_for_state(&node, "available").await;
}

fn changed(bmc: BmcUpdate) -> NodeUpdate {
    NodeUpdate {
        bmc: Some(bmc),
        ..NodeUpdate::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_account_and_address_can_be_changed() {
    let (site, node) = Site::ready().await;
    let other = site.machine().await;
    site.api.create_node(&other.request()).await.unwrap();
    let update = async |bmc| site.api.update_node(&node.name, &changed(bmc)).await;

    let elsewhere = BmcUpdate {
        url: Some(other.request().bmc.url),
        ..BmcUpdate::default()
    };
    let refused = problem(update(elsewhere.clone()).await);
    assert_eq!(refused.field.as_deref(), Some("bmc.password"));
    says(&refused, &["not sent to another address"]);
    let taken = BmcUpdate {
        password: Some(PASSWORD.into()),
        ..elsewhere
    };
    let refused = problem(update(taken).await);
    assert_eq!(refused.status, 409);
    says(&refused, &["bmc.url", &other.name]);

    let wrong = BmcUpdate {
        password: Some("of-yesterday".into()),
        ..BmcUpdate::default()
    };
    let shown = update(wrong).await.unwrap();
    assert!(!shown.json().contains("of-yesterday"));
    problem(site.api.node_bmc(&node.name).await);
    let right = BmcUpdate {
        password: Some(PASSWORD.into()),
        ..BmcUpdate::default()
    };
    update(right).await.unwrap();
    site.api.node_bmc(&node.name).await.unwrap();
}

type Answer = fn() -> Response;

/// A controller that gives this answer to whatever it is asked, and how often that was.
async fn hostile(answer: Answer) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let router = Router::new().fallback(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        answer()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_controllers_answers_is_told() {
    let site = Site::start().await;
    let (elsewhere, asked) = hostile(|| "{}".into_response()).await;
    static ELSEWHERE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ELSEWHERE.set(format!("{elsewhere}/redfish/v1")).unwrap();
    let answers: [(Answer, &str); 5] = [
        (|| "{}".into_response(), "Systems"),
        (|| StatusCode::OK.into_response(), "JSON"),
        (|| "<html>log in</html>".into_response(), "JSON"),
        (|| vec![b' '; 10 << 20].into_response(), "bytes"),
        (
            || (StatusCode::FOUND, [("location", ELSEWHERE.get().unwrap())]).into_response(),
            "not on this BMC",
        ),
    ];
    let machine = site.machine().await;
    for (answer, words) in answers {
        let (url, _) = hostile(answer).await;
        let mut request = machine.request();
        request.bmc.url = url.clone();
        site.api.create_node(&request).await.unwrap();
        let given_up = site
            .wait_for_node(&machine, "it to be given up", |node| {
                node.provision_state == "enroll" && node.state.at_rest()
            })
            .await;
        let reason = serde_json::to_string(&given_up.state.reason).unwrap();
        says(&reason, &[&url, words, "provide"]);
        let explained = site.api.explain_node(&machine.name).await.unwrap();
        assert_eq!(
            explained.standing.cause.code, "bmc-answers-nonsense",
            "{words}"
        );
        site.api.delete_node(&machine.name, true).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "a redirect was followed");
    // The true one is welcome.
    site.api.create_node(&machine.request()).await.unwrap();
    site.wait_for_state(&machine, "available").await;
}
