//! Who owns what by the rows of the database, looked at after decisions: each node and each address at
//! most one server. The database has constraints that say the same; this is what is left if they, or the
//! statements that rely on them, do not hold.

use std::collections::HashMap;

use bessemer_store::ServerRecord;

use crate::judge::Judge;
use crate::world::World;

/// More servers than a site has.
const ALL: u32 = 1000;

/// Looks after every decision, or after a few that come together, for as long as it is polled.
pub(crate) async fn watch(world: &World) {
    let mut decisions = world.judge.states();
    while decisions.changed().await.is_ok() {
        look(world).await;
    }
}

async fn look(world: &World) {
    let found = world.servers.iter().find_map(|slot| slot.view().server());
    let Some((server, runtime)) = found else {
        return;
    };
    let store = server.site.store.clone();
    drop(server);
    // In the server's own runtime: one that is killed answers nothing.
    let asked = runtime.spawn(async move { store.servers(None, None, ALL).await });
    if let Ok(Ok((servers, _))) = asked.await {
        judge(&world.judge, &servers);
    }
}

fn judge(judge: &Judge, servers: &[ServerRecord]) {
    let (mut nodes, mut addresses) = (HashMap::new(), HashMap::new());
    for server in servers {
        if let Some(other) = nodes.insert(server.node, &server.name) {
            let (node, name) = (judge.name(server.node), &server.name);
            judge.object(format!("{node} belongs to {other} and to {name}"));
        }
        let attached = server.attachments.iter();
        for address in attached.flat_map(|attachment| &attachment.addresses) {
            if let Some(other) = addresses.insert(*address, &server.name) {
                let (address, name) = (address.1, &server.name);
                judge.object(format!("{address} belongs to {other} and to {name}"));
            }
        }
    }
}
