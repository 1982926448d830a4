//! `bessemer node port-group`: NICs that an operating system uses as one.

use bessemer_core::net::MacAddress;
use bessemer_core::port_plan::GroupMode;
use bessemer_wire::api::{PortGroup, PortGroupCreate, PortGroupUpdate};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::super::Context;
use crate::table::table;

/// NICs of a node that its operating system uses as one.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer node port-group create rack1-u07 bond0 --member 52:54:00:12:34:56 --member 52:54:00:12:34:57
  bessemer node port-group list rack1-u07")]
pub(in crate::commands) enum Command {
    Create(Create),
    List(List),
    Set(Set),
    Delete(Delete),
}

/// Bond ports of a node that has no server.
///
/// With LACP (IEEE 802.1AX, formerly 802.3ad) the switch forms a link aggregation of them, whatever the
/// node is doing; all of them must be on one switch.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port-group create rack1-u07 bond0 --member 52:54:00:12:34:56 --member 52:54:00:12:34:57
  bessemer node port-group create rack1-u08 bond0 --mode active_backup \\
      --member 52:54:00:12:34:58 --member 52:54:00:12:34:59")]
pub(in crate::commands) struct Create {
    /// The node's name or id.
    node: String,
    /// The group's name, unique within the node; orders can name it.
    group: String,
    /// How its ports are bonded.
    #[arg(
        long, value_name = "MODE", value_parser = mode_parser(),
        default_value = GroupMode::Lacp.name()
    )]
    mode: GroupMode,
    /// A port, by MAC address; two at least.
    #[arg(long, value_name = "MAC", required = true)]
    member: Vec<MacAddress>,
}

/// List the port groups of a node.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port-group list rack1-u07")]
pub(in crate::commands) struct List {
    /// The node's name or id.
    node: String,
}

/// Change a port group of a node that has no server. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port-group set rack1-u07 bond0 --mode active_backup
  bessemer node port-group set rack1-u07 bond0 --member 52:54:00:12:34:56 --member 52:54:00:12:34:58")]
pub(in crate::commands) struct Set {
    /// The node's name or id.
    node: String,
    /// The group's name.
    group: String,
    /// How its ports are bonded.
    #[arg(
        long, value_name = "MODE", value_parser = mode_parser(),
        required_unless_present = "member"
    )]
    mode: Option<GroupMode>,
    /// A port, by MAC address; all of them have to be given.
    #[arg(long, value_name = "MAC")]
    member: Vec<MacAddress>,
}

/// Delete a port group of a node that has no server: its ports are used singly from then on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node port-group delete rack1-u07 bond0")]
pub(in crate::commands) struct Delete {
    /// The node's name or id.
    node: String,
    /// The group's name.
    group: String,
}

/// Reads a mode by its name.
pub(super) fn mode_parser() -> impl TypedValueParser<Value = GroupMode> {
    let names = GroupMode::ALL.iter().map(|mode| mode.name());
    PossibleValuesParser::new(names).try_map(|name| named(&name).ok_or("there is no such mode"))
}

pub(super) fn named(name: &str) -> Option<GroupMode> {
    let mut all = GroupMode::ALL.iter().copied();
    all.find(|mode| mode.name() == name)
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(create) => {
            let request = PortGroupCreate {
                name: create.group,
                mode: create.mode,
                members: create.member,
            };
            let group = client.create_port_group(&create.node, &request).await?;
            format.one(&group, |group| list(&[group]))?;
        }
        Command::List(List { node }) => {
            let groups = client.port_groups(&node).await?;
            format.list(&groups, list)?;
        }
        Command::Set(set) => {
            let update = PortGroupUpdate {
                mode: set.mode,
                members: (!set.member.is_empty()).then_some(set.member),
            };
            let group = client.update_port_group(&set.node, &set.group, &update);
            format.one(&group.await?, |group| list(&[group]))?;
        }
        Command::Delete(Delete { node, group }) => {
            client.delete_port_group(&node, &group).await?;
            format.say(format!("port group {group} of node {node} is deleted"))?;
        }
    }
    Ok(())
}

/// One line for every group.
fn list(groups: &[&PortGroup]) -> String {
    let rows = groups.iter().map(|group| {
        let members: Vec<_> = group.members.iter().map(MacAddress::to_string).collect();
        [
            group.name.clone(),
            group.mode.name().to_owned(),
            members.join(", "),
        ]
    });
    table(["NAME", "MODE", "MEMBERS"], rows)
}
