//! Addresses: never given twice, reserved, moved, released, and remembered.

use std::collections::HashSet;
use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ProjectId, SubnetId};
use bessemer_core::lifecycle::{Phase, Step};
use bessemer_core::network::NetworkScope;
use bessemer_core::port_plan::AttachmentMode;
use bessemer_store::{
    AddressFilter, AddressHistoryFilter, AddressSort, Error, NewNetwork, NewSubnet, NumberFrom,
    Placed, Reservation, Store,
};
use uuid::Uuid;

use crate::on_both;
use crate::site::{
    Site, allocated, at, available_nodes, enroll, network, new_network, node_id, on, order, plan,
    project, reach, server_id, stock,
};

on_both! {
    a_thousand_orders_at_once_have_an_address_each
    an_order_takes_an_address_of_each_subnet_of_each_network
    an_order_names_its_own_addresses
    an_address_rests_and_comes_back_when_the_port_is_parked
    reserved_addresses_stay_their_projects
    a_reserved_address_moves_between_servers
    it_is_known_who_had_an_address_when
    addresses_are_listed_sorted_and_paged
}

const OTHER: ProjectId = ProjectId(Uuid::from_u128(33));
const BACKEND: NetworkId = NetworkId(Uuid::from_u128(0x600));

fn address(text: &str) -> IpAddr {
    text.parse().expect("is an address")
}

/// A private network of the project with subnets of both versions, the older one of IPv6.
async fn backend(store: &Store) {
    let subnet = |id, cidr, first, last| NewSubnet {
        id: SubnetId(Uuid::from_u128(id)),
        plan: plan(cidr, first, last),
    };
    let network = NewNetwork {
        id: BACKEND,
        name: "backend".into(),
        scope: NetworkScope::Private,
        project: Some(project()),
        number: NumberFrom::Given(200),
        subnets: vec![
            subnet(0x701, "2001:db8::/64", "2001:db8::10", "2001:db8::1f"),
            subnet(0x702, "10.0.0.0/24", "10.0.0.10", "10.0.0.19"),
        ],
        ..new_network(5)
    };
    store.create_network(&network, at(3)).await.unwrap();
}

fn reservation(network: NetworkId, given: Option<&str>) -> Reservation {
    Reservation {
        network,
        subnet: None,
        address: given.map(address),
        project: Some(project()),
        description: "for later".into(),
        limit: None,
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Conflict { field, message }) => (field.unwrap_or_default(), message),
        other => panic!("{other:?}"),
    }
}

/// The first addresses of a server, as text.
async fn addresses_of(store: &Store, server: &str) -> Vec<String> {
    let server = store.server(None, server).await.unwrap();
    let all = server.attachments.iter().flat_map(|each| &each.addresses);
    all.map(|(_, address)| address.to_string()).collect()
}

/// Deletes server `number`, which is on that node, and takes the node through the release.
async fn released(store: &Store, number: u32, now: Timestamp) {
    store.release_server(server_id(number), now).await.unwrap();
    reach(store, Phase::Cleaning, Step::PowerOff, now).await;
    store.wake(node_id(number), now).await.unwrap();
    reach(store, Phase::Available, Step::Rest, now).await;
}

/// Orders server `number` on that node, and makes it active.
async fn active(store: &Store, number: u32, now: Timestamp) {
    let mut wanted = order(number, number);
    wanted.candidates.drain(..wanted.candidates.len() - 1);
    store.place(wanted, now).await.unwrap();
    reach(store, Phase::Active, Step::Rest, now).await;
}

