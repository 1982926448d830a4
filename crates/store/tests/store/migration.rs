//! What an older version has written is carried over.

use std::borrow::Cow;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bessemer_core::id::TokenId;
use bessemer_core::lifecycle::Outcome;
use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_store::{
    AddressHistoryFilter, Asked, Location, NewAuditRequest, NewEvent, Store, StoreOptions,
};
use bessemer_wire::api::Role;
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::on_both;
use crate::site::{Site, at, node_id, project, uuid};

on_both! {
    networks_with_one_subnet_become_networks_with_subnets
    what_has_fewer_indexes_is_what_it_was
}

/// The last version before networks had subnets of their own.
const BEFORE_SUBNETS: i64 = 9;

/// Two networks, one of them with a server on it, as that version writes them.
const OLD_ROWS: &str = r#"
INSERT INTO event (sequence, happened_at, kind, message, data) VALUES (1, 1700000000000, 'x', 'x', '{}');
INSERT INTO project (id, name) VALUES ('00000000-0000-0000-0000-000000000003', 'demo');
INSERT INTO flavor (id, name, hardware) VALUES ('00000000-0000-0000-0000-000000000005', 'small', '{}');
INSERT INTO image (id, name, status, source, checksum, created_at)
    VALUES ('00000000-0000-0000-0000-000000000004', 'debian', 'ready', 'x', 'x', 1);
INSERT INTO network VALUES ('00000000-0000-0000-0000-000000000006', 'tenant', 100,
    '192.168.100.0/24', 3232261121, '["192.168.100.1"]', 3232261130, 3232261140, 1500, 7);
INSERT INTO network VALUES ('00000000-0000-0000-0000-000000000007', 'storage', 200,
    '10.255.0.0/16', NULL, '[]', 184483841, 184549374, 9000, 0);
INSERT INTO node (id, name, created_at, bmc_url, bmc_username, bmc_password, bmc_trust, ports,
    port_control, goal, goal_kind, generation, server, state, phase, at_rest, clean, news,
    lease_until, fence)
    VALUES ('00000000-0000-0000-0000-000000000001', 'node1', 1, 'x', 'x', '', '"insecure"', '[]',
    'switched', '{"goal":"available"}', 'deployed', 2, '00000000-0000-0000-0000-000000000002',
    '{}', 'active', 1, 0, 0, 0, 0);
INSERT INTO server (id, project, name, flavor, image, network, address, node, keys, plan,
    posts_before, created_at)
    VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000003', 'web',
    '00000000-0000-0000-0000-000000000005', '00000000-0000-0000-0000-000000000004',
    '00000000-0000-0000-0000-000000000006', 3232261130, '00000000-0000-0000-0000-000000000001',
    '[]', '{}', 0, 1700000001000);
"#;

/// The last version that found intents by their keys, and numbered rows on SQLite by counters.
const BEFORE_FEWER_INDEXES: i64 = 24;

/// A node that boots and has two intents, two events, and two requests, of which one was answered.
const ROWS_OF_MANY_INDEXES: &str = r#"
INSERT INTO node (id, name, created_at, bmc_url, bmc_username, bmc_password, bmc_trust, ports,
    port_control, goal, goal_kind, generation, state, phase, at_rest, clean, news, lease_until, fence)
    VALUES ('00000000-0000-0001-0000-000000000001', 'node1', 1, 'x', 'x', '', '"insecure"', '[]',
    'switched', '{"goal":"available"}', 'available', 2, '{}', 'inspecting', 0, 0, 0, 0, 0);
INSERT INTO mac_address (mac, node) VALUES ('52:54:00:00:00:01', '00000000-0000-0001-0000-000000000001');
INSERT INTO boot (id, node, mac, address, session, created_at, method)
    VALUES ('00000000-0000-0000-0000-000000000008', '00000000-0000-0001-0000-000000000001',
    '52:54:00:00:00:01', 3232261130, 'a digest', 1, 'pxe');
INSERT INTO intent (node, intent_key, sequence, generation, executor, action, status, created_at)
    VALUES ('00000000-0000-0001-0000-000000000001', 'later', 2, 2, 'conductor',
    '{"action":"power_on"}', 'pending', 2), ('00000000-0000-0001-0000-000000000001', 'earlier', 1, 2,
    'conductor', '{"action":"power_off"}', 'done', 1);
INSERT INTO event (sequence, happened_at, kind, message, data)
    VALUES (1, 1, 'x', 'first', '{}'), (2, 2, 'x', 'second', '{}');
