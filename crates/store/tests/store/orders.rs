//! Orders: never two on one node, all or nothing, and the same one twice is one.

use std::collections::HashSet;
use std::net::IpAddr;

use bessemer_core::lifecycle::Goal;
use bessemer_store::{Error, Placed, ServerRecord};

use crate::on_both;
use crate::site::{
    Site, allocated, at, available_nodes, held, network, node_id, on, order, project, server_id,
    stock,
};

on_both! {
    an_order_takes_a_node_and_an_address
    sixty_four_orders_share_out_twenty_nodes
    the_same_request_twice_is_one_order
    the_same_key_at_once_is_one_order
    a_refused_order_leaves_nothing_behind
    nodes_that_are_spoken_for_are_not_taken
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("is an address")
}

async fn an_order_takes_a_node_and_an_address(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 2).await;
    assert_eq!(store.available_nodes(10).await.unwrap().len(), 2);
    let mut wanted = order(1, 2);
    wanted.user_data_sealed = Some(vec![1, 2, 3]);
    let placed = store.place(wanted.clone(), at(2000)).await.unwrap();
    assert_eq!(placed, Placed::New(server_id(1)));

    let server = store.server(Some(project()), "server1").await.unwrap();
    assert_eq!(server.node, node_id(1), "the first candidate");
    assert_eq!(server.address(), Some(address("192.168.100.10")));
    assert_eq!(server.attachments.len(), 1);
    assert_eq!(server.attachments[0].network, network());
    assert_eq!(server.keys, wanted.keys);
    assert_eq!(server.user_data_sealed, wanted.user_data_sealed);
    assert_eq!(server.plan, wanted.candidates[0].plan);
    assert_eq!((server.created_at, server.active_at), (at(2000), None));
    let node = store.node("node1").await.unwrap();
    assert_eq!(node.server, Some(server.id));
    assert_eq!(node.spec.generation.0, 2);
    match &node.spec.goal {
        Goal::Deployed(deployment) => {
            assert_eq!(
                (deployment.server, deployment.image_bytes),
                (server.id, 640 << 20)
            );
            assert_eq!(
                deployment.root_disk.as_ref(),
                Some(&wanted.candidates[0].root_disk)
            );
        }
        goal => panic!("{goal:?}"),
    }
    assert_eq!(store.next_due(at(2000)).await.unwrap(), Some(at(2000)));
    assert_eq!(allocated(&store).await, 1);
    assert_eq!(store.available_nodes(10).await.unwrap().len(), 1);
    let events = store.events_after(0, Some(project()), 10).await.unwrap();
    let ordered: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(ordered, ["server.ordered"]);
}

