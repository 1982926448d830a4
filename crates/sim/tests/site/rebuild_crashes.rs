//! The server dies at any commit of a rebuild, and the next one goes on: the tenant keeps node,
//! address and name, and gets what was asked for, once.

use bessemer_core::Timestamp;
use bessemer_core::id::ServerId;
use bessemer_store::GatePoint;
use bessemer_wire::api::{Server, ServerRebuild, ServerStatus};
use futures_util::future::join_all;

use crate::crashes::{MOST_POINTS, SHARES, start_again_if_dead};
use crate::harness::disk::{assert_erased, assert_has_image, soil};
use crate::harness::trap::Trap;
use crate::harness::{SimNode, Site, eager};

/// Fewer commits than any rebuild has.
const FEWEST_POINTS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_survives_a_crash_at_every_commit() {
    join_all((0..SHARES).map(rebuild_and_die_everywhere)).await;
}

/// Rebuilds one server for every commit point that a rebuild has.
async fn rebuild_and_die_everywhere(share: usize) {
    let trap = Trap::default();
    let (mut site, node) = Site::ready_with(eager(), Some(trap.gate())).await;
    let mut before = site.deploy("one").await;
    for at in (share..MOST_POINTS).step_by(SHARES) {
        let (server, died) = rebuild(&mut site, &node, &before, &trap, at).await;
        let wrong = format!("after dying at {died:?}");
        let kept = |server: &Server| (server.id, server.node, server.address);
        assert_eq!(kept(&server), kept(&before), "{wrong}");
        assert_eq!(site.node(&node).await.server, Some(server.id), "{wrong}");
        before = server;
        if died.is_none() {
            assert!(at > FEWEST_POINTS, "only {at} commit points were found");
            // Once after the order, and once after each rebuild.
            let rebuilds = (at - share) / SHARES + 1;
            assert_eq!(times_active(&site, before.id).await, rebuilds + 1);
            site.release("one", &node).await;
            assert_erased(node.disk());
            return;
        }
    }
    panic!("it goes on and on");
}

/// Rebuilds the server; the server process dies at commit point `at`, if there is one that late.
async fn rebuild(
    site: &mut Site,
    node: &SimNode,
    before: &Server,
    trap: &Trap,
    at: usize,
) -> (Server, Option<GatePoint>) {
    // What the tenant has done to the disk meanwhile.
    soil(node.disk());
    let (boots, commands) = (node.boots(), node.host.carried_out().len());
    trap.set(Some(at));
    let api = site.api.clone();
    let asking = tokio::spawn(async move {
        let anew = ServerRebuild::default();
        api.rebuild_server("one", &anew, &format!("key{at}")).await
    });
    tokio::select! {
        () = trap.struck() => {}
        _ = rebuilt(site, before.rebuilt_at) => {}
    }
    let died = start_again_if_dead(site, trap).await;
    asking.await.unwrap().unwrap();
    let server = rebuilt(site, before.rebuilt_at).await;

    let wrong = format!("after dying at {died:?}");
    let posts = (u64::from(server.posts), node.boots() - boots);
    assert_eq!(posts, (1, 1), "{wrong}");
    let steps = node.steps_since(commands);
    let generation = steps[0].0;
    let once = [
        "prove_agent",
        "write_image",
        "write_config_drive",
        "load_kernel",
        "hand_over",
    ];
    let once: Vec<_> = once.map(|step| (generation, step.to_owned())).into();
    assert_eq!(steps, once, "{wrong}");
    assert_has_image(node.disk());
    (server, died)
}

/// Waits until the server is active after another rebuild than the one asked for at `before`.
async fn rebuilt(site: &Site, before: Option<Timestamp>) -> Server {
    site.wait("the server to be rebuilt", async || {
        let server = site.api.server("one").await.ok()?;
        let anew = server.rebuilt_at != before && server.status == ServerStatus::Active;
        anew.then(|| server.into_value())
    })
    .await
}

async fn times_active(site: &Site, server: ServerId) -> usize {
    let told = site.events().await;
    let active = |event: &&bessemer_wire::event::Event| {
        event.kind == "server.active" && event.server == Some(server)
    };
    told.iter().filter(active).count()
}
