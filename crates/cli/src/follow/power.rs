//! Following a request to switch a server.

use bessemer_client::{Client, Document};
use bessemer_core::reason::Reason;
use bessemer_wire::api::{PowerRequestSeen, PowerVerb, RequestStatus, Server, ServerPower};

use super::sight::{Look, Sight};
use super::{Subject, follow};
use crate::output::Format;

/// Until what was asked for in `asked` is carried out; gives the power as it is then.
pub(crate) async fn until_switched(
    client: &Client,
    server: &Server,
    asked: &ServerPower,
    format: Format,
) -> anyhow::Result<Document<ServerPower>> {
    let id = server.id.to_string();
    let wanted = asked.request.as_ref().map(|request| request.id.clone());
    let subject = Subject {
        name: format!("server {}", server.name),
        again: format!("bessemer server power {} status", server.name),
    };
    follow(subject, format, async || {
        let power = client.server_power(&id).await?;
        let request = power.request.as_ref();
        let Some(request) = request.filter(|request| Some(&request.id) == wanted.as_ref()) else {
            let why = "something else was asked for meanwhile";
            return Ok(Look::Failed(Reason::new(why)));
        };
        Ok(match request.status {
            RequestStatus::Pending => Look::UnderWay(Sight::of(request_in_words(request))),
            RequestStatus::Done => Look::Done {
                value: power,
                at: None,
            },
            RequestStatus::Failed => {
                let why = request.message.clone().unwrap_or_default();
                Look::Failed(Reason::new(why))
            }
        })
    })
    .await
}

/// A request in a few words: `off by force: done`.
pub(crate) fn request_in_words(request: &PowerRequestSeen) -> String {
    let verb = match request.power {
        PowerVerb::On => "on",
        PowerVerb::Off => "off",
        PowerVerb::Restart => "restart",
    };
    let force = if request.force { " by force" } else { "" };
    let status = match request.status {
        RequestStatus::Pending => "under way",
        RequestStatus::Done => "done",
        RequestStatus::Failed => "failed",
    };
    format!("{verb}{force}: {status}")
}
