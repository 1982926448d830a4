//! What people want of nodes and servers beside orders: rebuilding, switching, stopping, retiring.

use bessemer_core::id::{Generation, ImageId, NodeId};
use bessemer_core::lifecycle::{Action, Goal, Outcome, Phase, Step};
use bessemer_core::plan::Plan;
use bessemer_store::{Error, Placed, Rebuild, ServerRequest, Store};
use bessemer_wire::event::Event;

use crate::on_both;
use crate::site::{
    Site, at, available_nodes, enroll, held, image, inventory, node_id, order, project, reach,
    server_id, stock,
};

on_both! {
    a_rebuild_is_a_new_generation_of_the_same_server
    of_two_rebuilds_at_once_one_wins
    a_rebuild_under_one_key_happens_once
    only_what_works_is_stopped
    what_is_given_up_is_not_stopped_instead
    a_node_that_is_retired_is_for_nobody
    only_active_servers_are_switched
    a_request_is_overtaken_only_by_force
}

/// Node 1 with the active server 1, in generation 2.
async fn active(store: &Store) {
    stock(store, 5).await;
    available_nodes(store, 1).await;
    store.place(order(1, 1), at(2000)).await.unwrap();
    reach(store, Phase::Active, Step::Rest, at(2010)).await;
}

fn rebuild(seen: u64) -> Rebuild {
    Rebuild {
        server: server_id(1),
        project: project(),
        seen: Generation(seen),
        image: image(),
        image_bytes: 1 << 20,
        root_disk: inventory().disks[0].identity(),
        hand_over: bessemer_core::lifecycle::HandOver::TryKexec,
        keys: vec![("new".into(), "ssh-ed25519 BBBB new".into())],
        user_data_sealed: None,
        plan: Plan {
            steps: vec![],
            posts: 1,
            expected_seconds: 7,
        },
        idempotency: None,
    }
}

