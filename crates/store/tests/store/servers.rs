//! Servers from active to gone.

use bessemer_core::id::{Generation, ProjectId};
use bessemer_core::lifecycle::{Goal, Phase, Step};
use bessemer_store::{Error, Store};

use crate::on_both;
use crate::site::{
    Site, allocated, at, available_nodes, claim, held, node_id, order, project, reach, server_id,
    stock, to,
};

on_both! {
    a_server_becomes_active_and_goes
    what_a_system_has_said_says_nothing_of_the_next_attempts
    a_stuck_release_can_be_started_again
    a_server_that_is_given_back_before_its_node_moves_leaves_nothing
    a_server_that_is_given_back_in_cleaning_leaves_nothing
    a_server_that_is_still_wanted_survives_cleaning
    names_belong_to_projects
}

async fn a_server_becomes_active_and_goes(site: Site) {
    let store = site.open().await;
    let server = deployed(&store).await;
    // The OS of another generation is not ours.
    assert!(!store.os_up(server, Generation(1), at(2010)).await.unwrap());
    assert!(store.os_up(server, Generation(2), at(2010)).await.unwrap());
    let claimed = claim(&store, at(2010)).await;
    let work = store.work(claimed).await.unwrap();
    assert_eq!(work.seen.os_up, Some(Generation(2)));
    store
        .commit(claimed, to(&work, work.node.state.clone()), at(2010))
        .await
        .unwrap();
    store.wake(node_id(1), at(2011)).await.unwrap();
    reach(&store, Phase::Active, Step::Rest, at(2011)).await;
    let active = store.server(None, "server1").await.unwrap();
    assert_eq!(active.active_at, Some(at(2011)));
    assert_eq!(active.node_state.phase, Phase::Active);

    store.release_server(server, at(2020)).await.unwrap();
    store.release_server(server, at(2021)).await.unwrap();
    let node = store.node("node1").await.unwrap();
    assert_eq!(
        (node.spec.generation, node.spec.goal),
        (Generation(3), Goal::Available)
    );
    reach(&store, Phase::Releasing, Step::PowerOff, at(2022)).await;
    let leaving = store.server(None, "server1").await.unwrap();
    assert_eq!(leaving.goal, Goal::Available);
    assert_eq!(allocated(&store).await, 1, "until its port is parked");
    store.wake(node_id(1), at(2023)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2023)).await;
    let gone = store.server(None, "server1").await;
    assert!(matches!(gone, Err(Error::NotFound { what: "server", .. })));
    let gone = store.release_server(server, at(2024)).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
    assert_eq!(store.node("node1").await.unwrap().server, None);
    assert_eq!(allocated(&store).await, 0);

    let events = store.events_after(0, Some(project()), 10).await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "server.ordered",
            "server.active",
            "server.deleting",
            "server.deleted"
        ]
    );
    assert!(events.iter().all(|event| event.server == Some(server)));
    assert!(events.iter().all(|event| event.node == Some(node_id(1))));

    // Back in the pool, its address and its name are free again.
    store.wake(node_id(1), at(2030)).await.unwrap();
    reach(&store, Phase::Available, Step::Rest, at(2030)).await;
    let mut next = order(2, 1);
    next.name = "server1".into();
    store.place(next, at(2031)).await.unwrap();
    let next = store.server(None, "server1").await.unwrap();
    assert_eq!(next.id, server_id(2));
    assert_ne!(
        next.address(),
        active.address(),
        "it rests while there are others"
    );
}

async fn what_a_system_has_said_says_nothing_of_the_next_attempts(site: Site) {
    let store = site.open().await;
    let server = deployed(&store).await;
    // It is given up, and says that it is up before it has been switched off.
    store.wake(node_id(1), at(2010)).await.unwrap();
    reach(&store, Phase::Deploying, Step::PowerOff, at(2010)).await;
    assert!(store.os_up(server, Generation(2), at(2011)).await.unwrap());
    reach(
        &store,
        Phase::Deploying,
        Step::ConnectProvisioning,
        at(2012),
    )
    .await;
    store.wake(node_id(1), at(2013)).await.unwrap();
    let claimed = claim(&store, at(2013)).await;
    let work = store.work(claimed).await.unwrap();
    assert_eq!(work.seen.os_up, None);
}

