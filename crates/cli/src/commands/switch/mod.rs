//! `bessemer switch`: what nodes are cabled to.

mod settings;
mod show;

use bessemer_core::switch::SwitchDriver;
use bessemer_wire::api::SwitchCreate;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use self::settings::{Set, Settings};
use self::show::{details, ports, switches};
use super::Context;

/// Switches that nodes are cabled to.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer switch create leaf1 --driver ovsdb --address unix:/run/openvswitch/db.sock
  bessemer switch list
  bessemer switch ports leaf1 --read")]
pub(super) enum Command {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Set(Box<Set>),
    Delete(Delete),
    Ports(Ports),
}

/// Make a switch. Nothing is asked of it yet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch create leaf1 --driver ovsdb --address unix:/run/openvswitch/db.sock
  bessemer switch create leaf2 --driver ovsdb --address ssl:leaf2.example:6640 --rack a07 \\
      --authority-file switches.pem --certificate-file client.pem --key-file client.key \\
      --tunnel-address 10.50.0.2
  bessemer switch create lab --driver flat")]
pub(super) struct Create {
    /// Its name: unique, and for good, as the ports of nodes name it.
    name: String,
    /// How it is spoken to; `flat` for one whose ports are not ours to move.
    #[arg(long, value_parser = driver_parser())]
    driver: SwitchDriver,
    #[command(flatten)]
    settings: Settings,
}

/// List switches.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch list --site fra1 --sort=-created_at")]
pub(super) struct List {
    /// Only switches in this rack.
    #[arg(long)]
    rack: Option<String>,
    /// Only switches in racks of this site.
    #[arg(long)]
    site: Option<String>,
    /// Only switches that are spoken to like this.
    #[arg(long, value_parser = driver_parser())]
    driver: Option<SwitchDriver>,
    /// What they are sorted by; `-` reverses.
    #[arg(
        long, value_name = "FIELD", allow_hyphen_values = true, default_value = "name",
        value_parser = super::PLACE_SORTS
    )]
    sort: String,
}

/// Show a switch, and how it fares.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch show leaf1")]
pub(super) struct Show {
    /// Its name or id.
    switch: String,
}

/// Delete a switch that no node is cabled to. Its ports stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch delete leaf1")]
pub(super) struct Delete {
    /// Its name or id.
    switch: String,
}

/// List the ports that nodes are cabled to: what they must carry, and what they were last seen to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer switch ports leaf1
  bessemer switch ports leaf1 --read    as the switch has them now")]
pub(super) struct Ports {
    /// Its name or id.
    switch: String,
    /// Ask the switch.
    #[arg(long)]
    read: bool,
}

fn driver_parser() -> impl TypedValueParser<Value = SwitchDriver> {
    let names = SwitchDriver::ALL.iter().map(|driver| driver.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut all = SwitchDriver::ALL.iter().copied();
        all.find(|driver| driver.name() == name)
            .ok_or("there is no such driver")
    })
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    let now = Timestamp::now();
    match command {
        Command::Create(create) => {
            let switch = client.create_switch(&create.request()?).await?;
            format.one(&switch, |switch| switches(&[switch], now))?;
        }
        Command::List(list) => {
            let list = client.switches(&list.query()).await?;
            format.list(&list, |list| switches(list, now))?;
        }
        Command::Show(Show { switch }) => {
            let switch = client.switch(&switch).await?;
            format.one(&switch, |switch| details(switch, now))?;
        }
        Command::Set(set) => {
            let update = set.request()?;
            let switch = client.update_switch(set.switch(), &update).await?;
            format.one(&switch, |switch| details(switch, now))?;
        }
        Command::Delete(Delete { switch }) => {
            client.delete_switch(&switch).await?;
            format.say(format!("switch {switch} is deleted"))?;
        }
        Command::Ports(Ports { switch, read }) => {
            let list = client.switch_ports(&switch, read).await?;
            format.list(&list, |list| ports(list, now))?;
        }
    }
    Ok(())
}

impl Create {
    fn request(self) -> anyhow::Result<SwitchCreate> {
        let settings = self.settings;
        Ok(SwitchCreate {
            name: self.name,
            driver: self.driver,
            authority: settings.authority()?,
            certificate: settings.certificate()?,
            key: settings.key()?,
            address: settings.address.unwrap_or_default(),
            rack: settings.rack,
            tunnel_address: settings.tunnel_address,
            tunnel_vlans: settings.tunnel_vlans,
            physical_network: settings.physical_network,
            largest_mtu: settings.largest_mtu,
            parked_vlan: settings.parked_vlan,
            provisioning_vlan: settings.provisioning_vlan,
            standby_vlan: settings.standby_vlan,
            rescue_vlan: settings.rescue_vlan,
        })
    }
}

impl List {
    fn query(&self) -> Vec<(&str, &str)> {
        let mut query = vec![("sort", self.sort.as_str())];
        query.extend(self.rack.as_deref().map(|rack| ("rack", rack)));
        query.extend(self.site.as_deref().map(|site| ("site", site)));
        query.extend(self.driver.map(|driver| ("driver", driver.name())));
        query
    }
}
