//! What an older version has written is carried over.

use std::borrow::Cow;
use std::path::Path;

use bessemer_core::network::{NetworkKind, NetworkScope};
use bessemer_store::{AddressHistoryFilter, Location};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::on_both;
use crate::site::Site;

on_both! {
    networks_with_one_subnet_become_networks_with_subnets
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

/// Makes the database as the version before left it.
async fn old(site: &Site) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrator = Migrator::new(folder).await.expect("reads the migrations");
    let migrations = migrator.migrations.iter();
    let older = migrations.filter(|migration| migration.version <= BEFORE_SUBNETS);
    migrator.migrations = Cow::Owned(older.cloned().collect());
    match &site.location {
        Location::Sqlite(path) => {
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let mut connection = SqliteConnection::connect(&url).await.expect("connects");
            let migrated = migrator.run_direct(None, &mut connection, false).await;
            migrated.expect("makes the old schema");
            let written = sqlx::raw_sql(OLD_ROWS).execute(&mut connection).await;
            written.expect("writes the old rows");
            connection.close().await.expect("disconnects");
        }
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await.expect("connects");
            let migrated = migrator.run_direct(None, &mut connection, false).await;
            migrated.expect("makes the old schema");
            let written = sqlx::raw_sql(OLD_ROWS).execute(&mut connection).await;
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