async fn a_stuck_release_can_be_started_again(site: Site) {
    let store = site.open().await;
    let server = deployed(&store).await;
    store.release_server(server, at(2020)).await.unwrap();
    reach(&store, Phase::Failed, Step::Rest, at(2021)).await;
    let held = store.set_goal(node_id(1), held(), "alice", at(2022)).await;
    assert!(
        matches!(held, Err(Error::Conflict { .. })),
        "its server would never go"
    );
    let again = store
        .set_goal(node_id(1), Goal::Available, "alice", at(2022))
        .await
        .unwrap();
    assert_eq!(again, Generation(4));
    reach(&store, Phase::Releasing, Step::PowerOff, at(2023)).await;
    store.wake(node_id(1), at(2024)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2024)).await;
    assert!(store.server(None, "server1").await.is_err());
}

/// Its order was the last thing that a server did, and another one only hears of both at once.
async fn a_server_that_is_given_back_before_its_node_moves_leaves_nothing(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    store.place(order(1, 1), at(2000)).await.unwrap();
    let release = store.release_server(server_id(1), at(2001)).await;
    release.unwrap();
    reach(&store, Phase::Available, Step::Rest, at(2002)).await;
    is_gone(&store).await;
}

async fn a_server_that_is_given_back_in_cleaning_leaves_nothing(site: Site) {
    let store = site.open().await;
    let server = deployed(&store).await;
    store.wake(node_id(1), at(2010)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::Erase, at(2010)).await;
    store.release_server(server, at(2011)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2012)).await;
    is_gone(&store).await;
}

/// Nothing is left of server 1 on node 1.
async fn is_gone(store: &Store) {
    let gone = store.server(None, "server1").await;
    assert!(matches!(gone, Err(Error::NotFound { what: "server", .. })));
    assert_eq!(store.node("node1").await.unwrap().server, None);
    assert_eq!(allocated(store).await, 0);
    let events = store.events_after(0, Some(project()), 10).await.unwrap();
    assert_eq!(events.last().unwrap().kind, "server.deleted");
}

async fn a_server_that_is_still_wanted_survives_cleaning(site: Site) {
    let store = site.open().await;
    deployed(&store).await;
    store.wake(node_id(1), at(2020)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2020)).await;
    assert_eq!(
        store.server(None, "server1").await.unwrap().node,
        node_id(1)
    );
}

async fn names_belong_to_projects(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 2).await;
    let other = ProjectId(uuid::Uuid::from_u128(33));
    store
        .project_by_name_or_create("other", other)
        .await
        .unwrap();
    store.place(order(1, 2), at(2000)).await.unwrap();
    let mut namesake = order(2, 2);
    namesake.name = "server1".into();
    namesake.project = other;
    store.place(namesake, at(2001)).await.unwrap();

    assert_eq!(
        store.server(Some(project()), "server1").await.unwrap().id,
        server_id(1)
    );
    assert_eq!(
        store.server(Some(other), "server1").await.unwrap().id,
        server_id(2)
    );
    let ambiguous = store.server(None, "server1").await.err().unwrap();
    assert!(ambiguous.to_string().contains("use its id"), "{ambiguous}");
    let id = server_id(2).to_string();
    assert_eq!(store.server(None, &id).await.unwrap().project, other);
    assert!(
        store.server(Some(project()), &id).await.is_err(),
        "somebody else's"
    );

    let (own, _) = store.servers(Some(other), None, 10).await.unwrap();
    assert_eq!(own.len(), 1);
    let (page, next) = store.servers(None, None, 1).await.unwrap();
    assert_eq!(page[0].id, server_id(1));
    let (page, next) = store.servers(None, next, 1).await.unwrap();
    assert_eq!((page[0].id, next), (server_id(2), None));
    let seen = store.events_after(0, Some(other), 10).await.unwrap();
    assert!(seen.iter().all(|event| event.project == Some(other)));
    assert_eq!(seen.len(), 1);
}

/// One node on its way to being `server1`, waiting for its OS.
async fn deployed(store: &Store) -> bessemer_core::id::ServerId {
    stock(store, 5).await;
    available_nodes(store, 1).await;
    store.place(order(1, 1), at(2000)).await.unwrap();
    reach(store, Phase::Deploying, Step::AwaitOs, at(2000)).await;
    server_id(1)
}
