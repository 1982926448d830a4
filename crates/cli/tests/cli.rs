//! The real command against an API that answers from a script: what people and scripts see, and
//! what the API is asked.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Api, Ran, bessemer, id, node, problem, server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const ORDER: &str =
    "server create web-1 --flavor small --image debian --network tenant --key laptop";

#[tokio::test]
async fn an_order_is_followed_across_an_outage_to_its_login() {
    let api = Api::start().await;
    let path = format!("GET /v1/servers/{}", id(1));
    let node_path = format!("GET /v1/nodes/{}", id(6));
    api.on("POST /v1/servers", 201, &server("building"))
        .on(&path, 200, &server("building"))
        .on(&path, 200, &server("building"))
        .on(&path, 503, &problem(503, "The database does not answer."))
        .on(&path, 503, &problem(503, "The database does not answer."))
        .on(&path, 200, &server("building"))
        .on(&path, 200, &server("active"))
        .on(&node_path, 200, &node("available", "rest", 1))
        .on(&node_path, 200, &node("deploying", "await_agent", 2))
        .on(&node_path, 200, &node("deploying", "write_image", 2));
    let ran = api.run(&format!("{ORDER} --wait")).await;
    assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<_> = ran.output.lines().collect();
    let shown = lines
        .iter()
        .map(|line| line.split_once("] ").map_or(*line, |(_, text)| text));
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown[0], "waiting for the conductor");
    assert_eq!(shown[1], "deploying: await agent (1 of 2, usually 20 s)");
    assert!(shown[2].contains("The database does not answer.") && shown[2].contains("120 s"));
    assert!(shown[3].starts_with("the API answers again"));
    assert_eq!(shown[4], "deploying: write image (2 of 2, usually 20 s)");
    assert_eq!(
        shown[5..],
        [
            "server web-1 is active after 1 min 23 s, 1 POST (foretold: 40 s, 1 POST)",
            "ssh debian@192.168.100.10"
        ]
    );
}

#[tokio::test]
async fn a_rebuild_is_sent_under_a_key_and_followed_to_its_login() {
    let api = Api::start().await;
    let shown = format!("GET /v1/servers/{}", id(1));
    let rebuild = format!("POST /v1/servers/{}/rebuild", id(1));
    let mut active = server("active");
    active["rebuilt_at"] = json!("2026-11-21T10:01:00Z");
    api.on("GET /v1/servers/web-1", 200, &server("active"))
        .on(
            &rebuild,
            503,
            &problem(503, "The database does not answer."),
        )
        .on(&rebuild, 202, &server("building"))
        .on(&shown, 200, &active);
    let ran = api
        .run("server rebuild web-1 --image debian-13 --key laptop --wait")
        .await;
    assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{ran:?}");
    let last: Vec<_> = ran.output.lines().collect();
    assert!(
        last[0].starts_with("server web-1 is active after 23 s"),
        "{ran:?}"
    );
    let sent = api.seen(&rebuild);
    assert_eq!(sent.len(), 2, "sent again when it was lost");
    assert_eq!(
        sent[0].header("idempotency-key"),
        sent[1].header("idempotency-key")
    );
    let body: Value = serde_json::from_str(&sent[1].body).unwrap();
    assert_eq!(body["image"], "debian-13");
    assert_eq!(body["keys"], json!(["laptop"]));
    assert_eq!(body["user_data"], json!(null));
}

#[tokio::test]
async fn a_server_is_switched_and_the_outcome_awaited() {
    let api = Api::start().await;
    let path = format!("/v1/servers/{}/power", id(1));
    let power = |status: &str, message: Value| {
        json!({ "power": "on", "request": { "id": "r1", "power": "off", "force": false,
            "status": status, "message": message } })
    };
    let refusal = json!("The operating system did not shut down within 30 s.");
    api.on("GET /v1/servers/web-1", 200, &server("active"))
        .on(&format!("PUT {path}"), 202, &power("pending", json!(null)))
        .on(&format!("GET {path}"), 200, &power("pending", json!(null)))
        .on(&format!("GET {path}"), 200, &power("failed", refusal));
    let ran = api.run("server power web-1 off --deadline 30 --wait").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.output.contains("off: under way"), "{ran:?}");
    assert!(
        ran.errors.contains("did not shut down within 30 s"),
        "{ran:?}"
    );
    let sent = api.seen(&format!("PUT {path}"));
    let body: Value = serde_json::from_str(&sent[0].body).unwrap();
    let expected = json!({ "power": "off", "force": false, "shut_down_seconds": 30 });
    assert_eq!(body, expected);

    let ran = api.run("server power web-1 status").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.output.contains("Power:") && ran.output.contains("off: failed"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn operators_must_say_why() {
    let api = Api::start().await;
    for verb in ["hold", "abort", "retire"] {
        let ran = api.run(&format!("node {verb} rack1-u07")).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.errors.contains("--reason"), "{ran:?}");
    }
    api.on(
        "POST /v1/nodes/rack1-u07/retire",
        200,
        &node("retired", "rest", 1),
    );
    let ran = api.run("node retire rack1-u07 --reason sold").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let body: Value =
        serde_json::from_str(&api.seen("POST /v1/nodes/rack1-u07/retire")[0].body).unwrap();
    assert_eq!(body, json!({ "reason": "sold" }));
}