async fn a_thousand_orders_at_once_have_an_address_each(site: Site) {
    const ORDERS: u32 = 1000;
    let store = site.open().await;
    stock(&store, 1).await;
    let wide = NewNetwork {
        id: BACKEND,
        name: "wide".into(),
        number: NumberFrom::Given(200),
        subnets: vec![
            NewSubnet {
                id: SubnetId(Uuid::from_u128(0x701)),
                plan: plan("10.0.0.0/16", "10.0.1.1", "10.0.4.232"),
            },
            NewSubnet {
                id: SubnetId(Uuid::from_u128(0x702)),
                plan: plan("2001:db8::/64", "2001:db8::1", "2001:db8::ffff"),
            },
        ],
        ..new_network(1)
    };
    assert_eq!(wide.subnets[0].plan.size(), u64::from(ORDERS));
    store.create_network(&wide, at(3)).await.unwrap();
    available_nodes(&store, ORDERS).await;
    let begun = std::time::Instant::now();
    let orders: Vec<_> = (1..=ORDERS)
        .map(|number| {
            let store = store.clone();
            let mut order = order(number, number);
            order.candidates.drain(..order.candidates.len() - 1);
            order.attachments = vec![on(BACKEND)];
            tokio::spawn(async move { store.place(order, at(2000)).await })
        })
        .collect();
    for order in orders {
        let placed = order.await.unwrap();
        assert!(matches!(placed, Ok(Placed::New(_))), "{placed:?}");
    }
    println!("{ORDERS} orders on two subnets: {:?}", begun.elapsed());
    let (servers, _) = store.servers(None, None, ORDERS).await.unwrap();
    let mut seen = HashSet::new();
    for server in &servers {
        let [attachment] = server.attachments.as_slice() else {
            panic!("{:?}", server.attachments);
        };
        let [(_, four), (_, six)] = attachment.addresses.as_slice() else {
            panic!("{:?}", attachment.addresses);
        };
        assert!(four.is_ipv4() && six.is_ipv6());
        assert!(seen.insert(*four) && seen.insert(*six), "{four} {six}");
    }
    assert_eq!(seen.len(), 2 * ORDERS as usize);
    // Not one is left.
    enroll(&store, ORDERS + 1).await;
    reach(&store, Phase::Available, Step::Rest, at(3000)).await;
    let mut one_more = order(ORDERS + 1, ORDERS + 1);
    one_more.attachments = vec![on(BACKEND)];
    let refused = store.place(one_more, at(3000)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "subnet 10.0.0.0/16 of network `wide` has no free address left"
    );
}

async fn an_order_takes_an_address_of_each_subnet_of_each_network(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    backend(&store).await;
    available_nodes(&store, 2).await;
    let mut wanted = order(1, 1);
    wanted.attachments = vec![on(BACKEND), on(network())];
    wanted.attachments[0].mode = Some(AttachmentMode::Tagged);
    wanted.attachments[1].port = Some("52:54:00:00:00:01".into());
    store.place(wanted, at(2000)).await.unwrap();
    let server = store.server(None, "server1").await.unwrap();
    let networks: Vec<_> = server.attachments.iter().map(|each| each.network).collect();
    assert_eq!(
        networks,
        [BACKEND, network()],
        "in the order of the request"
    );
    assert_eq!(
        addresses_of(&store, "server1").await,
        ["10.0.0.10", "2001:db8::10", "192.168.100.10"],
        "IPv4 first"
    );
    assert_eq!(server.address(), Some(address("10.0.0.10")));
    let [first, second] = server.attachments.as_slice() else {
        panic!("two");
    };
    assert_eq!(
        (first.mode, &first.port),
        (Some(AttachmentMode::Tagged), &None)
    );
    assert_eq!(second.port.as_deref(), Some("52:54:00:00:00:01"));

    // One network twice is refused, and nothing is left of the order.
    let mut twice = order(2, 2);
    twice.attachments = vec![on(BACKEND), on(BACKEND)];
    assert!(store.place(twice, at(2000)).await.is_err());
    let (listed, _) = store.servers(None, None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].attachments, server.attachments);
    assert_eq!(store.available_nodes(10).await.unwrap().len(), 1);
}

async fn an_order_names_its_own_addresses(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    backend(&store).await;
    available_nodes(&store, 3).await;
    let wanted = |number: u32, addresses: &[&str]| {
        let mut order = order(number, 3);
        order.attachments = vec![on(BACKEND)];
        order.attachments[0].addresses = addresses.iter().map(|each| address(each)).collect();
        order
    };
    // In the pool or not.
    store
        .place(wanted(1, &["10.0.0.12", "2001:db8::abcd"]), at(2000))
        .await
        .unwrap();
    assert_eq!(
        addresses_of(&store, "server1").await,
        ["10.0.0.12", "2001:db8::abcd"]
    );
    for (addresses, field, words) in [
        (&["10.0.0.12"][..], "networks[0].addresses[0]", "in use"),
        (
            &["2001:db8::1", "2001:db8::abcd"],
            "networks[0].addresses[1]",
            "second one",
        ),
        (&["10.0.1.1"], "networks[0].addresses[0]", "in none"),
        (&["10.0.0.255"], "networks[0].addresses[0]", "in none"),
    ] {
        let refused = conflict(store.place(wanted(2, addresses), at(2000)).await);
        assert_eq!(refused.0, field, "{addresses:?}");
        assert!(refused.1.contains(words), "{}", refused.1);
    }
    // The next ones go around it.
    for number in [2, 3] {
        store.place(wanted(number, &[]), at(2000)).await.unwrap();
    }
    assert_eq!(
        addresses_of(&store, "server2").await,
        ["10.0.0.10", "2001:db8::10"]
    );
    assert_eq!(
        addresses_of(&store, "server3").await,
        ["10.0.0.11", "2001:db8::11"]
    );
}

