//! Registering, listing, forgetting; goals.

use bessemer_core::boot_method::{BootAbilities, BootMethod};
use bessemer_core::hardware::FirmwareMode;
use bessemer_core::id::{Generation, NodeId};
use bessemer_core::lifecycle::{Goal, Phase, Step};
use bessemer_core::root_disk::RootDiskHint;
use bessemer_store::{BmcRecord, Error, NodeChanges, NodeFilter, NodeText};

use crate::on_both;
use crate::site::{
    LEASE, Site, at, available_nodes, claim, enroll, held, inventory, mac, new_node, node_id,
    order, reach, stock,
};

on_both! {
    a_node_reads_back_as_it_was_registered
    what_is_taken_is_refused_with_its_holder
    lists_go_on_where_the_page_before_ended
    a_goal_raises_the_generation_and_wakes
    only_idle_nodes_are_forgotten
    a_boot_method_is_decided_and_given_back
    a_root_disk_hint_is_given_and_taken_back
}

async fn a_boot_method_is_decided_and_given_back(site: Site) {
    let store = site.open().await;
    let node = enroll(&store, 1).await;
    assert_eq!((node.boot_method, node.boot_abilities), (None, None));
    let abilities = BootAbilities {
        pxe: true,
        firmware_mode: Some(FirmwareMode::Bios),
        ..BootAbilities::default()
    };
    store.set_boot_abilities(node.id, &abilities).await.unwrap();
    for decided in [Some(BootMethod::VirtualMedia), None] {
        let changes = NodeChanges {
            boot_method: Some(decided),
            ..NodeChanges::default()
        };
        store.change_node(node.id, changes, at(9)).await.unwrap();
        let key = Some(vec![0, 255, 7]);
        let changes = NodeChanges {
            bmc: Some(BmcRecord {
                ipmi_key_sealed: key.clone(),
                ..node.bmc.clone()
            }),
            ..NodeChanges::default()
        };
        store.change_node(node.id, changes, at(9)).await.unwrap();
        // What is absent stays.
        let nothing = NodeChanges::default();
        store.change_node(node.id, nothing, at(9)).await.unwrap();
        let node = store.node_by_id(node.id).await.unwrap();
        assert_eq!(node.boot_method, decided);
        assert_eq!(node.bmc.ipmi_key_sealed, key);
        assert_eq!(node.boot_abilities, Some(abilities));
        assert_eq!(node.spec.generation, Generation(1), "nothing starts by it");
    }
}

async fn a_root_disk_hint_is_given_and_taken_back(site: Site) {
    let store = site.open().await;
    let hint: RootDiskHint = "serial=S1,size>=400G".parse().unwrap();
    let mut new = new_node(1);
    new.root_disk_hint = Some(hint.clone());
    let node = store.create_node(new, at(1)).await.unwrap();
    assert_eq!(node.root_disk_hint, Some(hint));
    for hint in [Some("rotational=true".parse().unwrap()), None] {
        let changes = NodeChanges {
            root_disk_hint: Some(hint.clone()),
            ..NodeChanges::default()
        };
        store.change_node(node.id, changes, at(9)).await.unwrap();
        // What is absent stays.
        let nothing = NodeChanges::default();
        store.change_node(node.id, nothing, at(9)).await.unwrap();
        let node = store.node_by_id(node.id).await.unwrap();
        assert_eq!(node.root_disk_hint, hint);
        assert_eq!(node.spec.generation, Generation(1), "nothing starts by it");
    }
}

async fn a_node_reads_back_as_it_was_registered(site: Site) {
    let store = site.open().await;
    let created = enroll(&store, 1).await;
    store.set_inventory(created.id, &inventory()).await.unwrap();
    store
        .set_identity(created.id, &inventory().identity)
        .await
        .unwrap();
    for name in [
        "node1",
        &created.id.to_string(),
        &created.id.to_string().to_uppercase(),
    ] {
        let node = store.node(name).await.unwrap();
        assert_eq!(node.id, created.id);
        assert_eq!(node.bmc.password_sealed, [0, 255, 7]);
        assert_eq!(node.ports, new_node(1).ports);
        assert_eq!(node.state.phase, Phase::Enrolled);
        assert_eq!(node.spec.goal, Goal::Available);
        assert_eq!(node.spec.generation, Generation(1));
        assert_eq!(node.created_at, at(1));
        assert_eq!(node.inventory.as_deref(), Some(&inventory()));
        assert_eq!(node.spec.identity, Some(inventory().identity));
    }
    let missing = store.node("node2").await.err().unwrap();
    assert_eq!(missing.to_string(), "there is no node `node2`");
    let counts = store.counts_by_phase().await.unwrap();
    assert_eq!(counts.len(), Phase::ALL.len());
    assert!(counts.contains(&(Phase::Enrolled, 1)));
    assert!(counts.contains(&(Phase::Active, 0)));
}

