//! Networks and subnets: who sees which, what is refused, and numbers from a pool.

use bessemer_core::id::{NetworkId, ProjectId, SubnetId};
use bessemer_core::network::{IdPool, NetworkKind, NetworkScope};
use bessemer_core::subnet::SubnetPlan;
use bessemer_store::{
    Error, NetworkChanges, NetworkFilter, NetworkRecord, NetworkSort, NewNetwork, NewSubnet,
    NumberFrom, Store, SubnetChanges, SubnetFilter,
};
use uuid::Uuid;

use crate::on_both;
use crate::site::{
    Site, at, available_nodes, network, new_network, order, plan, project, reach, server_id, stock,
};
use bessemer_core::lifecycle::{Phase, Step};

on_both! {
    networks_share_no_name_and_no_number
    a_thousand_networks_at_once_have_a_vlan_each
    an_exhausted_pool_is_named_and_what_is_freed_comes_back
    a_project_sees_its_own_and_everybodys
    subnets_that_could_meet_do_not_overlap
    a_network_in_use_is_not_deleted
    lists_are_filtered_sorted_and_paged
    a_subnet_is_changed_for_later_servers
    a_project_has_so_many_networks_and_no_more
}

const OTHER: ProjectId = ProjectId(Uuid::from_u128(33));

fn id(number: u128) -> NetworkId {
    NetworkId(Uuid::from_u128(0x600 + number))
}

/// A network without subnets.
fn bare(number: u128, name: &str, project: Option<ProjectId>) -> NewNetwork {
    NewNetwork {
        id: id(number),
        name: name.into(),
        scope: match project {
            Some(_) => NetworkScope::Private,
            None => NetworkScope::Shared,
        },
        project,
        number: NumberFrom::Given(200 + u32::try_from(number).unwrap()),
        subnets: vec![],
        ..new_network(5)
    }
}

fn from_pool(text: &str) -> NumberFrom {
    let pool: IdPool = text.parse().unwrap();
    NumberFrom::Pool {
        name: format!("pool `fabric.vlan_pool` ({pool})"),
        ranges: pool.without(&[12]),
    }
}

/// The field and the message of a refusal.
fn conflict<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Conflict { field, message }) => (field.unwrap_or_default(), message),
        other => panic!("{other:?}"),
    }
}

async fn projects(store: &Store) {
    for (name, id) in [("demo", project()), ("other", OTHER)] {
        store.project_by_name_or_create(name, id).await.unwrap();
    }
}

fn names(networks: &[NetworkRecord]) -> Vec<&str> {
    networks.iter().map(|each| each.name.as_str()).collect()
}

async fn networks_share_no_name_and_no_number(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    let stored = store.network(None, &network().to_string()).await.unwrap();
    assert_eq!(
        (stored.vlan, stored.vni, stored.mtu),
        (Some(100), None, 1500)
    );
    assert_eq!(
        (stored.scope, stored.created_at),
        (NetworkScope::Public, at(2))
    );
    assert_eq!(stored.subnets.len(), 1);
    assert_eq!(stored.subnets[0].plan, new_network(5).subnets[0].plan);
    assert_eq!(
        (stored.subnets[0].free, stored.subnets[0].allocated),
        (5, 0)
    );

    let create = async |network: NewNetwork| store.create_network(&network, at(3)).await;
    assert_eq!(
        conflict(create(bare(1, "tenant", None)).await),
        (
            "name".into(),
            "the name `tenant` belongs to another network already".into()
        )
    );
    let mut same = bare(1, "other", None);
    same.number = NumberFrom::Given(100);
    assert_eq!(
        conflict(create(same).await),
        (
            "vlan".into(),
            "VLAN 100 already belongs to network `tenant`".into()
        )
    );
    create(bare(1, "other", None)).await.unwrap();

    // VLANs and VNIs are counted apart.
    let segment = |number, vni| NewNetwork {
        kind: NetworkKind::Vxlan,
        number: NumberFrom::Given(vni),
        ..bare(number, &format!("segment{number}"), None)
    };
    create(segment(2, 100)).await.unwrap();
    create(segment(3, 0x00ff_ffff)).await.unwrap();
    let stored = store.network(None, "segment2").await.unwrap();
    assert_eq!((stored.vlan, stored.vni), (None, Some(100)));
    assert_eq!(
        conflict(create(segment(4, 100)).await).1,
        "VNI 100 already belongs to network `segment2`"
    );
    // A network that is refused leaves nothing behind.
    assert!(store.network(None, "segment4").await.is_err());
}