async fn an_address_rests_and_comes_back_when_the_port_is_parked(site: Site) {
    let store = site.open().await;
    stock(&store, 2).await;
    available_nodes(&store, 3).await;
    active(&store, 1, at(2000)).await;
    assert_eq!(addresses_of(&store, "server1").await, ["192.168.100.10"]);
    released(&store, 1, at(2010)).await;
    // The other one, although the first is free.
    active(&store, 2, at(2020)).await;
    assert_eq!(addresses_of(&store, "server2").await, ["192.168.100.11"]);
    active(&store, 1, at(2030)).await;
    assert_eq!(addresses_of(&store, "server1").await, ["192.168.100.10"]);
    // Nothing is free until the machine is off and its port is parked.
    store.release_server(server_id(1), at(2040)).await.unwrap();
    reach(&store, Phase::Releasing, Step::Park, at(2041)).await;
    let full = store.place(order(3, 3), at(2042)).await;
    assert!(matches!(full, Err(Error::Exhausted { .. })), "{full:?}");
    store.wake(node_id(1), at(2043)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2043)).await;
    store.place(order(3, 3), at(2044)).await.unwrap();
    assert_eq!(addresses_of(&store, "server3").await, ["192.168.100.10"]);
}

async fn reserved_addresses_stay_their_projects(site: Site) {
    let store = site.open().await;
    stock(&store, 3).await;
    store
        .project_by_name_or_create("other", OTHER)
        .await
        .unwrap();
    available_nodes(&store, 2).await;
    let reserve = async |given: Option<&str>| {
        let reservation = reservation(network(), given);
        store.reserve_address(&reservation, at(1500)).await
    };
    let next = reserve(None).await.unwrap();
    assert_eq!(next.address, address("192.168.100.10"));
    assert_eq!((next.reserved, &next.server), (true, &None));
    assert_eq!(
        (next.project, next.description.as_str()),
        (Some(project()), "for later")
    );
    let given = reserve(Some("192.168.100.200")).await.unwrap();
    assert_eq!(given.since, at(1500));
    for (text, words) in [
        ("192.168.100.10", "already"),
        ("192.168.101.1", "no subnet"),
        ("192.168.100.0", "no subnet"),
    ] {
        let refused = conflict(reserve(Some(text)).await);
        assert_eq!(refused.0, "address");
        assert!(refused.1.contains(words), "{}", refused.1);
    }
    let usage = store.subnet(None, "192.168.100.0/24").await.unwrap();
    // One of the two is in the pool of three.
    assert_eq!((usage.allocated, usage.reserved, usage.free), (0, 2, 2));
    let refused = store.delete_network(network()).await;
    assert!(conflict(refused).1.contains("192.168.100.10"));

    // Another project cannot have it, its own can, and it stays when the server goes.
    let mut foreign = order(2, 2);
    (foreign.project, foreign.candidates[0]) = (OTHER, foreign.candidates[1].clone());
    foreign.attachments[0].addresses = vec![address("192.168.100.200")];
    assert!(
        conflict(store.place(foreign, at(2000)).await)
            .1
            .contains("reserved")
    );
    let mut wanted = order(1, 1);
    wanted.attachments[0].addresses = vec![address("192.168.100.200")];
    store.place(wanted, at(2000)).await.unwrap();
    assert_eq!(addresses_of(&store, "server1").await, ["192.168.100.200"]);
    reach(&store, Phase::Active, Step::Rest, at(2000)).await;
    released(&store, 1, at(2010)).await;
    let kept = store
        .address(None, network(), address("192.168.100.200"))
        .await
        .unwrap();
    assert_eq!(
        (kept.reserved, kept.server, kept.since),
        (true, None, at(2010))
    );

    // Released, it is anybody's.
    store.release_address(&next, at(2020)).await.unwrap();
    let gone = store.address(None, network(), next.address).await;
    assert!(matches!(
        gone,
        Err(Error::NotFound {
            what: "address",
            ..
        })
    ));
    let again = store.release_address(&next, at(2020)).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");

    let limited = Reservation {
        limit: Some(1),
        ..reservation(network(), None)
    };
    let refused = store.reserve_address(&limited, at(2030)).await;
    assert!(conflict(refused).1.contains("as many as it may"));
}