#[tokio::test]
async fn a_boot_method_is_set_and_given_back() {
    let api = Api::start().await;
    let path = "PATCH /v1/nodes/rack1-u07";
    for (argument, sent) in [("pxe", json!("pxe")), ("auto", json!(null))] {
        api.on(path, 200, &node("available", "rest", 1));
        let ran = api
            .run(&format!("node set rack1-u07 --boot-method {argument}"))
            .await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let asked = api.seen(path).pop().unwrap();
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body, json!({ "boot_method": sent }));
    }
    let ran = api.run("node set rack1-u07 --boot-method floppy").await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("virtual_media"), "{ran:?}");
}

#[tokio::test]
async fn a_failed_order_says_why_and_fails() {
    let api = Api::start().await;
    api.on("POST /v1/servers", 201, &server("building")).on(
        &format!("GET /v1/servers/{}", id(1)),
        200,
        &server("error"),
    );
    let ran = api.run(&format!("{ORDER} --wait -o json")).await;
    assert_eq!((ran.code, ran.output.as_str()), (1, ""), "{ran:?}");
    assert_eq!(
        ran.errors,
        "error: server web-1 failed: no call came\n  expected: a call within 600 s\n  \
         seen: nothing\n  what you can do: look at the console\n"
    );
}

#[tokio::test]
async fn tenants_follow_an_order_without_seeing_the_node() {
    let api = Api::start().await;
    let path = format!("GET /v1/servers/{}", id(1));
    let node_path = format!("GET /v1/nodes/{}", id(6));
    api.on(&path, 200, &server("building"))
        .on(&path, 200, &server("building"))
        .on(&path, 200, &server("active"))
        .on("GET /v1/servers/web-1", 200, &server("building"))
        .on(&node_path, 403, &problem(403, "Operators only."));
    let ran = api.run("server show web-1 --wait").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.output.contains("no call came\n"), "{ran:?}");
    assert_eq!(api.seen(&node_path).len(), 1, "asked once, and not again");
}

#[tokio::test]
async fn an_interrupted_wait_leaves_the_order_and_says_how_to_go_on() {
    let api = Api::start().await;
    api.on("GET /v1/servers/web-1", 200, &server("building"))
        .on(
            &format!("GET /v1/servers/{}", id(1)),
            200,
            &server("building"),
        )
        .on(
            &format!("GET /v1/nodes/{}", id(6)),
            200,
            &node("deploying", "await_os", 2),
        );
    let home = tempfile::tempdir().unwrap();
    let mut child = api
        .command(home.path(), "server show web-1 --wait")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.ends_with("deploying: await OS"), "{line}");
    let process = child.id().unwrap().to_string();
    let killed = tokio::process::Command::new("kill")
        .args(["-INT", &process])
        .status()
        .await;
    assert!(killed.unwrap().success());
    let ran = Ran::of(child.wait_with_output().await.unwrap());
    assert_eq!(ran.code, 130);
    assert_eq!(
        ran.errors,
        "server web-1 goes on without you; to follow it again: bessemer server show web-1 --wait\n"
    );
    assert!(api.seen("DELETE").is_empty());
}