async fn a_thousand_networks_at_once_have_a_vlan_each(site: Site) {
    let store = site.open().await;
    let makers: Vec<_> = (0..1000)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut network = bare(number, &format!("n{number}"), None);
                network.number = from_pool("10-499,1000-1509");
                store.create_network(&network, at(3)).await
            })
        })
        .collect();
    let mut exhausted = 0;
    for maker in makers {
        match maker.await.unwrap() {
            Ok(()) => {}
            Err(Error::Exhausted { what: "VLAN", .. }) => exhausted += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // 12 is the site's own.
    assert_eq!(exhausted, 1);
    let filter = NetworkFilter::default();
    let all = store.networks(filter, NetworkSort::Name, None, 2000).await;
    let mut vlans: Vec<_> = all
        .unwrap()
        .0
        .iter()
        .map(|each| each.vlan.unwrap())
        .collect();
    vlans.sort_unstable();
    let expected: Vec<_> = (10..=499)
        .chain(1000..=1509)
        .filter(|vlan| *vlan != 12)
        .collect();
    assert_eq!(vlans, expected);
}

async fn an_exhausted_pool_is_named_and_what_is_freed_comes_back(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    let from_pool = |number, name: &str| NewNetwork {
        number: from_pool("11-13"),
        subnets: vec![],
        ..bare(number, name, Some(project()))
    };
    for (number, name) in [(1, "a"), (2, "b")] {
        store
            .create_network(&from_pool(number, name), at(3))
            .await
            .unwrap();
    }
    let vlan = async |name: &str| store.network(None, name).await.unwrap().vlan;
    assert_eq!((vlan("a").await, vlan("b").await), (Some(11), Some(13)));
    let full = store
        .create_network(&from_pool(3, "c"), at(3))
        .await
        .unwrap_err();
    assert_eq!(
        full.to_string(),
        "pool `fabric.vlan_pool` (11-13) has no free VLAN left"
    );

    // While a server is on it, or its port may still be, a VLAN is nobody else's.
    let mut wanted = order(1, 1);
    wanted.attachments[0].network = id(1);
    store.place(wanted, at(2000)).await.unwrap();
    store.release_server(server_id(1), at(2001)).await.unwrap();
    reach(&store, Phase::Releasing, Step::Park, at(2002)).await;
    let refused = conflict(store.delete_network(id(1)).await).1;
    assert!(refused.contains("`server1`"), "{refused}");
    store.wake(crate::site::node_id(1), at(2003)).await.unwrap();
    reach(&store, Phase::Cleaning, Step::PowerOff, at(2003)).await;
    store.delete_network(id(1)).await.unwrap();
    store
        .create_network(&from_pool(3, "c"), at(3))
        .await
        .unwrap();
    assert_eq!(vlan("c").await, Some(11));
}

async fn a_project_sees_its_own_and_everybodys(site: Site) {
    let store = site.open().await;
    projects(&store).await;
    for network in [
        bare(1, "backend", Some(project())),
        bare(2, "backend", Some(OTHER)),
        bare(3, "storage", None),
    ] {
        store.create_network(&network, at(3)).await.unwrap();
    }
    let id_of = async |viewer, name: &str| {
        let found = store.network(viewer, name).await;
        found.map(|network| network.id)
    };
    assert_eq!(id_of(Some(project()), "backend").await.unwrap(), id(1));
    assert_eq!(id_of(Some(OTHER), "backend").await.unwrap(), id(2));
    assert_eq!(id_of(Some(OTHER), "storage").await.unwrap(), id(3));
    let foreign = id_of(Some(OTHER), &id(1).to_string()).await;
    assert!(matches!(foreign, Err(Error::NotFound { .. })));
    let ambiguous = id_of(None, "backend").await.unwrap_err();
    assert!(ambiguous.to_string().contains("use its id"), "{ambiguous}");
    assert_eq!(id_of(None, &id(2).to_string()).await.unwrap(), id(2));

    // What everybody may use is known by one name; what others call their own is no matter.
    let taken = bare(4, "storage", Some(project()));
    assert_eq!(
        conflict(store.create_network(&taken, at(3)).await).0,
        "name"
    );
    store
        .create_network(&bare(4, "backend", None), at(3))
        .await
        .unwrap();
    assert_eq!(id_of(None, "backend").await.unwrap(), id(4));
    assert_eq!(id_of(Some(project()), "backend").await.unwrap(), id(1));

    let listed = async |filter: NetworkFilter| {
        let listed = store.networks(filter, NetworkSort::Created, None, 10).await;
        let ids: Vec<_> = listed.unwrap().0.iter().map(|each| each.id).collect();
        ids
    };
    let mine = NetworkFilter {
        visible_to: Some(project()),
        ..NetworkFilter::default()
    };
    assert_eq!(listed(mine.clone()).await, [id(1), id(3), id(4)]);
    let private = NetworkFilter {
        scope: Some(NetworkScope::Private),
        ..mine
    };
    assert_eq!(listed(private).await, [id(1)]);
    let of_other = NetworkFilter {
        project: Some(OTHER),
        ..NetworkFilter::default()
    };
    assert_eq!(listed(of_other).await, [id(2)]);

    // A private network stays private, and a shared one can become public.
    let scope = |scope| NetworkChanges {
        scope: Some(scope),
        ..NetworkChanges::default()
    };
    let refused = store
        .change_network(id(1), scope(NetworkScope::Shared))
        .await;
    assert_eq!(conflict(refused).0, "scope");
    let refused = store
        .change_network(id(3), scope(NetworkScope::Private))
        .await;
    assert_eq!(conflict(refused).0, "scope");
    store
        .change_network(id(3), scope(NetworkScope::Public))
        .await
        .unwrap();
    let renamed = NetworkChanges {
        name: Some("backend".into()),
        mtu: Some(9000),
        ..NetworkChanges::default()
    };
    let refused = store.change_network(id(3), renamed.clone()).await;
    assert_eq!(conflict(refused).0, "name");
    store.change_network(id(1), renamed).await.unwrap();
    let changed = store.network(None, &id(1).to_string()).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.mtu), ("backend", 9000));
}

