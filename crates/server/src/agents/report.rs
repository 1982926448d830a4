//! By which way a system will say that it is up, told to people: an event now, and a trace for the
//! one who looks for the cause when it does not.

use bessemer_core::cause::Cause;
use bessemer_core::report::ReportWay;
use bessemer_store::NewEvent;
use serde_json::json;
use tracing::{info, warn};

use super::Agents;
use super::session::Session;
use crate::sightings::Place;

/// The longest that an agent may say about it, in characters.
const MAX_WORDS: usize = 500;

/// Notes what the agent of this session has settled.
pub(super) async fn note(agents: &Agents, session: &Session, way: &ReportWay) {
    let (node, site) = (&session.node, &agents.site);
    let (trouble, told) = match way {
        ReportWay::Unit { partition } => (None, format!("by a unit on {}", bounded(partition))),
        ReportWay::VendorData { why } => {
            let told = format!("by its cloud-init only: {}", bounded(why));
            (Some(Cause::CloudInitSilent), told)
        }
    };
    info!(node = %node.name, "the system reports {told}");
    let words = format!("the system will say that it is up {told}");
    site.sightings.note(node.id, Place::Report, trouble, words);
    let Ok(deployment) = session.deployment() else {
        return;
    };
    let server = deployment.server.to_string();
    let appended = match site.store.server(None, &server).await {
        Ok(server) => {
            let event = NewEvent {
                kind: "server.report",
                node: Some(node.id),
                server: Some(server.id),
                project: Some(server.project),
                message: format!("server `{}` will say that it is up {told}", server.name),
                data: json!({ "report": way }),
            };
            site.store.append_events(&[event], site.now()).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = appended {
        warn!(%error, "the event could not be recorded");
    }
}

fn bounded(words: &str) -> String {
    words.chars().take(MAX_WORDS).collect()
}