UPDATE counter SET value = 2 WHERE name IN ('event', 'audit');
INSERT INTO audit_request (sequence, request, asked_at, token, token_name, role, project, method, path)
    VALUES (1, 'one', 1, '00000000-0000-0000-0000-000000000009', 'root', 'admin',
    '00000000-0000-0000-0000-000000000003', 'POST', '/v1/nodes'),
    (2, 'two', 2, '00000000-0000-0000-0000-000000000009', 'root', 'admin',
    '00000000-0000-0000-0000-000000000003', 'POST', '/v1/nodes');
INSERT INTO audit_outcome (request, answered_at, status) VALUES ('one', 1, 201);
"#;

/// Makes the database as the version before subnets left it.
async fn old(site: &Site) {
    older(site, BEFORE_SUBNETS, OLD_ROWS).await;
}

/// Makes the database as version `last` left it, with `rows`.
async fn older(site: &Site, last: i64, rows: &'static str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrator = Migrator::new(folder).await.expect("reads the migrations");
    let migrations = migrator.migrations.iter();
    let older = migrations.filter(|migration| migration.version <= last);
    migrator.migrations = Cow::Owned(older.cloned().collect());
    match &site.location {
        Location::Sqlite(path) => {
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("connects");
            let migrated = migrator.run_direct(None, &mut connection, false).await;
            migrated.expect("makes the old schema");
            let written = sqlx::raw_sql(rows).execute(&mut connection).await;
            written.expect("writes the old rows");
            connection.close().await.expect("disconnects");
        }
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await.expect("connects");
            let migrated = migrator.run_direct(None, &mut connection, false).await;
            migrated.expect("makes the old schema");
            let written = sqlx::raw_sql(rows).execute(&mut connection).await;
            written.expect("writes the old rows");
            connection.close().await.expect("disconnects");
        }
    }
}

async fn networks_with_one_subnet_become_networks_with_subnets(site: Site) {
    old(&site).await;
    let store = site.open().await;
    let tenant = store.network(None, "tenant").await.unwrap();
    assert_eq!(
        (tenant.kind, tenant.scope, tenant.project),
        (NetworkKind::Vlan, NetworkScope::Public, None)
    );
    assert_eq!(
        (tenant.vlan, tenant.vni, tenant.mtu),
        (Some(100), None, 1500)
    );
    assert_eq!(tenant.created_at.as_second(), 1_700_000_000);
    assert_eq!((tenant.servers, tenant.subnets.len()), (1, 1));
    let subnet = &tenant.subnets[0];
    assert_eq!(subnet.plan.cidr.to_string(), "192.168.100.0/24");
    assert_eq!(subnet.plan.gateway.unwrap().to_string(), "192.168.100.1");
    assert_eq!(subnet.plan.dns[0].to_string(), "192.168.100.1");
    let pools: Vec<_> = subnet.plan.pools.iter().map(ToString::to_string).collect();
    assert_eq!(pools, ["192.168.100.10-192.168.100.20"]);
    assert_eq!((subnet.allocated, subnet.free), (1, 10));

    let storage = store.network(None, "storage").await.unwrap();
    let subnet = &storage.subnets[0];
    assert_eq!((subnet.plan.gateway, storage.mtu), (None, 9000));
    assert_eq!(
        subnet.plan.pools[0].to_string(),
        "10.255.0.1-10.255.255.254",
    );

    let network = tenant.id;
    let address = "192.168.100.10".parse().unwrap();
    let stored = store.address(None, network, address).await.unwrap();
    assert_eq!(stored.server.unwrap().1, "web");
    assert!(!stored.reserved);
    let filter = AddressHistoryFilter {
        address: Some(address),
        ..AddressHistoryFilter::default()
    };
    let (lines, _) = store.address_history(filter, None, 10).await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (
            lines[0].server_name.as_deref(),
            lines[0].since.as_second(),
            lines[0].until
        ),
        (Some("web"), 1_700_000_001, None)
    );
}

/// An event that says no more than its message.
fn told(message: &str) -> NewEvent {
    NewEvent {
        kind: "x",
        node: None,
        server: None,
        project: None,
        message: message.to_owned(),
        data: json!({}),
    }
}

fn asked(request: &str) -> Asked {
    Asked::new(NewAuditRequest {
        request: request.to_owned(),
        at: at(4),
        token: TokenId(uuid(9, 1)),
        token_name: "root".into(),
        role: Role::Admin,
        project: project(),
        method: "POST".into(),
        path: "/v1/nodes".into(),
        peer: None,
    })
}

