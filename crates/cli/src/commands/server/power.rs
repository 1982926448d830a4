//! `bessemer server power`: switching a server.

use bessemer_wire::api::{PowerSeen, PowerVerb, ServerPower, ServerPowerRequest};
use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::commands::Context;
use crate::follow;
use crate::table::pairs;
use crate::words::printable;

/// Switch a server on or off, restart it, or show whether it is on.
///
/// Its operating system is asked to shut down. If it has not after --deadline, the request has
/// failed and the server runs on; --force switches off at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server power web-1 status
  bessemer server power web-1 off --wait
  bessemer server power web-1 restart --deadline 300 --wait
  bessemer server power web-1 off --force --wait")]
pub(in crate::commands) struct Power {
    /// Its name or id.
    server: String,
    /// What to do.
    what: What,
    /// Do not ask the operating system, and overtake an earlier request.
    #[arg(long)]
    force: bool,
    /// How long the operating system may take to shut down, in seconds: 10 to 900.
    #[arg(
        long, value_name = "SECONDS", default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(10..=900)
    )]
    deadline: u32,
    /// Wait until it is done.
    #[arg(long)]
    wait: bool,
    /// What tells this request from others, when it is sent again [default: a random one].
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Switch it on.
    On,
    /// Shut it down and switch it off.
    Off,
    /// Shut it down, switch it off and on again.
    Restart,
    /// Only show whether it is on.
    Status,
}

impl What {
    fn verb(self) -> Option<PowerVerb> {
        match self {
            Self::On => Some(PowerVerb::On),
            Self::Off => Some(PowerVerb::Off),
            Self::Restart => Some(PowerVerb::Restart),
            Self::Status => None,
        }
    }
}

pub(super) async fn run(arguments: Power, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    // Followed by its id: another server may get the name.
    let server = client.server(&arguments.server).await?;
    let id = server.id.to_string();
    let Some(power) = arguments.what.verb() else {
        let shown = client.server_power(&id).await?;
        return Ok(format.one(&shown, show)?);
    };
    let request = ServerPowerRequest {
        power,
        force: arguments.force,
        shut_down_seconds: Some(arguments.deadline),
    };
    let random = || Uuid::new_v4().to_string();
    let key = arguments.idempotency_key.unwrap_or_else(random);
    let asked = client.switch_server(&id, &request, &key).await?;
    if !arguments.wait {
        format.one(&asked, show)?;
        let name = printable(&server.name);
        return Ok(format.say(format!(
            "\nlook at it with: bessemer server power {name} status"
        ))?);
    }
    let done = follow::until_switched(client, &server, &asked, *format).await?;
    Ok(format.one(&done, show)?)
}

fn show(power: &ServerPower) -> String {
    let seen = power.power.map(|power| {
        match power {
            PowerSeen::On => "on",
            PowerSeen::Off => "off",
            PowerSeen::PoweringOn => "powering on",
            PowerSeen::PoweringOff => "powering off",
            PowerSeen::Unknown => "unknown",
        }
        .to_owned()
    });
    let request = power.request.as_ref().map(follow::request_in_words);
    let message = power.request.as_ref().and_then(|each| each.message.clone());
    printable(&pairs([
        ("Power", seen),
        ("Problem", power.problem.clone()),
        ("Request", request),
        ("Message", message),
    ]))
}