async fn a_reserved_address_moves_between_servers(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    backend(&store).await;
    available_nodes(&store, 2).await;
    active(&store, 1, at(2000)).await;
    active(&store, 2, at(2000)).await;
    let of = async |text: &str| store.address(None, network(), address(text)).await.unwrap();
    let first = of("192.168.100.10").await;
    let refused = conflict(store.move_address(&first, server_id(2), at(2001)).await);
    assert_eq!(refused.0, "server");
    assert!(refused.1.contains("reserve it first"), "{}", refused.1);
    let refused = conflict(store.release_address(&first, at(2001)).await);
    assert!(refused.1.contains("`server1`"), "{}", refused.1);

    // A server's own address can be reserved, and then moved.
    let keep = reservation(network(), Some("192.168.100.10"));
    let kept = store.reserve_address(&keep, at(2002)).await.unwrap();
    assert_eq!(kept.server.as_ref().unwrap().0, server_id(1));
    assert!(kept.reserved && kept.since == at(2000));
    let moved = store
        .move_address(&kept, server_id(2), at(2003))
        .await
        .unwrap();
    assert_eq!(moved.server, Some((server_id(2), "server2".into())));
    assert!(addresses_of(&store, "server1").await.is_empty());
    assert_eq!(
        addresses_of(&store, "server2").await,
        ["192.168.100.11", "192.168.100.10"],
        "its first address stays the first"
    );
    let again = conflict(store.move_address(&moved, server_id(2), at(2003)).await);
    assert!(again.1.contains("already"), "{}", again.1);
    let events = store.events_after(0, Some(project()), 100).await.unwrap();
    let event = events.last().unwrap();
    assert_eq!(
        (event.kind.as_str(), event.server),
        ("address.moved", Some(server_id(2)))
    );

    // Not to a server on another network, nor to one that goes.
    let elsewhere = reservation(BACKEND, Some("10.0.0.50"));
    let elsewhere = store.reserve_address(&elsewhere, at(2004)).await.unwrap();
    let refused = conflict(store.move_address(&elsewhere, server_id(1), at(2005)).await);
    assert!(
        refused.1.contains("is not on network `backend`"),
        "{}",
        refused.1
    );
    store.release_server(server_id(1), at(2006)).await.unwrap();
    let refused = conflict(store.move_address(&moved, server_id(1), at(2007)).await);
    assert!(refused.1.contains("given back"), "{}", refused.1);

    // Given up while a server has it, it goes with the server.
    store.release_address(&moved, at(2008)).await.unwrap();
    assert!(!of("192.168.100.10").await.reserved);
    assert_eq!(allocated(&store).await, 2);
}