async fn what_has_fewer_indexes_is_what_it_was(site: Site) {
    older(&site, BEFORE_FEWER_INDEXES, ROWS_OF_MANY_INDEXES).await;
    let store = site.open().await;
    let (newest, outcome) = store.newest_intent(node_id(1)).await.unwrap().unwrap();
    assert_eq!(
        (newest.key.to_string(), outcome),
        ("later".into(), Outcome::Pending)
    );
    let earlier = store.outcome(node_id(1), "earlier").await.unwrap();
    assert_eq!(earlier, Some(Outcome::Done));
    let mac = "52:54:00:00:00:01".parse().unwrap();
    let boot = store.boot_by_mac(mac).await.unwrap().unwrap();
    assert_eq!(
        (boot.node, boot.address.to_string()),
        (node_id(1), "192.168.100.10".into())
    );
    assert!(boot.used, "its agent has called");

    store.append_events(&[told("third")], at(3)).await.unwrap();
    let events = store.events_after(0, None, 10).await.unwrap();
    let events: Vec<_> = events
        .iter()
        .map(|event| (event.sequence, &*event.message))
        .collect();
    assert_eq!(events, [(1, "first"), (2, "second"), (3, "third")]);
    assert_eq!(store.last_event().await.unwrap(), 3);

    let fourth = [told("fourth")];
    let write = store.append_events(&fourth, at(4));
    asked("three").carry_out(write).await.unwrap();
    let entries = store.audit_after(0, 10).await.unwrap();
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (entry.sequence, &*entry.request, entry.outcome.is_some()))
        .collect();
    assert_eq!(
        entries,
        [(1, "one", true), (2, "two", false), (3, "three", false)]
    );
}

/// The variable that tells the process to be killed which file to open.
const FILE: &str = "BESSEMER_STORE_TEST_OLD_FILE";

/// However far it has come, nothing of what was there is lost, and the next start goes on.
#[tokio::test]
async fn a_process_that_is_killed_while_it_brings_the_schema_up_to_date_loses_nothing() {
    for round in 0..10 {
        let site = Site::sqlite();
        old(&site).await;
        let Location::Sqlite(path) = &site.location else {
            unreachable!("it was made as SQLite")
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "migration::open_until_killed",
            ])
            .env(FILE, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begins = lines.any(|line| line.unwrap().contains("opening"));
        assert!(begins, "the child says so");
        std::thread::sleep(Duration::from_millis(round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_carried_over(&site).await;
    }
}

#[tokio::test]
#[ignore = "runs only as the child of the test above"]
async fn open_until_killed() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    println!("opening");
    let opened = Store::open(&Location::Sqlite(path.into()), StoreOptions::default()).await;
    drop(opened);
}

async fn assert_carried_over(site: &Site) {
    let store = site.open().await;
    let tenant = store.network(None, "tenant").await.unwrap();
    assert_eq!(tenant.subnets.len(), 1);
    let storage = store.network(None, "storage").await.unwrap();
    assert_eq!(storage.subnets.len(), 1);
    store.close().await;
}

/// PostgreSQL commits each version by itself: one that is cut off is undone, and those before it stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_the_schema_is_brought_up_to_date_loses_nothing() {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted
        AND locktype = 'relation' AND database = (SELECT oid FROM pg_database
        WHERE datname = current_database())";
    const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let site = Site::postgres().await;
    old(&site).await;
    let Location::Postgres(url) = &site.location else {
        unreachable!("it was made as PostgreSQL")
    };
    // Somebody has a lock on what the schema is to change.
    let mut other = PgConnection::connect(url).await.unwrap();
    let lock = sqlx::raw_sql("BEGIN; LOCK TABLE node IN ACCESS SHARE MODE");
    lock.execute(&mut other).await.unwrap();
    let location = site.location.clone();
    let opening = tokio::spawn(async move {
        let opened = Store::open(&location, StoreOptions::default()).await;
        opened.err().map(|error| error.to_string())
    });
    while sqlx::query_scalar::<_, i64>(WAITING)
        .fetch_one(&mut other)
        .await
        .unwrap()
        == 0
    {
        assert!(!opening.is_finished(), "it does not wait for the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sqlx::raw_sql(CUT).execute(&mut other).await.unwrap();
    let refused = opening.await.unwrap().expect("is cut off");
    assert!(
        refused.contains("cannot be brought up to date"),
        "{refused}"
    );
    other.close().await.unwrap();
    assert_carried_over(&site).await;
}
