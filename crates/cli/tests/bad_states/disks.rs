//! Disks that are full or read-only: small ones in a mount namespace of the server's own, so that nothing
//! of the machine is touched; they go with it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use bessemer_client::{Client, Error};

use crate::place::{Place, key, keys};
use crate::postgres::Cluster;

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_loses_nothing() {
    let place = Place::new();
    let command = place.with_disk("mount -t tmpfs -o size=16m tmpfs $DISK; exec $SERVE");
    let (running, api) = place.start(command).await;
    api.create_key(&key("before")).await.unwrap();
    let filler = running.inside(&place.data().join("filler"));
    fill(&filler);
    let answered = until_it_is_refused(&api).await;
    std::fs::remove_file(&filler).unwrap();
    goes_on(&api, answered).await;
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgresql_is_named_and_loses_nothing() {
    let cluster = Cluster::start_on_small_disk().await;
    let place = Place::with(&format!(
        "database_url = '{}'\n",
        cluster.new_database().await
    ));
    let (running, api) = place.start(place.serve()).await;
    api.create_key(&key("before")).await.unwrap();
    cluster.fill_disk().await;
    let answered = until_it_is_refused(&api).await;
    cluster.free_disk().await;
    goes_on(&api, answered).await;
    running.kill().await;
}

/// Writes until there is no space left; what has been written. It is named, and reading goes on.
async fn until_it_is_refused(api: &Client) -> BTreeSet<String> {
    let mut answered = BTreeSet::from(["before".to_owned()]);
    let refused = loop {
        let name = format!("key-{}", answered.len());
        match api.create_key(&key(&name)).await {
            Ok(_) => answered.insert(name),
            Err(Error::Problem(problem)) => break problem,
            Err(error) => panic!("{error}"),
        };
        assert!(answered.len() < 5000, "the disk is full, and nobody minds");
    };
    assert_eq!(refused.status, 503);
    assert!(
        refused.detail.contains("disk of the database is full"),
        "{refused:?}"
    );
    assert!(refused.remedy.unwrap().contains("frees space"));
    assert_eq!(keys(api).await, answered, "reading goes on");
    answered
}

/// There is space again, and nothing was restarted.
async fn goes_on(api: &Client, mut answered: BTreeSet<String>) {
    api.create_key(&key("after")).await.unwrap();
    answered.insert("after".into());
    assert_eq!(keys(api).await, answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_leaves_nothing_in_the_way_of_the_next() {
    let place = Place::new();
    let said = place.folder.path().join("said");
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs $DISK
         if $SERVE 2>{0}; then exit 9; fi
         mount -o remount,size=16m $DISK
         exec $SERVE",
        said.display()
    );
    let (running, api) = place.start(place.with_disk(&script)).await;
    api.create_key(&key("first")).await.unwrap();
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("error: "), "{said}");
    assert!(
        said.contains("full") || said.contains("No space left"),
        "{said}"
    );
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_is_named() {
    let place = Place::new();
    let first = "mount -t tmpfs -o ro tmpfs $DISK; exec $SERVE";
    let said = place.refuses(place.with_disk(first)).await;
    let data = place.data().display().to_string();
    assert!(said.contains(&data), "{said}");
    assert!(
        said.contains("Read-only file system") && said.contains("--data"),
        "{said}"
    );

    // The same with a database that is there already.
    let (running, api) = place.start(place.serve()).await;
    api.create_key(&key("kept")).await.unwrap();
    running.kill().await;
    let again = "mount --bind $DISK $DISK; mount -o remount,bind,ro $DISK; exec $SERVE";
    let said = place.refuses(place.with_disk(again)).await;
    assert!(
        said.contains(&data) && said.contains("Read-only file system"),
        "{said}"
    );
    let running = place.start_again(&api).await;
    assert_eq!(keys(&api).await, BTreeSet::from(["kept".to_owned()]));
    running.kill().await;
}
