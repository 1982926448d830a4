//! Orders and registrations that cannot be, each refused with the way out and nothing half-done.

use bessemer_wire::api::{FlavorCreate, ImageCreate, ImageStatus, Role, ServerStatus, TokenCreate};

use crate::harness::{Site, image, order, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn no_two_nodes_have_one_bmc_or_one_mac_or_one_name() {
    let site = Site::start().await;
    let (first, second) = (site.machine().await, site.machine().await);
    site.api.create_node(&first.request()).await.unwrap();
    let mut same_bmc = second.request();
    same_bmc.bmc.url = first.request().bmc.url + "/redfish/v1/";
    let mut same_mac = second.request();
    same_mac.ports = first.request().ports;
    let mut same_name = second.request();
    same_name.name = first.name.clone();
    for (request, field) in [
        (same_bmc, "bmc.url"),
        (same_mac, "ports[0].mac"),
        (same_name, "name"),
    ] {
        let refused = problem(site.api.create_node(&request).await);
        assert_eq!(
            (refused.status, refused.field.as_deref()),
            (409, Some(field))
        );
        says(&refused, &["node1", "already"]);
    }
    assert_eq!(site.api.nodes(None, false).await.unwrap().len(), 1);
    site.api.create_node(&second.request()).await.unwrap();
    site.wait_for_state(&first, "available").await;
    site.wait_for_state(&second, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_sent_twice_is_one_server() {
    let (site, _node) = Site::ready().await;
    let _other = site.available().await;
    let request = order("one");
    let (first, second) = tokio::join!(
        site.api.create_server(&request, "the key"),
        site.api.create_server(&request, "the key")
    );
    let id = first.unwrap().id;
    assert_eq!(second.unwrap().id, id);
    site.wait_for_active("one").await;
    let again = site
        .api
        .create_server(&order("one"), "the key")
        .await
        .unwrap();
    assert_eq!((again.id, again.status), (id, ServerStatus::Active));
    let mut another = order("one");
    another.user_data = Some("#!/bin/sh".into());
    let refused = problem(site.api.create_server(&another, "the key").await);
    says(&refused, &["Idempotency-Key"]);
    assert_eq!(site.api.servers().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_orders_for_the_last_node_exactly_one_wins() {
    let (site, node) = Site::ready().await;
    let (first, second) = (order("one"), order("two"));
    let (first, second) = tokio::join!(
        site.api.create_server(&first, "key1"),
        site.api.create_server(&second, "key2")
    );
    let (won, lost) = match (first, second) {
        (Ok(won), lost) | (lost, Ok(won)) => (won, lost),
        (first, second) => panic!("both lost: {first:?}, {second:?}"),
    };
    let refused = problem(lost);
    assert_eq!(refused.kind, "urn:bessemer:problem:no-matching-node");
    assert_eq!(site.api.servers().await.unwrap().len(), 1);
    site.wait_for_active(&won.name).await;
    assert_eq!(site.node(&node).await.server, Some(won.id));
    // Nothing of the order that lost is in the way of the next one.
    let network = site.api.network("tenants").await.unwrap();
    assert_eq!(network.servers, 1);
    assert_eq!(network.subnets[0].usage.allocated, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nothing_matches_is_told_what_is_short() {
    let (site, node) = Site::ready().await;
    let mut hardware = site.api.flavor("metal").await.unwrap().hardware.clone();
    hardware.threads = 96;
    let flavor = FlavorCreate {
        name: "huge".into(),
        hardware: Some(hardware),
        from_node: None,
        standby: false,
        hand_over: bessemer_core::lifecycle::HandOver::default(),
        root_disk_hint: None,
    };
    site.api.create_flavor(&flavor).await.unwrap();
    let mut request = order("one");
    request.flavor = "huge".into();
    let refused = problem(site.api.create_server(&request, "key").await);
    assert_eq!(refused.status, 409);
    says(
        &refused,
        &[
            "No node has the hardware of flavor huge",
            "node1",
            "threads is 4, wanted 96",
        ],
    );
    site.deploy("one").await;
    let refused = problem(site.api.create_server(&order("two"), "key2").await);
    says(&refused, &["No node of flavor metal is free", "1 active"]);
    assert_eq!(site.node(&node).await.provision_state, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_larger_than_the_disk_is_refused_before_anything_is_touched() {
    let (site, node) = Site::ready().await;
    site.import("large", &image::large(9)).await;
    let boots = node.boots();
    let generation = site.node(&node).await.generation;
    let mut request = order("one");
    request.image = "large".into();
    let refused = problem(site.api.create_server(&request, "key").await);
    assert_eq!(
        (refused.status, refused.field.as_deref()),
        (422, Some("image"))
    );
    says(
        &refused,
        &["large", "9.0 GiB", "8.0 GiB", "Nothing has been changed"],
    );
    problem(site.api.plan_server(&request).await);
    let shown = site.node(&node).await;
    assert_eq!(shown.provision_state, "available");
    assert_eq!((shown.generation, node.boots()), (generation, boots));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_image_is_never_offered() {
    let (site, _node) = Site::ready().await;
    let path = site.path("damaged");
    for (name, content, words) in [
        ("damaged", image::small().to_vec(), "sha256"),
        ("no-image", b"<html>404</html>".to_vec(), "image"),
    ] {
        std::fs::write(&path, &content).unwrap();
        let sha256 = match name {
            "damaged" => image::sha256(b"something else"),
            _ => image::sha256(&content),
        };
        let request = ImageCreate {
            name: name.into(),
            source: Some(path.to_str().unwrap().into()),
            sha256: Some(sha256),
            ..ImageCreate::default()
        };
        site.api.create_image(&request).await.unwrap();
        let shown = site
            .wait("the import to fail", async || {
                let shown = site.api.image(name).await.unwrap();
                (shown.status == ImageStatus::Failed).then_some(shown)
            })
            .await;
        says(shown.message.as_ref().unwrap(), &[words]);
        let mut request = order("one");
        request.image = name.into();
        let refused = problem(site.api.create_server(&request, "key").await);
        assert_eq!(refused.status, 409);
        says(&refused, &[name, "failed", words]);
    }
    assert!(site.api.servers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_names_must_exist() {
    let (site, _node) = Site::ready().await;
    let mut requests = [order("one"), order("one"), order("one"), order("one")];
    requests[0].flavor = "nothing".into();
    requests[1].image = "nothing".into();
    requests[2].networks[0].network = "nothing".into();
    requests[3].keys = vec!["me".into(), "nothing".into()];
    for (request, field) in
        requests
            .iter()
            .zip(["flavor", "image", "networks[0].network", "keys[1]"])
    {
        let refused = problem(site.api.create_server(request, "key").await);
        assert_eq!(
            (refused.status, refused.field.as_deref()),
            (422, Some(field))
        );
        says(&refused, &["nothing"]);
    }
    // None of them used the key up.
    site.api.create_server(&order("one"), "key").await.unwrap();
    site.wait_for_active("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_living_token_opens_the_door() {
    let site = Site::start().await;
    let refused = problem(site.client("nobody").nodes(None, false).await);
    assert_eq!(refused.status, 401);
    let request = TokenCreate {
        name: "helper".into(),
        role: Role::Admin,
        project: None,
    };
    let created = site.api.create_token(&request).await.unwrap();
    let helper = site.client(&created.secret);
    helper.nodes(None, false).await.unwrap();
    site.api.delete_token("helper").await.unwrap();
    assert_eq!(problem(helper.nodes(None, false).await).status, 401);

    let member = TokenCreate {
        name: "tenant".into(),
        role: Role::Member,
        project: Some("acme".into()),
    };
    let member = site.api.create_token(&member).await.unwrap();
    let member = site.client(&member.secret);
    assert_eq!(problem(member.nodes(None, false).await).status, 403);
    assert!(member.servers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other() {
    let (site, _node) = Site::ready().await;
    site.deploy("one").await;
    let member = TokenCreate {
        name: "tenant".into(),
        role: Role::Member,
        project: Some("acme".into()),
    };
    let member = site.api.create_token(&member).await.unwrap();
    let member = site.client(&member.secret);
    assert!(member.servers().await.unwrap().is_empty());
    assert!(member.server("one").await.unwrap_err().is_not_found());
    assert!(
        member
            .delete_server("one")
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(member.events(0, 1000).await.unwrap().is_empty());
    // Nor is another project's key one's own.
    let refused = problem(member.create_server(&order("two"), "key").await);
    assert_eq!(refused.field.as_deref(), Some("keys[0]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_takes_few_requests_to_the_bmc() {
    let (site, node) = Site::ready().await;
    for name in ["one", "two"] {
        let before = node.bmc_requests();
        site.deploy(name).await;
        let taken = node.bmc_requests() - before;
        println!("{taken} requests to the BMC");
        assert!(taken <= 12, "{taken} requests to the BMC");
        site.release(name, &node).await;
    }
}