/// A subnet with its first ten hosts as the pool.
fn subnet(number: u128, cidr: &str) -> NewSubnet {
    let cidr: bessemer_core::subnet::IpSubnet = cidr.parse().unwrap();
    let mut pools = SubnetPlan::usual_pools(cidr, None);
    pools.truncate(1);
    NewSubnet {
        id: SubnetId(Uuid::from_u128(0x700 + number)),
        plan: SubnetPlan {
            cidr,
            gateway: None,
            dns: vec![],
            routes: vec![],
            pools,
        },
    }
}

async fn subnets_that_could_meet_do_not_overlap(site: Site) {
    let store = site.open().await;
    projects(&store).await;
    for network in [
        bare(1, "mine", Some(project())),
        bare(2, "mine-too", Some(project())),
        bare(3, "theirs", Some(OTHER)),
        bare(4, "public", None),
        bare(5, "storage", None),
    ] {
        store.create_network(&network, at(3)).await.unwrap();
    }
    let mut number = 0;
    let mut add = async |network, cidr: &str| {
        number += 1;
        store
            .create_subnet(id(network), &subnet(number, cidr), at(4))
            .await
    };
    add(1, "10.0.0.0/24").await.unwrap();
    add(1, "2001:db8::/64").await.unwrap();
    // The same network, the same project's other one, and everybody's.
    let refused = conflict(add(1, "10.0.0.128/25").await);
    assert_eq!(
        refused,
        (
            "cidr".into(),
            "10.0.0.128/25 overlaps subnet 10.0.0.0/24 of network `mine`".into()
        )
    );
    assert_eq!(conflict(add(2, "10.0.0.0/16").await).0, "cidr");
    assert_eq!(conflict(add(2, "2001:db8::/64").await).0, "cidr");
    add(2, "10.0.1.0/24").await.unwrap();
    // Another project's is no matter.
    add(3, "10.0.0.0/24").await.unwrap();
    // What everybody may use is told apart from the rest of it, but not from what is private: a
    // tenant must not be in an operator's way.
    add(4, "10.0.0.0/24").await.unwrap();
    add(4, "172.16.0.0/16").await.unwrap();
    assert!(
        conflict(add(5, "172.16.7.0/24").await)
            .1
            .contains("`public`")
    );
    assert!(
        conflict(add(3, "172.16.7.0/24").await)
            .1
            .contains("`public`")
    );

    let mut whole = bare(6, "whole", None);
    whole.subnets = vec![subnet(90, "10.9.0.0/24"), subnet(91, "10.9.0.0/16")];
    let refused = conflict(store.create_network(&whole, at(5)).await);
    assert_eq!(refused.0, "subnets[1].cidr");
    assert!(
        store.network(None, "whole").await.is_err(),
        "nothing is left of it"
    );

    let found = store.subnet(Some(OTHER), "10.0.0.0/24").await;
    assert!(
        conflict(found).1.contains("use its id"),
        "its own and a public one"
    );
    let found = store
        .subnet(Some(project()), "2001:0db8::0/64")
        .await
        .unwrap();
    assert_eq!(found.network, id(1));
    let hidden = store.subnet(Some(OTHER), &found.id.to_string()).await;
    assert!(matches!(hidden, Err(Error::NotFound { .. })));
    let filter = SubnetFilter {
        visible_to: Some(OTHER),
        network: None,
    };
    let (seen, next) = store.subnets(filter.clone(), None, 2).await.unwrap();
    assert_eq!(seen.len(), 2);
    let (rest, next) = store.subnets(filter, next, 2).await.unwrap();
    assert_eq!((rest.len(), next), (1, None));
    assert_eq!(rest[0].network_name, "public");
}

