//! Planted secrets: after a whole life of a node, with a change of the sealing key in the middle of it, none
//! of them is in the log, an event, an API answer, the database or a file of the server but its keys (invariant 6).
//!
//! A program of its own, because it takes everything that the process says at the finest level. What
//! processes show of themselves is looked at in `cli/tests/secrets.rs`.

#[path = "../site/harness/mod.rs"]
mod harness;
#[path = "../../../store/tests/store/postgres.rs"]
mod postgres;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bessemer_server::config::DatabaseUrl;
use bessemer_server::sealing::seal_anew;
use bessemer_sim::redfish::Faults;
use bessemer_wire::api::{
    ImageCreate, ImageCredentials, PrivateKey, Role, SwitchCreate, TokenCreate,
};
use tracing_subscriber::fmt::MakeWriter;

use harness::node::PASSWORD;
use harness::{SimNode, Site, eager, order, problem};

const USER_DATA: &str = "#!/bin/sh\n# planted-user-data\n";

/// A switch with a certificate that is none.
const SWITCH: &str = r#"{"name": "leaf1", "driver": "ovsdb", "address": "ssl:127.0.0.1:1",
    "authority": "none", "certificate": "none"}"#;

/// Keeps what is written to it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What must not be told, and places where things are told.
#[derive(Default)]
struct Search {
    secrets: Vec<(&'static str, Vec<u8>)>,
    places: Vec<(String, Vec<u8>)>,
}

impl Search {
    /// A secret, which is looked for as it is, in hexadecimal digits, and wherever it may stand in something
    /// that is told in base64, such as HTTP's basic authentication.
    fn secret(&mut self, what: &'static str, secret: impl Into<Vec<u8>>) {
        let secret = secret.into();
        assert!(secret.len() > 10, "{what} is too short to be searched for");
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for before in 0..3 {
            let shifted = [&[0; 3][..before], &secret].concat();
            let text = STANDARD_NO_PAD.encode(&shifted);
            // Without the characters that have bits of what stands beside it.
            let own = text.get([0, 2, 3][before]..text.len() - 1).unwrap_or(&text);
            self.secrets.push((what, own.into()));
        }
        self.secrets.push((what, hex.into()));
        self.secrets.push((what, secret));
    }

    fn place(&mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.places.push((name.into(), content.into()));
    }