fn request(key: &str, action: Action, overtakes: bool) -> ServerRequest {
    ServerRequest {
        server: server_id(1),
        project: project(),
        key: key.into(),
        action,
        overtakes,
        message: format!("{key} is wanted"),
    }
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, words: &str) {
    match result {
        Err(error @ Error::Conflict { .. }) => {
            assert!(error.to_string().contains(words), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

async fn kinds(store: &Store) -> Vec<String> {
    let events: Vec<Event> = store.events_after(0, None, 100).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

async fn a_rebuild_is_a_new_generation_of_the_same_server(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let before = store.server(None, "server1").await.unwrap();
    assert!(before.active_at.is_some() && before.rebuilt_at.is_none());

    let placed = store.rebuild(rebuild(2), at(2020)).await.unwrap();
    assert_eq!(placed, Placed::New(server_id(1)));
    let server = store.server(None, "server1").await.unwrap();
    assert_eq!(server.generation, Generation(3));
    assert_eq!(server.node, before.node);
    assert_eq!(server.attachments, before.attachments);
    assert_eq!(server.keys[0].0, "new");
    assert_eq!(server.plan.expected_seconds, 7);
    assert_eq!(server.rebuilt_at, Some(at(2020)));
    assert_eq!(server.active_at, None);
    let Goal::Deployed(deployment) = server.goal else {
        panic!("{:?}", server.goal);
    };
    assert_eq!(deployment.root_disk, Some(inventory().disks[0].identity()));
    // What the system before says about itself counts no longer.
    let old = store.os_up(server_id(1), Generation(2), at(2021)).await;
    assert!(!old.unwrap());
    assert!(kinds(&store).await.contains(&"server.rebuilding".into()));

    reach(&store, Phase::Deploying, Step::WriteImage, at(2021)).await;
    refused(
        store.rebuild(rebuild(3), at(2022)).await,
        "look at it again",
    );
    store.wake(node_id(1), at(2023)).await.unwrap();
    reach(&store, Phase::Failed, Step::Rest, at(2023)).await;
    let mut gone = rebuild(3);
    gone.image = ImageId(uuid::Uuid::from_u128(99));
    refused(store.rebuild(gone, at(2024)).await, "image was deleted");
    store.rebuild(rebuild(3), at(2024)).await.unwrap();
}

async fn of_two_rebuilds_at_once_one_wins(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let (one, other) = tokio::join!(
        store.rebuild(rebuild(2), at(2020)),
        store.rebuild(rebuild(2), at(2020))
    );
    let won = [&one, &other]
        .into_iter()
        .filter(|each| each.is_ok())
        .count();
    assert_eq!(won, 1, "{one:?} {other:?}");
    let server = store.server(None, "server1").await.unwrap();
    assert_eq!(server.generation, Generation(3));
}

async fn a_rebuild_under_one_key_happens_once(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let mut wanted = rebuild(2);
    wanted.idempotency = Some(("key".into(), "digest".into()));
    let placed = store.rebuild(wanted.clone(), at(2020)).await.unwrap();
    assert_eq!(placed, Placed::New(server_id(1)));
    let again = store.rebuild(wanted.clone(), at(2021)).await.unwrap();
    assert_eq!(again, Placed::Again(server_id(1)));
    let server = store.server(None, "server1").await.unwrap();
    assert_eq!(server.generation, Generation(3));
    wanted.idempotency = Some(("key".into(), "other".into()));
    refused(
        store.rebuild(wanted, at(2022)).await,
        "used for another request",
    );
}

async fn only_what_works_is_stopped(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    let abort = async |now| {
        store
            .abort(node_id(1), "wrong rack", "alice", at(now))
            .await
    };
    refused(
        abort(2000).await,
        "node `node1` is available: there is nothing",
    );
    store.place(order(1, 1), at(2001)).await.unwrap();
    reach(&store, Phase::Deploying, Step::WriteImage, at(2001)).await;
    assert_eq!(abort(2002).await.unwrap(), Generation(3));
    let node = store.node("node1").await.unwrap();
    assert_eq!(node.spec.abort.as_deref(), Some("wrong rack"));
    assert!(matches!(node.spec.goal, Goal::Deployed(_)), "still theirs");
    reach(&store, Phase::Failed, Step::PowerOff, at(2003)).await;
    refused(abort(2004).await, "is failed: there is nothing");
    // It is over with the next wish.
    store.release_server(server_id(1), at(2005)).await.unwrap();
    let node = store.node("node1").await.unwrap();
    assert_eq!(node.spec.abort, None);

    enroll(&store, 2).await;
    store
        .abort(node_id(2), "x", "alice", at(2006))
        .await
        .unwrap();
    store
        .set_goal(node_id(2), Goal::Available, "alice", at(2007))
        .await
        .unwrap();
    assert_eq!(store.node("node2").await.unwrap().spec.abort, None);
    let missing = store.abort(node_id(9), "x", "alice", at(2008)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let events = store.events_after(0, None, 100).await.unwrap();
    let told = events.iter().find(|event| event.kind == "node.aborted");
    let told = &told.unwrap().message;
    assert!(
        told.contains("alice") && told.contains("wrong rack"),
        "{told}"
    );
}

/// Found by the runs: a server was given back for ever.
async fn what_is_given_up_is_not_stopped_instead(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    store.place(order(1, 1), at(2001)).await.unwrap();
    reach(&store, Phase::Deploying, Step::PrepareBoot, at(2001)).await;
    store.release_server(server_id(1), at(2002)).await.unwrap();
    let abort = store.abort(node_id(1), "wrong rack", "alice", at(2003));
    refused(
        abort.await,
        "is deploying, which has been given up: there is nothing",
    );
    let node = store.node("node1").await.unwrap();
    assert_eq!((node.spec.abort, node.spec.goal), (None, Goal::Available));
    assert_eq!(node.spec.generation, Generation(3));
}

async fn a_node_that_is_retired_is_for_nobody(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let retired = || Goal::Retired {
        reason: "sold".into(),
    };
    let wanted = store
        .set_goal(node_id(1), retired(), "alice", at(2020))
        .await;
    refused(wanted, "delete the server first");

    enroll(&store, 2).await;
    reach(&store, Phase::Available, Step::Rest, at(2021)).await;
    store
        .set_inventory(node_id(2), &crate::site::inventory())
        .await
        .unwrap();
    assert_eq!(available(&store).await, vec![vec![node_id(2)], vec![]]);
    store
        .set_goal(node_id(2), retired(), "alice", at(2022))
        .await
        .unwrap();
    assert_eq!(available(&store).await, vec![Vec::<NodeId>::new(); 2]);
    let order = store.place(order(2, 2), at(2022)).await;
    assert!(matches!(order, Err(Error::NoNode)));
    reach(&store, Phase::Retired, Step::Rest, at(2023)).await;
    assert_eq!(store.node("node2").await.unwrap().spec.goal, retired());
    store
        .set_goal(node_id(2), held(), "alice", at(2024))
        .await
        .unwrap();
    reach(&store, Phase::Retired, Step::Rest, at(2025)).await;
    store
        .delete_node(node_id(2), false, at(2026))
        .await
        .unwrap();
}

async fn only_active_servers_are_switched(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let off = || request("off", Action::ShutDown { seconds: 60 }, false);
    store.request_of_server(&off(), at(2020)).await.unwrap();
    // The same request again is the same one.
    store.request_of_server(&off(), at(2021)).await.unwrap();
    let (intent, outcome) = store.newest_intent(node_id(1)).await.unwrap().unwrap();
    assert_eq!(intent.action, Action::ShutDown { seconds: 60 });
    assert_eq!(
        (intent.generation, outcome),
        (Generation(2), Outcome::Pending)
    );
    let kinds = kinds(&store).await;
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "server.power").count(),
        1
    );

    // Wanted otherwise, though it still says that it is active.
    store.rebuild(rebuild(2), at(2022)).await.unwrap();
    let late = request("late", Action::PowerOff, true);
    refused(store.request_of_server(&late, at(2023)).await, "not active");
    reach(&store, Phase::Deploying, Step::WriteImage, at(2024)).await;
    refused(store.request_of_server(&late, at(2025)).await, "not active");
}

async fn a_request_is_overtaken_only_by_force(site: Site) {
    let store = site.open().await;
    active(&store).await;
    let soft = request("soft", Action::ShutDown { seconds: 60 }, false);
    store.request_of_server(&soft, at(2020)).await.unwrap();
    let mut hard = request("hard", Action::PowerOff, false);
    refused(store.request_of_server(&hard, at(2021)).await, "force");
    hard.overtakes = true;
    store.request_of_server(&hard, at(2022)).await.unwrap();
    let soft = store.outcome(node_id(1), "soft").await.unwrap();
    assert!(matches!(soft, Some(Outcome::Failed { .. })), "{soft:?}");
    let (newest, _) = store.newest_intent(node_id(1)).await.unwrap().unwrap();
    assert_eq!(newest.action, Action::PowerOff);
}

/// What an order could have, from the first and from the second on.
async fn available(store: &Store) -> Vec<Vec<NodeId>> {
    let ids = |nodes: Vec<bessemer_store::NodeRecord>| nodes.iter().map(|node| node.id).collect();
    vec![
        ids(store.available_nodes(9).await.unwrap()),
        ids(store.available_nodes_after(1, 9).await.unwrap()),
    ]
}
