//! `bessemer rack`: what nodes and switches are in.

use bessemer_wire::api::{Rack, RackCreate, RackUpdate};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::table::{pairs, table};
use crate::words::ago;

/// Racks of sites.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer rack create a07 --site fra1 --position 'room 2, row A'
  bessemer rack list --site fra1")]
pub(super) enum Command {
    Create(Create),
    List(List),
    Show(Show),
    Set(Set),
    Delete(Delete),
}

/// Make a rack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer rack create a07 --site fra1 --position 'room 2, row A'")]
pub(super) struct Create {
    /// Its name: unique, and for good.
    name: String,
    /// The site that it is in, by name or id.
    #[arg(long)]
    site: String,
    /// Where in the site.
    #[arg(long, value_name = "TEXT", default_value = "")]
    position: String,
}

/// List racks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer rack list --site fra1")]
pub(super) struct List {
    /// Only racks of this site.
    #[arg(long)]
    site: Option<String>,
    /// What they are sorted by; `-` reverses.
    #[arg(
        long, value_name = "FIELD", allow_hyphen_values = true, default_value = "name",
        value_parser = super::PLACE_SORTS
    )]
    sort: String,
}

/// Show a rack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer rack show a07")]
pub(super) struct Show {
    /// Its name or id.
    rack: String,
}

/// Change a rack. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer rack set a07 --position 'room 3, row B'")]
pub(super) struct Set {
    /// Its name or id.
    rack: String,
    /// The site that it is in, by name or id.
    #[arg(long, required_unless_present = "position")]
    site: Option<String>,
    /// Where in the site.
    #[arg(long, value_name = "TEXT")]
    position: Option<String>,
}

/// Delete a rack that no switch and no node is in.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer rack delete a07")]
pub(super) struct Delete {
    /// Its name or id.
    rack: String,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(Create {
            name,
            site,
            position,
        }) => {
            let request = RackCreate {
                name,
                site,
                position,
            };
            let rack = client.create_rack(&request).await?;
            format.one(&rack, |rack| racks(&[rack]))?;
        }
        Command::List(List { site, sort }) => {
            let mut query = vec![("sort", sort.as_str())];
            query.extend(site.as_deref().map(|site| ("site", site)));
            let list = client.racks(&query).await?;
            format.list(&list, racks)?;
        }
        Command::Show(Show { rack }) => {
            let rack = client.rack(&rack).await?;
            format.one(&rack, |rack| details(rack, Timestamp::now()))?;
        }
        Command::Set(Set {
            rack,
            site,
            position,
        }) => {
            let update = RackUpdate { site, position };
            let rack = client.update_rack(&rack, &update).await?;
            format.one(&rack, |rack| racks(&[rack]))?;
        }
        Command::Delete(Delete { rack }) => {
            client.delete_rack(&rack).await?;
            format.say(format!("rack {rack} is deleted"))?;
        }
    }
    Ok(())
}

fn racks(racks: &[&Rack]) -> String {
    let rows = racks.iter().map(|rack| {
        [
            rack.name.clone(),
            rack.site_name.clone(),
            rack.switches.to_string(),
            rack.nodes.to_string(),
            rack.position.clone(),
        ]
    });
    table(["NAME", "SITE", "SWITCHES", "NODES", "POSITION"], rows)
}

fn details(rack: &Rack, now: Timestamp) -> String {
    pairs([
        ("Name", Some(rack.name.clone())),
        ("Id", Some(rack.id.to_string())),
        ("Site", Some(rack.site_name.clone())),
        ("Position", Some(rack.position.clone())),
        ("Switches", Some(rack.switches.to_string())),
        ("Nodes", Some(rack.nodes.to_string())),
        ("Made", Some(ago(rack.created_at, now))),
    ])
}
