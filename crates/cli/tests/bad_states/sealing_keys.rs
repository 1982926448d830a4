//! The key by which secrets are sealed: changed while the server runs and the change killed, missing,
//! another one, too open, or of a wrong length.

use std::process::Stdio;
use std::time::Duration;

use bessemer_client::Client;
use tokio::process::Command;

use crate::place::{LIMIT, Numbers, Place};

/// Nodes with a password each that nobody answers to.
async fn make_nodes(api: &Client, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let node = serde_json::json!({
            "name": format!("node{number}"),
            "bmc": { "url": format!("http://127.0.0.1:{}", 1 + number), "username": "u", "password": "planted-password",
                "trust": "insecure" },
            "ports": [{ "mac": format!("52:54:00:00:00:{number:02x}") }],
        });
        let node = serde_json::from_value(node).unwrap();
        api.create_node(&node).await.unwrap();
    }
}

impl Place {
    /// `bessemer sealing-key rotate`, which is killed after so long unless it has ended by then.
    /// What it said.
    async fn rotate(&self, after: Option<Duration>) -> Option<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
        command.args(["sealing-key", "rotate", "--config"]);
        command.arg(self.folder.path().join("bessemer.toml"));
        let running = self.piped(command).stderr(Stdio::inherit()).output();
        let ended = tokio::time::timeout(after.unwrap_or(LIMIT), running)
            .await
            .ok()?;
        let ended = ended.unwrap();
        assert!(ended.status.success(), "{ended:?}");
        Some(String::from_utf8(ended.stdout).unwrap())
    }
}

/// Dropping a child that has not ended kills it: as `kill -9`, in the middle of a rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_goes_on_and_loses_no_secret() {
    const NODES: u8 = 20;
    let place = Place::new();
    let (running, api) = place.start(place.serve()).await;
    make_nodes(&api, 0..NODES).await;
    let key_file = place.data().join("key");
    let first = std::fs::read(&key_file).unwrap();
    let mut numbers = Numbers(7);
    for _ in 0..6 {
        let after = Duration::from_millis(10 + numbers.below(60));
        place.rotate(Some(after)).await;
    }
    place.rotate(None).await.expect("ends");
    let both = std::fs::read(&key_file).unwrap();
    assert_eq!(both.len(), 64, "one rotation, however often it was begun");
    assert_eq!(both[32..], first);
    // What the server seals from now on is under the new key as well.
    make_nodes(&api, NODES..NODES + 1).await;

    // An hour later: the old key leaves the file. All can be opened by the other one alone.
    std::fs::write(&key_file, &both[..32]).unwrap();
    let said = place.rotate(None).await.expect("ends");
    assert!(said.contains(&format!("\n{} secrets", NODES + 1)), "{said}");
    running.kill().await;
    let running = place.start_again(&api).await;
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_databases_stops_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (running, api) = place.start(place.serve()).await;
    make_nodes(&api, 0..1).await;
    running.kill().await;
    let key_file = place.data().join("key");
    let key = std::fs::read(&key_file).unwrap();
    let mode = |mode| std::fs::set_permissions(&key_file, PermissionsExt::from_mode(mode)).unwrap();

    std::fs::remove_file(&key_file).unwrap();
    let said = place.refuses(place.serve()).await;
    assert!(
        said.contains("is missing") && said.contains("backup"),
        "{said}"
    );
    assert!(!key_file.exists(), "none is made up");
    for (content, why) in [
        (vec![7; 32], "is not the one"),
        (vec![7; 31], "has 31 bytes where a key has 32"),
    ] {
        std::fs::write(&key_file, content).unwrap();
        mode(0o600);
        let said = place.refuses(place.serve()).await;
        assert!(said.contains(why) && said.contains("backup"), "{said}");
    }
    std::fs::write(&key_file, &key).unwrap();
    mode(0o640);
    let said = place.refuses(place.serve()).await;
    assert!(said.contains("chmod 600"), "{said}");
    mode(0o600);
    place.start_again(&api).await.kill().await;
}
