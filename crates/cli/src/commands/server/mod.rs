//! `bessemer server`: what tenants rent.

mod explain;
mod network;
mod power;
mod rebuild;
mod view;

use std::path::PathBuf;

use bessemer_client::Document;
use bessemer_wire::api::{Server, ServerCreate, ServerStatus};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use uuid::Uuid;

use self::network::NetworkArgument;
use super::Context;
use crate::follow;
use crate::lookup::Names;

/// The longest user data that the API takes, in bytes.
const MOST_USER_DATA: u64 = 64 << 10;

/// Servers: machines of your own, from order to release.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bessemer server create web-1 --flavor small --image debian-12 --network tenant --key laptop \\
      --wait
  bessemer server list
  bessemer server explain web-1
  bessemer server power web-1 restart --wait
  bessemer server rebuild web-1 --image debian-13 --wait
  bessemer server delete web-1 --wait")]
pub(super) enum Command {
    Create(Box<Create>),
    List(List),
    Show(Show),
    Explain(explain::Explain),
    Rebuild(rebuild::Rebuild),
    Power(power::Power),
    Delete(Delete),
}

/// Order a server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server create web-1 --flavor small --image debian-12 --network tenant --key laptop \\
      --plan
  bessemer server create web-1 --flavor small --image debian-12 --network tenant --key laptop \\
      --wait
  bessemer server create web-1 --flavor small --image debian-12 --network tenant --key laptop \\
      --user-data cloud-config.yaml --idempotency-key order-4711 -o json
  bessemer server create db-1 --flavor small --image debian-12 --key laptop \\
      --network tenant,address=192.168.100.50 --network backend,mode=tagged --wait

The same order under the same idempotency key is carried out once, however often it is sent.")]
pub(super) struct Create {
    /// Its name, unique within the project; becomes the host name.
    name: String,
    /// What to rent.
    #[arg(long)]
    flavor: String,
    /// What to run on it.
    #[arg(long)]
    image: String,
    /// A network that it is to be on; can be given several times. It is reached on the first one. If
    /// they matter, with port (a MAC address), mode (native or tagged) and addresses.
    #[arg(
        long,
        required = true,
        value_name = "NETWORK[,port=…][,mode=…][,address=…]"
    )]
    network: Vec<NetworkArgument>,
    /// An SSH key that opens it; can be given several times.
    #[arg(long, required = true, value_name = "KEY")]
    key: Vec<String>,
    /// File with user data for cloud-init, up to 64 KiB.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Only show what would be done, and how long it would take.
    #[arg(long, conflicts_with_all = ["wait", "idempotency_key"])]
    plan: bool,
    /// Follow it until it can be logged in to.
    #[arg(long)]
    wait: bool,
    /// What tells this order from others, when it is sent again [default: a random one].
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// List the servers of the project; for operators, of all projects.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server list
  bessemer server list -o json | jq -r '.items[].address'")]
pub(super) struct List {}

/// Show a server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server show web-1
  bessemer server show web-1 --wait      follow it until it is active, or gone")]
pub(super) struct Show {
    /// Its name or id.
    server: String,
    /// Follow what is under way with it.
    #[arg(long)]
    wait: bool,
}

/// Give a server back. Its disks are erased.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server delete web-1
  bessemer server delete web-1 --wait")]
pub(super) struct Delete {
    /// Its name or id.
    server: String,
    /// Wait until it is gone.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    match command {
        Command::Create(arguments) => create(*arguments, context).await,
        Command::List(List {}) => {
            let list = client.servers().await?;
            let names = Names::of_everything(client).await;
            let now = Timestamp::now();
            Ok(format.list(&list, |list| view::list(list, &names, now))?)
        }
        Command::Show(Show { server, wait }) => {
            let server = client.server(&server).await?;
            if wait {
                return finish(server, context).await;
            }
            let names = Names::of(client, &server).await;
            Ok(format.one(&server, |server| {
                view::details(server, &names, Timestamp::now())
            })?)
        }
        Command::Explain(arguments) => explain::run(arguments, context).await,
        Command::Rebuild(arguments) => rebuild::run(arguments, context).await,
        Command::Power(arguments) => power::run(arguments, context).await,
        Command::Delete(Delete { server, wait }) => delete(&server, wait, context).await,
    }
}

async fn create(arguments: Create, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    let (plan, wait) = (arguments.plan, arguments.wait);
    let random = || Uuid::new_v4().to_string();
    let key = arguments.idempotency_key.clone().unwrap_or_else(random);
    let order = arguments.order()?;
    if plan {
        let plan = client.plan_server(&order).await?;
        return Ok(format.one(&plan, view::plan)?);
    }
    let server = client.create_server(&order, &key).await?;
    if wait {
        return finish(server, context).await;
    }
    let names = Names::of(client, &server).await;
    format.one(&server, |server| {
        view::list(&[server], &names, Timestamp::now())
    })?;
    let name = &server.name;
    Ok(format.say(format!(
        "\nfollow it with: bessemer server show {name} --wait"
    ))?)
}

impl Create {
    fn order(self) -> anyhow::Result<ServerCreate> {
        let read = |path: PathBuf| super::read_text(&path, MOST_USER_DATA);
        Ok(ServerCreate {
            name: self.name,
            flavor: self.flavor,
            image: self.image,
            networks: self.network.into_iter().map(|each| each.0).collect(),
            keys: self.key,
            user_data: self.user_data.map(read).transpose()?,
        })
    }
}

/// Follows what is under way with a server to its end, and tells what came of it.
async fn finish(server: Document<Server>, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    if server.status == ServerStatus::Deleting {
        follow::until_gone(client, &server, *format).await?;
        return Ok(format.say(gone(&server))?);
    }
    let server = follow::until_active(client, &server, *format).await?;
    Ok(format.one(&server, view::arrival)?)
}

fn gone(server: &Server) -> String {
    let name = &server.name;
    format!("server {name} is gone; its machine is off, and its disks are being erased")
}

async fn delete(name: &str, wait: bool, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    // Followed by its id: another server may get the name.
    let server = client.server(name).await?;
    client.delete_server(&server.id.to_string()).await?;
    let name = &server.name;
    if wait {
        follow::until_gone(client, &server, *format).await?;
        return Ok(format.say(gone(&server))?);
    }
    let follow = format!("follow it with: bessemer server show {name} --wait");
    Ok(format.say(format!("server {name} is being given back\n{follow}"))?)
}
