//! A server that is killed in a stream of writes, and one that has more connections than a shell allows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::place::{LIMIT, Numbers, Place, key, keys};

/// Writes until the server is gone; `answered` has what it said is done.
async fn write(
    api: Client,
    writer: String,
    answered: Arc<Mutex<BTreeSet<String>>>,
    told: Arc<AtomicU64>,
) {
    for number in 0_u32.. {
        let name = format!("{writer}-{number}");
        match api.create_key(&key(&name)).await {
            Ok(_) => {
                answered.lock().unwrap().insert(name);
                told.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_outage() => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_it_has_answered() {
    let place = Place::new();
    let (mut running, api) = place.start(place.serve()).await;
    let answered: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut numbers = Numbers(20_261_121);
    for round in 0..6 {
        let told = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let name = format!("r{round}-w{writer}");
                tokio::spawn(write(api.clone(), name, answered.clone(), told.clone()))
            })
            .collect();
        let until = 1 + numbers.below(60);
        let reached = async {
            while told.load(Ordering::SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap();
        running.kill().await;
        for writer in writers {
            writer.await.unwrap();
        }
        running = place.start_again(&api).await;
        let kept = keys(&api).await;
        let answered = answered.lock().unwrap().clone();
        let lost: Vec<_> = answered.difference(&kept).collect();
        assert!(
            lost.is_empty(),
            "round {round}, killed after {until}: {lost:?}"
        );
        // At most the one request of each writer that had no answer yet.
        assert!(kept.len() <= answered.len() + 4 * (round + 1));
    }
    // Whatever is there has been asked for, and that is written down.
    let asked = api.audit(0, 1000).await.unwrap();
    let asked = asked
        .iter()
        .filter(|entry| entry.path == "/v1/keys")
        .count();
    assert!(
        asked >= keys(&api).await.len().min(1000),
        "{asked} in the audit trail"
    );
    running.kill().await;
}

/// A shell's soft limit is 1024 files, and far less in some places: a server that is started by hand takes
/// what it may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_started_by_hand_serves_more_connections_than_its_shell_allows() {
    const CONNECTIONS: usize = 200;
    let place = Place::new();
    let command = place.serve_by("ulimit -Sn 64; exec \"$0\" \"$@\"");
    let (running, api) = place.start(command).await;
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(place.address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        let answered = tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await;
        answered.expect("in time").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        kept.push(stream);
    }
    api.create_key(&key("there-are-files-left")).await.unwrap();
    drop(kept);
    running.kill().await;
}
