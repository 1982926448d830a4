//! What servers keep for each other of what they have seen.

use uuid::Uuid;

use crate::on_both;
use crate::site::{Site, at, node_id};

on_both! {
    what_others_have_seen_is_there_for_an_hour
}

async fn what_others_have_seen_is_there_for_an_hour(site: Site) {
    let store = site.open().await;
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let (node, other) = (node_id(1), node_id(2));
    let seen = [(node, b"sealed".to_vec()), (other, b"more".to_vec())];
    store.keep_sightings(first, &seen, at(0)).await.unwrap();
    let of_others = async |node, own, now| store.sightings_of_others(node, own, now).await.unwrap();
    assert_eq!(of_others(node, second, at(1)).await, [b"sealed".to_vec()]);
    assert!(of_others(node, first, at(1)).await.is_empty(), "its own");
    // The latest counts.
    let again = [(node, b"anew".to_vec())];
    store.keep_sightings(first, &again, at(60)).await.unwrap();
    assert_eq!(of_others(node, second, at(61)).await, [b"anew".to_vec()]);
    // Old ones are not told, and are dropped with the next write.
    assert!(of_others(node, second, at(3661)).await.is_empty());
    store.keep_sightings(second, &[], at(3660)).await.unwrap();
    assert!(
        of_others(other, second, at(1)).await.is_empty(),
        "kept for ever"
    );
    assert_eq!(of_others(node, second, at(61)).await, [b"anew".to_vec()]);
}
