//! How servers and plans look to people.

use std::time::Duration;

use bessemer_wire::api::{Server, ServerNetwork, ServerPlan, ServerStatus};
use jiff::Timestamp;

use crate::failure::tell;
use crate::lookup::Names;
use crate::table::{NOTHING, pairs, table};
use crate::words::{ago, count, disk_identity, length, printable, progress, seconds, step};

pub(super) fn status(status: ServerStatus) -> &'static str {
    match status {
        ServerStatus::Building => "building",
        ServerStatus::Active => "active",
        ServerStatus::Deleting => "deleting",
        ServerStatus::Error => "error",
    }
}

/// One line for every server.
pub(super) fn list(servers: &[&Server], names: &Names, now: Timestamp) -> String {
    let rows = servers.iter().map(|server| {
        [
            server.name.clone(),
            status(server.status).to_owned(),
            address(server),
            names.name(server.flavor.0),
            names.name(server.image.0),
            names.name(server.node.0),
            ago(server.created_at, now),
        ]
    });
    table(
        [
            "NAME", "STATUS", "ADDRESS", "FLAVOR", "IMAGE", "NODE", "ORDERED",
        ],
        rows,
    )
}

/// Everything about one server.
pub(super) fn details(server: &Server, names: &Names, now: Timestamp) -> String {
    let login = (server.status == ServerStatus::Active).then(|| login(server));
    pairs([
        ("Name", Some(server.name.clone())),
        ("Id", Some(server.id.to_string())),
        ("Status", Some(status(server.status).to_owned())),
        ("Reason", Some(tell(&server.reason, now))),
        ("Progress", server.progress.as_ref().map(progress)),
        ("Login", login),
        ("Networks", Some(networks(server, names))),
        ("Flavor", Some(names.name(server.flavor.0))),
        ("Image", Some(names.name(server.image.0))),
        ("Node", Some(names.name(server.node.0))),
        ("Project", Some(server.project.to_string())),
        ("Ordered", Some(ago(server.created_at, now))),
        ("Rebuilt", server.rebuilt_at.map(|at| ago(at, now))),
        ("Active", server.active_at.map(|at| ago(at, now))),
        (
            "POSTs",
            Some(format!("{}, {} foretold", server.posts, server.plan.posts)),
        ),
    ])
}

/// How to log in.
fn login(server: &Server) -> String {
    match (&server.default_user, server.address) {
        (Some(user), Some(address)) => format!("ssh {user}@{address}"),
        (None, Some(address)) => format!("ssh {address}"),
        (_, None) => "no address is known".to_owned(),
    }
}

fn address(server: &Server) -> String {
    server
        .address
        .map_or(NOTHING.into(), |address| address.to_string())
}

/// The networks of a server, each with its addresses.
fn networks(server: &Server, names: &Names) -> String {
    let network = |each: &ServerNetwork| {
        let addresses = each.addresses.iter();
        let addresses: Vec<_> = addresses.map(|each| each.address.to_string()).collect();
        format!("{} {}", names.name(each.network.0), addresses.join(" "))
    };
    let all: Vec<_> = server.networks.iter().map(network).collect();
    all.join(", ")
}

/// What came of an order: how long it took, against what was foretold, and the login as the last
/// line.
pub(super) fn arrival(server: &Server) -> String {
    let took = server
        .active_at
        .map(|at| at.duration_since(server.rebuilt_at.unwrap_or(server.created_at)));
    let took = took.and_then(|took| Duration::try_from(took).ok());
    let after = took.map_or(String::new(), |took| format!(" after {}", length(took)));
    let text = format!(
        "server {} is active{after}, {} (foretold: {}, {})\n{}",
        server.name,
        count(server.posts as usize, "POST"),
        seconds(server.plan.expected_seconds),
        count(server.plan.posts as usize, "POST"),
        login(server)
    );
    printable(&text)
}

