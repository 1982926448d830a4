//! `bessemer site`: places with racks.

use bessemer_wire::api::{Site, SiteCreate, SiteUpdate};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Context;
use crate::table::{pairs, table};
use crate::words::ago;

/// Sites: places with racks.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer site create fra1 --description 'Frankfurt, Hanauer Landstraße'
  bessemer site list")]
pub(super) enum Command {
    Create(Create),
    List(List),
    Show(Show),
    Set(Set),
    Delete(Delete),
}

/// Make a site.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer site create fra1 --description 'Frankfurt, Hanauer Landstraße'")]
pub(super) struct Create {
    /// Its name: unique, and for good.
    name: String,
    /// What it is.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

/// List sites.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer site list")]
pub(super) struct List {
    /// What they are sorted by; `-` reverses.
    #[arg(
        long, value_name = "FIELD", allow_hyphen_values = true, default_value = "name",
        value_parser = super::PLACE_SORTS
    )]
    sort: String,
}

/// Show a site.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer site show fra1")]
pub(super) struct Show {
    /// Its name or id.
    site: String,
}

/// Change a site.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer site set fra1 --description 'Frankfurt, second floor'")]
pub(super) struct Set {
    /// Its name or id.
    site: String,
    /// What it is.
    #[arg(long, value_name = "TEXT")]
    description: String,
}

/// Delete a site that has no racks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer site delete fra1")]
pub(super) struct Delete {
    /// Its name or id.
    site: String,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(Create { name, description }) => {
            let request = SiteCreate { name, description };
            let site = client.create_site(&request).await?;
            format.one(&site, |site| sites(&[site]))?;
        }
        Command::List(List { sort }) => {
            let list = client.sites(&[("sort", sort.as_str())]).await?;
            format.list(&list, sites)?;
        }
        Command::Show(Show { site }) => {
            let site = client.site(&site).await?;
            format.one(&site, |site| details(site, Timestamp::now()))?;
        }
        Command::Set(Set { site, description }) => {
            let update = SiteUpdate {
                description: Some(description),
            };
            let site = client.update_site(&site, &update).await?;
            format.one(&site, |site| sites(&[site]))?;
        }
        Command::Delete(Delete { site }) => {
            client.delete_site(&site).await?;
            format.say(format!("site {site} is deleted"))?;
        }
    }
    Ok(())
}

fn sites(sites: &[&Site]) -> String {
    let rows = sites.iter().map(|site| {
        [
            site.name.clone(),
            site.racks.to_string(),
            site.description.clone(),
        ]
    });
    table(["NAME", "RACKS", "DESCRIPTION"], rows)
}

fn details(site: &Site, now: Timestamp) -> String {
    pairs([
        ("Name", Some(site.name.clone())),
        ("Id", Some(site.id.to_string())),
        ("Description", Some(site.description.clone())),
        ("Racks", Some(site.racks.to_string())),
        ("Made", Some(ago(site.created_at, now))),
    ])
}