    fn files(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path);
            } else {
                self.place(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }

    /// What is at the place whose name ends so.
    fn at(&self, end: &str) -> &[u8] {
        let mut places = self.places.iter();
        let place = places.find(|(name, _)| name.ends_with(end));
        &place.expect(end).1
    }

    /// Where which secret is found.
    fn found(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for (what, secret) in &self.secrets {
            for (name, content) in &self.places {
                if contains(content, secret) {
                    found.push((*what, name.as_str()));
                }
            }
        }
        found
    }
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    // Compared only where the first byte is right: a debug build is slow at anything else.
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| *byte == part[0]) {
        rest = &rest[at..];
        if rest.starts_with(part) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_anywhere() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
    for database in [None, Some(postgres::new_database().await)] {
        let mut search = search_of_a_life(database.clone()).await;
        search.place("the log", std::mem::take(&mut *log.0.lock().unwrap()));
        // The search itself finds what is there.
        let log = search.at("the log");
        assert!(
            log.len() > 100_000 && contains(log, b"TRACE") && contains(log, b"agent connected")
        );
        let database = search.at(database.map_or("/data/bessemer.db-wal", |_| "the dump"));
        assert!(contains(database, b"helper"));
        assert_eq!(search.found(), []);
    }
}

/// A whole life of a node; its secrets, and all places where something is told, but the log.
async fn search_of_a_life(database: Option<String>) -> Search {
    let url = database.clone();
    let site = Site::start_as(eager(), None, |config| {
        config.database_url = url.map(DatabaseUrl);
    })
    .await;
    let node = site.available().await;
    site.offer(&node).await;
    let mut search = Search::default();
    search.secret("the admin's token", site.token.clone());
    search.secret("the BMC's password", PASSWORD);
    search.secret("user data", "planted-user-data");
    live(&site, &node, &mut search).await;
    change_key(&site, &mut search).await;
    ask_for_everything(&site, &node, &mut search).await;
    for boot in node.host.boots() {
        search.secret("the token of a boot", boot.token);
    }
    if let Some(url) = database {
        let (dump, log) = postgres::dump_and_log(&url).await;
        search.place("the dump", dump);
        search.place("the log of PostgreSQL", log);
    }
    search.files(site.data());
    let is_key = |name: &str| name.ends_with("/data/key") || name.ends_with("/data/token-key");
    search.places.retain(|(name, _)| !is_key(name));
    search
}

/// A life with everything that goes wrong in it, for errors are told at length.
async fn live(site: &Site, node: &SimNode, search: &mut Search) {
    let request = TokenCreate {
        name: "helper".into(),
        role: Role::Member,
        project: Some("acme".into()),
    };
    let helper = site.api.create_token(&request).await.unwrap();
    search.secret("another token", helper.secret.clone());
    let switch = SwitchCreate {
        key: Some(PrivateKey("planted-private-key".into())),
        ..serde_json::from_str(SWITCH).unwrap()
    };
    problem(site.api.create_switch(&switch).await);
    search.secret("a switch's key", "planted-private-key");
    problem(site.client("planted-wrong-token").nodes(None, false).await);
    search.secret("a wrong token", "planted-wrong-token");

    let image = ImageCreate {
        name: "guarded".into(),
        source: Some("http://127.0.0.1:1/disk.raw".into()),
        sha256: Some("0".repeat(64)),
        credentials: Some(ImageCredentials {
            username: "reader".into(),
            password: "planted-image-password".into(),
        }),
        ..ImageCreate::default()
    };
    site.api.create_image(&image).await.unwrap();
    search.secret("an image source's password", "planted-image-password");

    let mut request = order("one");
    request.user_data = Some(USER_DATA.into());
    site.api
        .create_server(&request, "planted-idempotency")
        .await
        .unwrap();
    site.wait_for_active("one").await;
    site.release("one", node).await;

    let other = site.machine().await;
    let mut request = other.request();
    request.bmc.password = "planted-wrong-password".into();
    search.secret("a wrong password", "planted-wrong-password");
    site.api.create_node(&request).await.unwrap();
    site.wait_for_state(&other, "enroll").await;
    problem(site.api.create_node(&request).await);
    request.bmc.url = "http://operator:planted-in-the-url@127.0.0.1".into();
    search.secret("a password in a URL", "planted-in-the-url");
    problem(site.api.create_node(&request).await);

    let third = site.machine().await;
    third.set_faults(Faults {
        refuse_connections: true,
        ..Faults::default()
    });
    site.api.create_node(&third.request()).await.unwrap();
    site.wait_for_state(&third, "enroll").await;
}

/// Everything is sealed anew by another key, and goes on to be used.
async fn change_key(site: &Site, search: &mut Search) {
    let shared = &site.server().site;
    assert!(shared.keyring.rotate().unwrap());
    let done = seal_anew(&shared.store, &shared.keyring).await.unwrap();
    assert!(done.values >= 3 && done.unreadable.is_empty(), "{done:?}");
    let keys = std::fs::read(site.data().join("key")).unwrap();
    assert_eq!(keys.len(), 64);
    search.secret("the new key", &keys[..32]);
    search.secret("the old key", &keys[32..]);
    let tokens = std::fs::read(site.data().join("token-key")).unwrap();
    search.secret("the key of tokens", tokens);
}

/// All that the API tells.
async fn ask_for_everything(site: &Site, node: &SimNode, search: &mut Search) {
    for node in site.api.nodes(None, true).await.unwrap() {
        search.place(format!("GET node {}", node.name), node.json());
    }
    let explained = site.api.explain_node(&node.name).await.unwrap();
    search.place("GET explain", explained.json());
    for state in site.api.node_history(&node.name, 1000).await.unwrap() {
        search.place("GET history", state.json());
    }
    let mut request = order("two");
    request.user_data = Some(USER_DATA.into());
    let server = site.api.create_server(&request, "key").await.unwrap();
    search.place("POST server", server.json());
    site.wait_for_active("two").await;
    search.place("GET server", site.api.server("two").await.unwrap().json());
    let power = site.api.server_power("two").await.unwrap();
    search.place("GET power", power.json());
    let anew = bessemer_wire::api::ServerRebuild {
        user_data: Some(USER_DATA.into()),
        ..Default::default()
    };
    let rebuilt = site.api.rebuild_server("two", &anew, "again").await;
    search.place("POST rebuild", rebuilt.unwrap().json());
    site.wait_for_active("two").await;
    for token in site.api.tokens().await.unwrap() {
        search.place("GET tokens", token.json());
    }
    for entry in site.api.audit(0, 1000).await.unwrap() {
        search.place("GET audit", entry.json());
    }
    for image in site.api.images().await.unwrap() {
        search.place("GET images", image.json());
    }
    for event in site.api.events(0, 1000).await.unwrap() {
        search.place(format!("event {}", event.sequence), event.json());
    }
}