async fn a_network_in_use_is_not_deleted(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    available_nodes(&store, 1).await;
    store.place(order(1, 1), at(2000)).await.unwrap();
    let used = store.network(None, "tenant").await.unwrap();
    assert_eq!((used.servers, used.subnets[0].allocated), (1, 1));
    let uncounted = store.network_uncounted(None, "tenant").await.unwrap();
    assert_eq!((uncounted.id, uncounted.servers), (used.id, 0));
    assert_eq!(uncounted.subnets[0].plan, used.subnets[0].plan);
    assert_eq!(uncounted.subnets[0].allocated, 0);
    assert_eq!(
        conflict(store.delete_network(network()).await).1,
        "the network is in use by server `server1`: delete the server first"
    );
    let refused = conflict(store.delete_subnet(crate::site::subnet()).await).1;
    assert!(refused.contains("in use"), "{refused}");

    store
        .create_network(&bare(1, "empty", None), at(3))
        .await
        .unwrap();
    store
        .create_subnet(id(1), &subnet(1, "10.0.0.0/24"), at(3))
        .await
        .unwrap();
    store.delete_network(id(1)).await.unwrap();
    let gone = store.delete_network(id(1)).await;
    assert!(matches!(
        gone,
        Err(Error::NotFound {
            what: "network",
            ..
        })
    ));
    let gone = store.subnet(None, "10.0.0.0/24").await;
    assert!(matches!(gone, Err(Error::NotFound { what: "subnet", .. })));
}