#[tokio::test]
async fn orders_have_keys_of_their_own() {
    let api = Api::start().await;
    let list = json!({ "items": [] });
    for path in ["flavors", "images", "networks", "nodes"] {
        api.on(&format!("GET /v1/{path}"), 200, &list);
    }
    api.on("POST /v1/servers", 201, &server("building"));
    for arguments in ["", "", " --idempotency-key order-4711"] {
        let ran = api.run(&format!("{ORDER}{arguments} -o json")).await;
        assert_eq!(ran.output, format!("{}\n", server("building")), "unchanged");
    }
    let orders = api.seen("POST /v1/servers");
    let keys: Vec<_> = orders
        .iter()
        .map(|order| order.header("idempotency-key"))
        .collect();
    assert_eq!((keys[0].len(), keys[2]), (36, "order-4711"));
    assert_ne!(keys[0], keys[1]);
    let order: Value = serde_json::from_str(&orders[0].body).unwrap();
    assert_eq!(
        (&order["keys"], &order["user_data"]),
        (&json!(["laptop"]), &Value::Null)
    );
}

#[tokio::test]
async fn json_is_the_apis_own_with_all_pages_in_one() {
    let api = Api::start().await;
    api.on(
        "GET /v1/servers",
        200,
        &json!({ "items": [server("active")], "next": "c" }),
    )
    .on(
        "GET /v1/servers",
        200,
        &json!({ "items": [server("error")] }),
    );
    let ran = api.run("server list -o json").await;
    let [first, second] = [server("active"), server("error")];
    assert_eq!(
        ran.output,
        format!("{{\"items\":[{first},{second}]}}\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_problem_is_told_in_plain_words() {
    let api = Api::start().await;
    api.on(
        "GET /v1/nodes",
        409,
        &problem(409, "The MAC address is taken."),
    );
    let ran = api.run("node list").await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.errors,
        "error: That is not possible now: The MAC address is taken. (field `ports[0].mac`)\n\
         Use another.\n"
    );
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_with_the_way_to_start_it() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut command = bessemer(home.path(), &format!("--api {url} node list"));
    let ran = Ran::of(command.env("BESSEMER_TOKEN", "x").output().await.unwrap());
    assert_eq!(ran.code, 1);
    assert!(
        ran.errors
            .starts_with(&format!("error: the API at {url} cannot be reached: "))
    );
    assert!(ran.errors.contains("bessemer serve") && ran.errors.contains("BESSEMER_API"));
}

#[tokio::test]
async fn wrong_usage_is_told_apart_from_failure() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        "",
        "node",
        "server create web-1",
        "--token secret node list",
        "flavor create f --from-node n --threads 1 --memory 1G",
        "flavor create f",
        "token create t --role member",
        "node enroll n --bmc https://b --bmc-user u --bmc-password-file - --mac 01:00:5e:00:00:01",
        "image add i",
        "image add i --source /x --upload /y",
        "image add i --source /x --sha256 a --sha512 b",
        "image add i --source /x --user me",
    ] {
        let ran = Ran::of(bessemer(home.path(), arguments).output().await.unwrap());
        assert_eq!(ran.code, 2, "{arguments}: {ran:?}");
    }
}

#[tokio::test]
async fn tokens_come_from_file_option_variable_and_home_in_this_order() {
    let api = Api::start().await;
    api.on("GET /v1/keys", 200, &json!({ "items": [] }));
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/bessemer");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("token"), "from-home\n").unwrap();
    std::fs::write(home.path().join("token"), "from-option\n").unwrap();
    let option = format!(
        "key list --token-file {}",
        home.path().join("token").display()
    );

    let run = async |arguments: &str, variable: Option<&str>| {
        let mut command = bessemer(home.path(), arguments);
        command.env("BESSEMER_API", &api.url);
        if let Some(variable) = variable {
            command.env("BESSEMER_TOKEN", variable);
        }
        let ran = Ran::of(command.output().await.unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        let requests = api.seen("GET /v1/keys");
        (
            requests.last().unwrap().header("authorization").to_owned(),
            ran.errors,
        )
    };
    let (token, warning) = run(&option, Some("from-variable")).await;
    assert_eq!(token, "Bearer from-option");
    assert!(
        warning.contains("chmod 600"),
        "others can read it: {warning}"
    );
    let (token, warning) = run("key list", Some("from-variable")).await;
    assert_eq!(
        (token.as_str(), warning.as_str()),
        ("Bearer from-variable", "")
    );
    assert_eq!(run("key list", None).await.0, "Bearer from-home");

    std::fs::remove_file(folder.join("token")).unwrap();
    let (token, warning) = run("key list", None).await;
    assert!(
        token.is_empty() && warning.contains("BESSEMER_TOKEN"),
        "{warning}"
    );
}

#[tokio::test]
async fn a_password_is_read_from_standard_input_and_told_to_nobody_else() {
    let api = Api::start().await;
    api.on("POST /v1/nodes", 201, &node("enrolled", "check_bmc", 2));
    let home = tempfile::tempdir().unwrap();
    let arguments = "node enroll rack1-u07 --bmc https://10.0.0.7 --bmc-user root \
        --bmc-password-file - --bmc-insecure --mac 52:54:00:12:34:56,switch=leaf1,port=swp7";
    let mut command = api.command(home.path(), arguments);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"pass word\n").await.unwrap();
    drop(input);
    let ran = Ran::of(child.wait_with_output().await.unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!format!("{ran:?}").contains("pass word"));
    let request: Value = serde_json::from_str(&api.seen("POST /v1/nodes")[0].body).unwrap();
    assert_eq!(
        request,
        json!({
            "name": "rack1-u07",
            "bmc": { "url": "https://10.0.0.7", "username": "root", "password": "pass word",
                "trust": "insecure" },
            "ports": [{ "mac": "52:54:00:12:34:56", "switch": "leaf1", "switch_port": "swp7" }],
            "standby": "by_flavor",
        })
    );
}