async fn it_is_known_who_had_an_address_when(site: Site) {
    let store = site.open().await;
    stock(&store, 1).await;
    available_nodes(&store, 1).await;
    active(&store, 1, at(2000)).await;
    let keep = reservation(network(), Some("192.168.100.10"));
    store.reserve_address(&keep, at(2005)).await.unwrap();
    released(&store, 1, at(2010)).await;
    let kept = store
        .address(None, network(), address("192.168.100.10"))
        .await
        .unwrap();
    store.release_address(&kept, at(2020)).await.unwrap();
    active(&store, 1, at(2030)).await;
    let history = async |filter: AddressHistoryFilter| {
        let (mut lines, mut cursor) = (Vec::new(), None);
        loop {
            let page = store
                .address_history(filter.clone(), cursor, 1)
                .await
                .unwrap();
            lines.extend(page.0);
            cursor = page.1;
            if cursor.is_none() {
                return lines;
            }
        }
    };
    let of_address = AddressHistoryFilter {
        address: Some(address("192.168.100.10")),
        ..AddressHistoryFilter::default()
    };
    let lines = history(of_address.clone()).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line.server_name.as_deref(), line.since, line.until))
        .collect();
    assert_eq!(
        told,
        [
            (Some("server1"), at(2030), None),
            (None, at(2010), Some(at(2020))),
            (Some("server1"), at(2000), Some(at(2010))),
        ],
        "the newest first"
    );
    assert_eq!(
        (
            lines[2].node,
            lines[2].project,
            lines[2].network_name.as_str()
        ),
        (Some(node_id(1)), Some(project()), "tenant")
    );
    for (second, expected) in [
        (1999, None),
        (2000, Some(at(2000))),
        (2009, Some(at(2000))),
        (2010, Some(at(2010))),
        (2025, None),
        (2031, Some(at(2030))),
    ] {
        let then = AddressHistoryFilter {
            at: Some(at(second)),
            ..of_address.clone()
        };
        let lines = history(then).await;
        assert!(lines.len() <= 1, "{second}");
        assert_eq!(lines.first().map(|line| line.since), expected, "{second}");
    }
    let foreign = AddressHistoryFilter {
        project: Some(OTHER),
        ..of_address.clone()
    };
    assert!(history(foreign).await.is_empty());

    // It outlives the network.
    released(&store, 1, at(2040)).await;
    store.delete_network(network()).await.unwrap();
    assert_eq!(history(of_address).await.len(), 3);
}

async fn addresses_are_listed_sorted_and_paged(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    backend(&store).await;
    available_nodes(&store, 1).await;
    active(&store, 1, at(2000)).await;
    for (text, second) in [
        ("10.0.0.30", 1900),
        ("10.0.0.20", 2100),
        ("2001:db8::7", 2050),
    ] {
        let reservation = reservation(BACKEND, Some(text));
        store
            .reserve_address(&reservation, at(second))
            .await
            .unwrap();
    }
    let listed = async |filter: AddressFilter, sort| {
        let (mut texts, mut cursor) = (Vec::new(), None);
        loop {
            let page = store
                .addresses(filter.clone(), sort, cursor, 1)
                .await
                .unwrap();
            texts.extend(page.0.iter().map(|each| each.address.to_string()));
            cursor = page.1;
            if cursor.is_none() {
                return texts.join(" ");
            }
        }
    };
    let all = AddressFilter::default();
    assert_eq!(
        listed(all.clone(), AddressSort::Address).await,
        "192.168.100.10 2001:db8::7 10.0.0.20 10.0.0.30"
    );
    assert_eq!(
        listed(all.clone(), AddressSort::AddressDescending).await,
        "10.0.0.30 10.0.0.20 2001:db8::7 192.168.100.10"
    );
    assert_eq!(
        listed(all.clone(), AddressSort::Since).await,
        "10.0.0.30 192.168.100.10 2001:db8::7 10.0.0.20"
    );
    assert_eq!(
        listed(all.clone(), AddressSort::SinceDescending).await,
        "10.0.0.20 2001:db8::7 192.168.100.10 10.0.0.30"
    );
    let sort = AddressSort::Address;
    let filter = |change: &dyn Fn(&mut AddressFilter)| {
        let mut filter = AddressFilter::default();
        change(&mut filter);
        filter
    };
    let of_server = filter(&|each| each.server = Some(server_id(1)));
    assert_eq!(listed(of_server, sort).await, "192.168.100.10");
    let reserved = filter(&|each| {
        each.allocated = Some(false);
        each.network = Some(BACKEND);
    });
    assert_eq!(
        listed(reserved, sort).await,
        "2001:db8::7 10.0.0.20 10.0.0.30"
    );
    let allocated = filter(&|each| each.allocated = Some(true));
    assert_eq!(listed(allocated, sort).await, "192.168.100.10");
    let foreign = filter(&|each| each.project = Some(OTHER));
    assert_eq!(listed(foreign, sort).await, "");
    let refused = store.addresses(all, sort, Some("x".into()), 2).await;
    assert!(matches!(refused, Err(Error::Cursor(_))));
}