/// The steps of a plan, and what they come to.
pub(super) fn plan(plan: &ServerPlan) -> String {
    let steps = &plan.plan.steps;
    let rows = steps.iter().enumerate().map(|(index, each)| {
        [
            (index + 1).to_string(),
            each.phase.name().to_owned(),
            step(each.step),
            seconds(each.expected_seconds),
            if each.posts > 0 {
                each.posts.to_string()
            } else {
                String::new()
            },
            if each.irreversible { "yes" } else { "" }.to_owned(),
        ]
    });
    let steps_text = table(
        ["#", "PHASE", "STEP", "USUALLY", "POSTS", "IRREVERSIBLE"],
        rows,
    );
    let node = printable(&plan.node_name);
    let disk = printable(&disk_identity(&plan.disk));
    format!(
        "{steps_text}\n\n{}, {}, usually {} in all\non node {node}, disk {disk}",
        count(steps.len(), "step"),
        count(plan.plan.posts as usize, "POST"),
        seconds(plan.plan.expected_seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(user: Option<&str>) -> Server {
        let id = |number: u8| format!("00000000-0000-0000-0000-0000000000{number:02}");
        serde_json::from_value(json!({
            "id": id(1), "name": "web-1", "project": id(2), "status": "active",
            "reason": { "summary": "the operating system is up" }, "flavor": id(3),
            "image": id(4), "address": "192.168.100.10", "default_user": user,
            "networks": [{ "network": id(5), "addresses": [
                { "address": "192.168.100.10", "subnet": id(7) },
                { "address": "2001:db8::a", "subnet": id(8) }] }],
            "node": id(6), "plan": { "steps": [], "posts": 1, "expected_seconds": 90 }, "posts": 1,
            "created_at": "2026-11-21T10:00:00Z", "active_at": "2026-11-21T10:01:23Z",
        }))
        .unwrap()
    }

    #[test]
    fn the_last_line_of_an_arrival_is_the_login() {
        assert_eq!(
            arrival(&server(Some("debian"))),
            "server web-1 is active after 1 min 23 s, 1 POST (foretold: 1 min 30 s, 1 POST)\n\
             ssh debian@192.168.100.10"
        );
        assert!(arrival(&server(None)).ends_with("\nssh 192.168.100.10"));
        assert!(!arrival(&server(Some("\u{1b}[2J"))).contains('\u{1b}'));
    }

    #[test]
    fn a_server_is_one_line_with_ids_where_names_are_not_known() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let text = list(&[&server(None)], &Names::default(), now);
        let line = text.lines().nth(1).unwrap();
        assert!(
            line.starts_with("web-1  active  192.168.100.10  00000000-"),
            "{text}"
        );
        assert!(line.ends_with("2h ago"), "{text}");
        let text = details(&server(None), &Names::default(), now);
        let all = "00000000-0000-0000-0000-000000000005 192.168.100.10 2001:db8::a";
        assert!(text.contains(all), "{text}");
    }

    #[test]
    fn a_plan_shows_what_is_irreversible_and_what_it_costs() {
        let shown: ServerPlan = serde_json::from_value(json!({
            "node": "00000000-0000-0000-0000-000000000006", "node_name": "rack1-u07",
            "disk": { "name": "nvme0n1", "serial": "S1", "size_bytes": 480_103_981_056_u64 },
            "plan": { "posts": 1, "expected_seconds": 95, "steps": [
                { "phase": "deploying", "step": "power_on", "irreversible": false, "posts": 1,
                  "expected_seconds": 5 },
                { "phase": "deploying", "step": "write_image", "irreversible": true, "posts": 0,
                  "expected_seconds": 90 },
            ] },
        }))
        .unwrap();
        assert_eq!(
            plan(&shown),
            "#  PHASE      STEP         USUALLY     POSTS  IRREVERSIBLE\n\
             1  deploying  power on     5 s         1      -\n\
             2  deploying  write image  1 min 30 s  -      yes\n\
             \n\
             2 steps, 1 POST, usually 1 min 35 s in all\n\
             on node rack1-u07, disk nvme0n1 (serial number S1, 447 GiB)"
        );
    }
}