#[tokio::test]
async fn a_switch_is_described_by_files_and_its_key_told_to_nobody_else() {
    let api = Api::start().await;
    let made = json!({
        "id": id(9), "name": "leaf1", "driver": "ovsdb", "address": "ssl:leaf1:6640",
        "has_key": true, "tunnel_vlans": "3000-3999", "nodes": 0, "health": { "failing": false },
        "created_at": "2026-11-21T10:00:00Z",
    });
    api.on("POST /v1/switches", 201, &made);
    api.on("PATCH /v1/switches/leaf1", 200, &made);
    let home = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("ca", "authority"),
        ("crt", "certificate"),
        ("key", "planted key"),
    ] {
        std::fs::write(home.path().join(file), content).unwrap();
    }
    let at = |file: &str| home.path().join(file).display().to_string();
    let arguments = format!(
        "switch create leaf1 --driver ovsdb --address ssl:leaf1:6640 --tunnel-address 10.50.0.1 \
         --authority-file {} --certificate-file {} --key-file {} --parked-vlan 4000",
        at("ca"),
        at("crt"),
        at("key")
    );
    let ran = api.run(&arguments).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!format!("{ran:?}").contains("planted key"));
    let request: Value = serde_json::from_str(&api.seen("POST /v1/switches")[0].body).unwrap();
    assert_eq!(
        request,
        json!({
            "name": "leaf1", "driver": "ovsdb", "address": "ssl:leaf1:6640",
            "authority": "authority", "certificate": "certificate", "key": "planted key",
            "tunnel_address": "10.50.0.1", "parked_vlan": 4000,
        })
    );
    let ran = api.run("switch set leaf1 --largest-mtu 9000 --remove rack --remove certificate");
    assert_eq!(ran.await.code, 0);
    let path = "PATCH /v1/switches/leaf1";
    let request: Value = serde_json::from_str(&api.seen(path)[0].body).unwrap();
    let expected = json!({ "largest_mtu": 9000, "rack": null, "certificate": null });
    assert_eq!(request, expected);
    for wrong in [
        "switch set leaf1",
        "switch set leaf1 --rack a07 --remove rack",
    ] {
        assert_ne!(api.run(wrong).await.code, 0, "{wrong}");
    }
    assert_eq!(api.seen(path).len(), 1);
}