async fn sixty_four_orders_share_out_twenty_nodes(site: Site) {
    let store = site.open().await;
    stock(&store, 100).await;
    available_nodes(&store, 20).await;
    let orders: Vec<_> = (0..64)
        .map(|number| {
            let mut order = order(number, 20);
            order.candidates.rotate_left(number as usize % 7);
            let store = store.clone();
            tokio::spawn(async move { store.place(order, at(2000)).await })
        })
        .collect();
    let (mut placed, mut refused) = (0, 0);
    for order in orders {
        match order.await.unwrap() {
            Ok(Placed::New(_)) => placed += 1,
            Err(Error::NoNode) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((placed, refused), (20, 44));
    let (servers, next) = store.servers(None, None, 100).await.unwrap();
    assert_eq!((servers.len(), next), (20, None));
    let nodes: HashSet<_> = servers.iter().map(|server| server.node).collect();
    let addresses: HashSet<_> = servers.iter().map(ServerRecord::address).collect();
    assert_eq!((nodes.len(), addresses.len()), (20, 20));
    for server in servers {
        let node = store.node_by_id(server.node).await.unwrap();
        assert_eq!(node.server, Some(server.id));
    }
    // The ones without a node gave their addresses back.
    let last = addresses.into_iter().max().unwrap();
    assert_eq!(last, Some(address("192.168.100.29")));
}

async fn the_same_request_twice_is_one_order(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 3).await;
    let mut first = order(1, 3);
    first.idempotency = Some(("key".into(), "digest".into()));
    store.place(first.clone(), at(2000)).await.unwrap();
    let mut again = order(2, 3);
    again.name.clone_from(&first.name);
    again.idempotency.clone_from(&first.idempotency);
    let placed = store.place(again.clone(), at(2001)).await.unwrap();
    assert_eq!(placed, Placed::Again(server_id(1)));
    again.idempotency = Some(("key".into(), "another digest".into()));
    match store.place(again.clone(), at(2002)).await {
        Err(Error::Conflict { field, .. }) => {
            assert_eq!(field.as_deref(), Some("Idempotency-Key"));
        }
        other => panic!("{other:?}"),
    }
    // A day later, any order is enough to have the key forgotten.
    let tomorrow = at(2001 + 24 * 3600);
    store.place(order(3, 3), tomorrow).await.unwrap();
    again.name = "another".into();
    let placed = store.place(again, tomorrow).await.unwrap();
    assert_eq!(placed, Placed::New(server_id(2)));
}

async fn the_same_key_at_once_is_one_order(site: Site) {
    let store = site.open().await;
    stock(&store, 20).await;
    available_nodes(&store, 8).await;
    let orders: Vec<_> = (0..8)
        .map(|number| {
            let mut order = order(number, 8);
            order.name = "one".into();
            order.idempotency = Some(("key".into(), "digest".into()));
            let store = store.clone();
            tokio::spawn(async move { store.place(order, at(2000)).await })
        })
        .collect();
    let mut servers = HashSet::new();
    let mut new = 0;
    for order in orders {
        match order.await.unwrap().unwrap() {
            Placed::New(server) => {
                new += 1;
                servers.insert(server);
            }
            Placed::Again(server) => {
                servers.insert(server);
            }
        }
    }
    assert_eq!((new, servers.len()), (1, 1));
}

async fn a_refused_order_leaves_nothing_behind(site: Site) {
    let store = site.open().await;
    stock(&store, 1).await;
    available_nodes(&store, 2).await;
    store.place(order(1, 1), at(2000)).await.unwrap();

    let mut full = order(2, 2);
    full.idempotency = Some(("key".into(), "digest".into()));
    let refused = store.place(full, at(2000)).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "subnet 192.168.100.0/24 of network `tenant` has no free address left"
    );
    let mut nobody = order(2, 2);
    nobody.attachments = vec![on(bessemer_core::id::NetworkId(uuid::Uuid::from_u128(99)))];
    let refused = store.place(nobody, at(2000)).await.err().unwrap();
    assert!(
        refused.to_string().contains("deleted a moment ago"),
        "{refused}"
    );

    let (servers, _) = store.servers(None, None, 10).await.unwrap();
    assert_eq!(servers.len(), 1);
    let second = store.node("node2").await.unwrap();
    assert_eq!((second.server, second.spec.generation.0), (None, 1));
    assert_eq!(
        store
            .events_after(0, Some(project()), 10)
            .await
            .unwrap()
            .len(),
        1
    );
}

async fn nodes_that_are_spoken_for_are_not_taken(site: Site) {
    let store = site.open().await;
    stock(&store, 9).await;
    available_nodes(&store, 4).await;
    // A name that is taken costs no node.
    store.place(order(1, 1), at(2000)).await.unwrap();
    let mut same_name = order(2, 4);
    same_name.name = "server1".into();
    match store.place(same_name, at(2000)).await {
        Err(Error::Conflict { field, message }) => {
            assert_eq!(field.as_deref(), Some("name"));
            assert_eq!(message, "there is a server named `server1` already");
        }
        other => panic!("{other:?}"),
    }
    // Wanted held, though it still says that it is available.
    store
        .set_goal(node_id(2), held(), "alice", at(2000))
        .await
        .unwrap();
    store.delete_node(node_id(3), true, at(2000)).await.unwrap();
    store.place(order(2, 4), at(2000)).await.unwrap();
    assert_eq!(
        store.server(None, "server2").await.unwrap().node,
        node_id(4)
    );
    let refused = store.place(order(3, 4), at(2000)).await;
    assert!(matches!(refused, Err(Error::NoNode)));
    // The image is in use, and is not what a later order can lose.
    let refused = store
        .delete_image(crate::site::image())
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("`server1`"), "{refused}");
    let mut gone = order(4, 4);
    gone.image = bessemer_core::id::ImageId(uuid::Uuid::from_u128(99));
    store
        .set_goal(node_id(2), Goal::Available, "alice", at(2000))
        .await
        .unwrap();
    let refused = store.place(gone, at(2000)).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
}
