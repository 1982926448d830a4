//! `bessemer node`: physical machines, for operators.

mod bmc;
mod enroll;
mod explain;
mod port;
mod port_group;
mod set;
mod verbs;
mod view;

use anyhow::Context as _;
use bessemer_client::{Client, Document};
use bessemer_core::lifecycle::Phase;
use bessemer_wire::api::{Node, PowerState};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::Context;
use crate::follow;
use crate::output::Format;

/// Physical machines.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer node enroll rack1-u07 --bmc https://10.0.0.7 --bmc-user root \\
      --bmc-password-file ./bmc-password --mac 52:54:00:12:34:56 --wait
  bessemer node list
  bessemer node show rack1-u07
  bessemer node explain rack1-u07
  bessemer node hold rack1-u07 --reason 'new fans on Tuesday' --wait")]
pub(super) enum Command {
    Enroll(enroll::Enroll),
    List(List),
    Show(Show),
    Explain(explain::Explain),
    Bmc(bmc::Bmc),
    #[command(subcommand)]
    Port(port::Command),
    #[command(subcommand)]
    PortGroup(port_group::Command),
    History(History),
    Power(Power),
    Hold(verbs::Hold),
    Unhold(verbs::Unhold),
    Provide(verbs::Provide),
    Abort(verbs::Abort),
    Retire(verbs::Retire),
    Set(set::Set),
    Delete(Delete),
}

/// List nodes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node list
  bessemer node list --phase failed --rack a07
  bessemer node list --detail -o json | jq '.items[].inventory.memory_mib'")]
pub(super) struct List {
    /// Only nodes in this phase.
    #[arg(long, value_parser = phase_parser())]
    phase: Option<Phase>,
    /// Only nodes in this rack.
    #[arg(long)]
    rack: Option<String>,
    /// Also what they are made of.
    #[arg(long)]
    detail: bool,
}

/// Show a node: where it is and why, and what it is made of.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node show rack1-u07
  bessemer node show rack1-u07 --wait      follow it until it rests")]
pub(super) struct Show {
    /// Its name or id.
    node: String,
    /// Follow it until it rests.
    #[arg(long)]
    wait: bool,
}

/// Show the latest states that a node has been in.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node history rack1-u07
  bessemer node history rack1-u07 --limit 1000")]
pub(super) struct History {
    /// Its name or id.
    node: String,
    /// How many states at most.
    #[arg(
        long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    limit: u32,
}

/// Switch a resting node on or off, and wait until that is seen.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node power rack1-u07 on
  bessemer node power rack1-u07 off")]
pub(super) struct Power {
    /// Its name or id.
    node: String,
    /// What its power is to be.
    power: PowerName,
}

/// Forget a node that is retired, held or failed. The machine itself is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node delete rack1-u07 --wait
  bessemer node delete rack1-u07 --force      although it could still be used")]
pub(super) struct Delete {
    /// Its name or id.
    node: String,
    /// Wait until it is forgotten.
    #[arg(long)]
    wait: bool,
    /// Also if it is available, or being enrolled.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PowerName {
    /// On.
    On,
    /// Off.
    Off,
}

fn phase_parser() -> impl TypedValueParser<Value = Phase> {
    let names = Phase::ALL.iter().map(|phase| phase.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let named = Phase::ALL
            .iter()
            .copied()
            .find(|phase| phase.name() == name);
        named
            .context("there is no such phase")
            .map_err(|error| error.to_string())
    })
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Enroll(arguments) => {
            let wait = arguments.wait;
            let node = client.create_node(&arguments.request()?).await?;
            changed(context, node, wait.then_some(Phase::Available)).await?;
        }
        Command::List(List {
            phase,
            rack,
            detail,
        }) => {
            let list = client.nodes_in(rack.as_deref(), phase, detail).await?;
            let now = Timestamp::now();
            format.list(&list, |list| view::list(list, detail, now))?;
        }
        Command::Show(Show { node, wait }) => {
            let mut node = client.node(&node).await?;
            if wait {
                node = follow::until_rest(client, &node, None, *format).await?;
            }
            format.one(&node, |node| view::details(node, Timestamp::now()))?;
        }
        Command::Explain(arguments) => explain::run(arguments, context).await?,
        Command::Bmc(arguments) => bmc::run(arguments, context).await?,
        Command::Port(command) => port::run(command, context).await?,
        Command::PortGroup(command) => port_group::run(command, context).await?,
        Command::History(History { node, limit }) => {
            let states = client.node_history(&node, limit).await?;
            let now = Timestamp::now();
            format.list(&states, |list| view::history(list, now))?;
        }
        Command::Power(Power { node, power }) => switch(client, *format, &node, power).await?,
        Command::Hold(arguments) => verbs::hold(arguments, context).await?,
        Command::Provide(arguments) => verbs::provide(arguments, context).await?,
        Command::Unhold(arguments) => verbs::unhold(arguments, context).await?,
        Command::Abort(arguments) => verbs::abort(arguments, context).await?,
        Command::Retire(arguments) => verbs::retire(arguments, context).await?,
        Command::Delete(arguments) => delete(context, arguments).await?,
        Command::Set(set) => {
            let node = client.update_node(&set.node, &set.request()?).await?;
            format.one(&node, |node| view::details(node, Timestamp::now()))?;
        }
    }
    Ok(())
}

/// Shows a node that has been set going; if a phase is waited for, once it rests there.
async fn changed(
    context: &Context,
    mut node: Document<Node>,
    wait: Option<Phase>,
) -> anyhow::Result<()> {
    if wait.is_some() {
        node = follow::until_rest(&context.client, &node, wait, context.format).await?;
    }
    let now = Timestamp::now();
    context
        .format
        .one(&node, |node| view::list(&[node], false, now))?;
    if wait.is_none() {
        let name = &node.name;
        context.format.say(format!(
            "\nfollow it with: bessemer node show {name} --wait"
        ))?;
    }
    Ok(())
}

async fn switch(
    client: &Client,
    format: Format,
    node: &str,
    power: PowerName,
) -> anyhow::Result<()> {
    let wanted = match power {
        PowerName::On => PowerState::On,
        PowerName::Off => PowerState::Off,
    };
    let seen = client.set_power(node, wanted).await?;
    let text = |power| match power {
        PowerState::On => "on",
        PowerState::Off => "off",
    };
    Ok(format.one(&seen, |seen| format!("node {node} is {}", text(seen.power)))?)
}

async fn delete(context: &Context, arguments: Delete) -> anyhow::Result<()> {
    let Delete { node, wait, force } = arguments;
    let Context { client, format } = context;
    // Followed by its id: another node may get the name.
    let node = client.node(&node).await?;
    client.delete_node(&node.id.to_string(), force).await?;
    if wait {
        follow::until_forgotten(client, &node, *format).await?;
    }
    Ok(format.say(format!("node {} is forgotten", node.name))?)
}