async fn lists_are_filtered_sorted_and_paged(site: Site) {
    let store = site.open().await;
    for (number, name) in [(1, "c"), (2, "a"), (3, "b"), (4, "e_1"), (5, "d")] {
        let mut network = bare(number, name, None);
        if number == 3 {
            network.kind = NetworkKind::Vxlan;
        }
        network.subnets = vec![subnet(number, &format!("10.0.{number}.0/24"))];
        let made = at(i64::try_from(number).unwrap());
        store.create_network(&network, made).await.unwrap();
    }
    let paged = async |filter: NetworkFilter, sort| {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = store
                .networks(filter.clone(), sort, cursor, 2)
                .await
                .unwrap();
            for network in &page.0 {
                assert_eq!(network.subnets.len(), 1, "{}", network.name);
                assert_eq!(network.subnets[0].network, network.id);
            }
            all.extend(page.0);
            cursor = page.1;
            if cursor.is_none() {
                return names(&all).join(" ");
            }
        }
    };
    let all = NetworkFilter::default();
    assert_eq!(paged(all.clone(), NetworkSort::Name).await, "a b c d e_1");
    assert_eq!(
        paged(all.clone(), NetworkSort::NameDescending).await,
        "e_1 d c b a"
    );
    assert_eq!(
        paged(all.clone(), NetworkSort::Created).await,
        "c a b e_1 d"
    );
    assert_eq!(
        paged(all.clone(), NetworkSort::CreatedDescending).await,
        "d e_1 b a c"
    );
    let vlans = NetworkFilter {
        kind: Some(NetworkKind::Vlan),
        ..NetworkFilter::default()
    };
    assert_eq!(paged(vlans, NetworkSort::Name).await, "a c d e_1");
    for wrong in ["", "x", "a_b_c"] {
        let sort = NetworkSort::Created;
        let refused = store
            .networks(all.clone(), sort, Some(wrong.into()), 2)
            .await;
        assert!(matches!(refused, Err(Error::Cursor(_))), "{wrong}");
    }
}

async fn a_subnet_is_changed_for_later_servers(site: Site) {
    let store = site.open().await;
    stock(&store, 2).await;
    available_nodes(&store, 4).await;
    for number in [1, 2] {
        store.place(order(number, 4), at(2000)).await.unwrap();
    }
    assert!(store.place(order(3, 4), at(2000)).await.is_err());
    let change = async |changes| store.change_subnet(crate::site::subnet(), changes).await;
    let later = plan("192.168.100.0/24", "192.168.100.11", "192.168.100.13");
    change(SubnetChanges {
        pools: Some(later.pools),
        gateway: Some(Some("192.168.100.1".parse().unwrap())),
        dns: Some(vec!["2001:db8::53".parse().unwrap()]),
        routes: None,
    })
    .await
    .unwrap();
    let changed = store
        .network(None, "tenant")
        .await
        .unwrap()
        .subnets
        .remove(0);
    assert_eq!(changed.plan.dns.len(), 1);
    // One of the two addresses in use is in a pool now: two of its three are free.
    assert_eq!((changed.allocated, changed.free), (2, 2));
    store.place(order(3, 4), at(2000)).await.unwrap();
    let server = store.server(None, "server3").await.unwrap();
    assert_eq!(server.address().unwrap().to_string(), "192.168.100.12");

    let gateway = |text: &str| SubnetChanges {
        gateway: Some(Some(text.parse().unwrap())),
        ..SubnetChanges::default()
    };
    // In the pool, somebody's, and elsewhere.
    for (text, words) in [
        ("192.168.100.13", "pool"),
        ("192.168.100.10", "in use"),
        ("192.168.101.1", "no host"),
    ] {
        let (field, message) = conflict(change(gateway(text)).await);
        assert_eq!(field, "gateway");
        assert!(message.contains(words), "{message}");
    }
    change(SubnetChanges {
        gateway: Some(None),
        ..SubnetChanges::default()
    })
    .await
    .unwrap();
    assert_eq!(
        store
            .subnet(None, "192.168.100.0/24")
            .await
            .unwrap()
            .plan
            .gateway,
        None
    );
}

async fn a_project_has_so_many_networks_and_no_more(site: Site) {
    let store = site.open().await;
    projects(&store).await;
    let limited = |number, name: &str, project| NewNetwork {
        limit: Some(2),
        ..bare(number, name, Some(project))
    };
    store
        .create_network(&limited(1, "a", project()), at(3))
        .await
        .unwrap();
    store
        .create_network(&limited(2, "b", project()), at(3))
        .await
        .unwrap();
    let refused = store
        .create_network(&limited(3, "c", project()), at(3))
        .await;
    assert!(conflict(refused).1.contains("2 networks of its own"));
    store
        .create_network(&limited(3, "c", OTHER), at(3))
        .await
        .unwrap();
}
