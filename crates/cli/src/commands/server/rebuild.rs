//! `bessemer server rebuild`: writing a server anew.

use std::path::PathBuf;

use bessemer_wire::api::ServerRebuild;
use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::{MOST_USER_DATA, finish, view};
use crate::commands::{Context, read_text};
use crate::lookup::Names;

/// Write a server anew: the same machine and address, another image or the same.
///
/// EVERYTHING ON ITS ROOT DISK IS LOST. Its other disks are left as they are. What is not given
/// (image, keys, user data) stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer server rebuild web-1 --plan
  bessemer server rebuild web-1 --wait
  bessemer server rebuild web-1 --image debian-13 --wait
  bessemer server rebuild web-1 --key laptop --key phone --user-data cloud-config.yaml --wait")]
pub(in crate::commands) struct Rebuild {
    /// Its name or id.
    server: String,
    /// What to run on it from now on.
    #[arg(long)]
    image: Option<String>,
    /// An SSH key that opens it from now on, instead of those it has; can be given several times.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// File with user data for cloud-init, up to 64 KiB, instead of what it has.
    #[arg(long, value_name = "FILE", conflicts_with = "no_user_data")]
    user_data: Option<PathBuf>,
    /// Remove the user data that it has.
    #[arg(long)]
    no_user_data: bool,
    /// Only show what would be done, and how long it would take.
    #[arg(long, conflicts_with_all = ["wait", "idempotency_key"])]
    plan: bool,
    /// Follow it until it can be logged in to.
    #[arg(long)]
    wait: bool,
    /// What tells this request from others, when it is sent again [default: a random one].
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(super) async fn run(arguments: Rebuild, context: &Context) -> anyhow::Result<()> {
    let Context { client, format } = context;
    let random = || Uuid::new_v4().to_string();
    let key = arguments.idempotency_key.clone().unwrap_or_else(random);
    let (plan, wait) = (arguments.plan, arguments.wait);
    let server = client.server(&arguments.server).await?.id.to_string();
    let request = arguments.request()?;
    if plan {
        let plan = client.plan_rebuild(&server, &request).await?;
        return Ok(format.one(&plan, view::plan)?);
    }
    let server = client.rebuild_server(&server, &request, &key).await?;
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

impl Rebuild {
    fn request(self) -> anyhow::Result<ServerRebuild> {
        let read = |path: PathBuf| read_text(&path, MOST_USER_DATA);
        let user_data = match self.user_data {
            Some(path) => Some(read(path)?),
            None => self.no_user_data.then(String::new),
        };
        Ok(ServerRebuild {
            image: self.image,
            keys: Some(self.key).filter(|keys| !keys.is_empty()),
            user_data,
        })
    }
}