#[tokio::test]
async fn a_node_is_waited_for_until_it_rests_where_it_is_wanted() {
    let api = Api::start().await;
    let path = format!("GET /v1/nodes/{}", id(6));
    api.on(
        "POST /v1/nodes/rack1-u07/provide",
        200,
        &node("failed", "rest", 1),
    )
    .on(&path, 200, &node("failed", "rest", 1))
    .on(&path, 200, &node("cleaning", "erase", 2))
    .on(&path, 200, &node("available", "rest", 2));
    let ran = api.run("node provide rack1-u07 --wait").await;
    assert_eq!(
        ran.code, 0,
        "a failure from before the wish does not count: {ran:?}"
    );
    assert!(ran.output.contains("cleaning: erase") && ran.output.contains("available"));

    let api = Api::start().await;
    api.on(
        "POST /v1/nodes/rack1-u07/provide",
        200,
        &node("failed", "rest", 1),
    )
    .on(&path, 200, &node("failed", "rest", 2));
    let ran = api.run("node provide rack1-u07 --wait").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.errors.contains("node rack1-u07 failed: rest goes on"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_release_is_waited_for_by_id() {
    let api = Api::start().await;
    let path = format!("/v1/servers/{}", id(1));
    api.on("GET /v1/servers/web-1", 200, &server("active"))
        .on(&format!("DELETE {path}"), 202, &server("deleting"))
        .on(&format!("GET {path}"), 200, &server("deleting"))
        .on(
            &format!("GET {path}"),
            404,
            &problem(404, "There is no server."),
        )
        .on(
            &format!("GET /v1/nodes/{}", id(6)),
            200,
            &node("releasing", "power_off", 2),
        );
    let ran = api.run("server delete web-1 --wait").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.output.contains("releasing: power off"), "{ran:?}");
    assert!(ran.output.contains("server web-1 is gone"), "{ran:?}");
}

#[tokio::test]
async fn events_are_followed_across_broken_streams() {
    let event = |sequence: u64| {
        json!({ "sequence": sequence, "at": "2026-11-21T10:00:05Z", "kind": "node.phase",
            "message": format!("event {sequence}") })
    };
    let api = Api::start().await;
    api.on_stream("GET /v1/events", format!("data: {}\n\n", event(7)))
        .on_stream("GET /v1/events", format!("data: {}\n\n", event(8)));
    let home = tempfile::tempdir().unwrap();
    let mut child = api
        .command(home.path(), "events --follow --after 6")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        line.expect("an event in time").unwrap().unwrap()
    };
    assert_eq!(next().await, "10:00:05  node.phase      event 7");
    assert_eq!(next().await, "10:00:05  node.phase      event 8");
    child.kill().await.unwrap();
    let streams = api.seen("GET /v1/events");
    let resumed: Vec<_> = streams
        .iter()
        .map(|seen| seen.header("last-event-id"))
        .collect();
    assert_eq!(resumed[..2], ["6", "7"]);
}

#[tokio::test]
async fn completions_and_manual_pages_need_no_api() {
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(
        bessemer(home.path(), "completions bash")
            .output()
            .await
            .unwrap(),
    );
    assert!(
        ran.code == 0 && ran.output.contains("complete -F _bessemer"),
        "{ran:?}"
    );
    let folder = home.path().join("man");
    let arguments = format!("man {}", folder.display());
    let ran = Ran::of(bessemer(home.path(), &arguments).output().await.unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = std::fs::read_to_string(folder.join("bessemer-server-create.1")).unwrap();
    assert!(page.contains("idempotency"));
}

#[tokio::test]
async fn ports_are_bonded_and_declarations_taken_back() {
    let api = Api::start().await;
    let (first, second) = ("52:54:00:12:34:56", "52:54:00:12:34:57");
    let group = json!({ "name": "bond0", "mode": "lacp", "members": [first, second] });
    let port = json!({ "mac": second, "switch": null, "switch_port": null });
    let groups = "POST /v1/nodes/rack1-u07/port-groups";
    let ports = format!("PATCH /v1/nodes/rack1-u07/ports/{second}");
    api.on(groups, 201, &group).on(&ports, 200, &port);
    let body =
        |request: &str| -> Value { serde_json::from_str(&api.seen(request)[0].body).unwrap() };
    let create = "node port-group create rack1-u07 bond0";
    let ran = api
        .run(&format!("{create} --member {first} --member {second}"))
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.output.contains("bond0  lacp"), "{ran:?}");
    assert_eq!(body(groups), group);
    let set = format!("node port set rack1-u07 {second} --no-switch --physical-network none");
    assert_eq!(api.run(&set).await.code, 0);
    assert_eq!(
        body(&ports),
        json!({ "switch": null, "switch_port": null, "physical_network": null })
    );
    // Nothing to be changed, no port at all, a mode that there is not.
    for wrong in [
        format!("node port set rack1-u07 {second}"),
        create.to_owned(),
        format!("{create} --mode lag --member {first}"),
    ] {
        assert_eq!(api.run(&wrong).await.code, 2, "{wrong}");
    }
}