async fn what_is_taken_is_refused_with_its_holder(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    let mut same_name = new_node(2);
    same_name.name = "node1".into();
    let mut same_bmc = new_node(2);
    same_bmc.bmc.url = "https://bmc1".into();
    let mut same_mac = new_node(2);
    same_mac.ports.push(new_node(1).ports[0].clone());
    let mut twice = new_node(2);
    twice.ports.push(new_node(2).ports[0].clone());
    let first = mac(1);
    let own = mac(2);
    let expected = [
        (
            same_name,
            "name",
            "there is a node named `node1` already".to_owned(),
        ),
        (
            same_bmc,
            "bmc.url",
            "BMC https://bmc1 already belongs to node `node1`".to_owned(),
        ),
        (
            same_mac,
            "ports[1].mac",
            format!("MAC {first} already belongs to node `node1`"),
        ),
        (twice, "ports[1].mac", format!("MAC {own} is given twice")),
    ];
    for (node, expected_field, expected_message) in expected {
        match store.create_node(node, at(2)).await {
            Err(Error::Conflict { field, message }) => {
                assert_eq!(field.as_deref(), Some(expected_field));
                assert_eq!(message, expected_message);
            }
            _ => panic!("{expected_message}"),
        }
    }
    // Nothing half-done is left: the very same node can be registered now.
    enroll(&store, 2).await;
    assert_eq!(store.events_after(0, None, 10).await.unwrap().len(), 2);
}

async fn lists_go_on_where_the_page_before_ended(site: Site) {
    let store = site.open().await;
    for number in 1..=7 {
        // Two of them in the same millisecond.
        let created = store
            .create_node(new_node(number), at(i64::from(number / 2)))
            .await;
        created.unwrap();
    }
    let (mut seen, mut cursor) = (vec![], None);
    loop {
        let (nodes, next) = store.nodes(NodeFilter::default(), cursor, 3).await.unwrap();
        assert!(nodes.len() <= 3);
        seen.extend(nodes.into_iter().map(|node| node.id));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=7).map(node_id).collect::<Vec<_>>());
    let (mut shown, mut cursor) = (vec![], None::<String>);
    loop {
        let before = shown.len();
        let show = |node: NodeText<'_>| {
            shown.push(node.id.parse::<NodeId>().unwrap());
            Ok(())
        };
        let all = NodeFilter::default();
        let page = store.each_node(all, true, cursor.as_deref(), 3, show);
        cursor = page.await.unwrap();
        assert!(shown.len() - before <= 3);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(shown, seen);
    let held = NodeFilter {
        phase: Some(Phase::Held),
        ..NodeFilter::default()
    };
    assert!(store.nodes(held, None, 3).await.unwrap().0.is_empty());
    for wrong in [
        "",
        "x",
        "1_",
        "1_2",
        "_00000000-0000-0000-0000-000000000000",
    ] {
        let refused = store
            .nodes(NodeFilter::default(), Some(wrong.into()), 3)
            .await;
        assert!(matches!(refused, Err(Error::Cursor(_))), "{wrong}");
    }
}

async fn a_goal_raises_the_generation_and_wakes(site: Site) {
    let store = site.open().await;
    enroll(&store, 1).await;
    reach(&store, Phase::Failed, Step::Rest, at(10)).await;
    assert_eq!(store.next_due(at(10)).await.unwrap(), None, "asleep");
    let raised = store
        .set_goal(node_id(1), Goal::Available, "alice", at(20))
        .await
        .unwrap();
    assert_eq!(raised, Generation(2));
    assert_eq!(store.next_due(at(20)).await.unwrap(), Some(at(20)));
    let raised = store
        .set_goal(node_id(1), held(), "alice", at(30))
        .await
        .unwrap();
    assert_eq!(raised, Generation(3));
    // It has been due since 20 and does not lose its place.
    assert_eq!(store.next_due(at(30)).await.unwrap(), Some(at(20)));
    assert_eq!(store.node("node1").await.unwrap().spec.goal, held());
    let missing = store.set_goal(node_id(9), held(), "alice", at(30)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

async fn only_idle_nodes_are_forgotten(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    let refusal = |result: Result<(), Error>| result.expect_err("is refused").to_string();

    store.place(order(1, 1), at(2000)).await.unwrap();
    let refused = refusal(store.delete_node(node_id(1), true, at(2000)).await);
    assert!(refused.contains("delete the server first"), "{refused}");
    let refused = store.set_goal(node_id(1), held(), "alice", at(2000)).await;
    assert!(
        refused
            .err()
            .unwrap()
            .to_string()
            .contains("delete the server first")
    );
    reach(&store, Phase::Deploying, Step::WriteImage, at(2000)).await;

    enroll(&store, 2).await;
    reach(&store, Phase::Cleaning, Step::Erase, at(2100)).await;
    let refused = refusal(store.delete_node(node_id(2), true, at(2100)).await);
    assert_eq!(
        refused,
        "node `node2` is cleaning: hold it first, or wait until it is available"
    );

    let third = enroll(&store, 3).await;
    let claim = claim(&store, at(2200)).await;
    assert_eq!(claim.node, third.id);
    let refused = refusal(store.delete_node(third.id, true, at(2200)).await);
    assert!(refused.contains("being worked on"), "{refused}");
    // Whoever had it is long dead.
    let later = at(2201 + LEASE / 1000);
    let refused = refusal(store.delete_node(third.id, false, later).await);
    assert_eq!(
        refused,
        "node `node3` is enrolled: retire it first, or force it"
    );
    store.delete_node(third.id, true, later).await.unwrap();
    assert!(matches!(store.work(claim).await, Err(Error::LeaseLost)));
    assert!(matches!(
        store.node("node3").await,
        Err(Error::NotFound { .. })
    ));
    // Its name, BMC and MAC address are free again.
    enroll(&store, 3).await;
}
