//! Running `bessemer` in the conductor's namespace: shown to people, or asked by the demo itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bessemer_sim::rack::RackDescription;
use serde_json::Value;
use tokio::process::Command;

/// Runs `bessemer` where the API can be reached.
#[derive(Clone)]
pub(crate) struct Shell(Arc<Settings>);

struct Settings {
    bessemer: PathBuf,
    namespace: String,
    token: String,
}

impl Shell {
    pub(crate) fn new(bessemer: &Path, rack: &RackDescription, token: String) -> Self {
        Self(Arc::new(Settings {
            bessemer: bessemer.into(),
            namespace: rack.namespaces.control.clone(),
            token,
        }))
    }

    /// Shows the command and runs it with its output for everybody to see.
    pub(crate) async fn show(&self, arguments: &[&str]) -> Result<()> {
        println!("\n\x1b[36m$ bessemer {}\x1b[0m", arguments.join(" "));
        let status = self.command(arguments).status().await?;
        if !status.success() {
            bail!("`bessemer {}` ended with {status}", arguments.join(" "));
        }
        Ok(())
    }

    /// [`Self::show`], unless there is such a thing of that name already.
    pub(crate) async fn show_unless_there(
        &self,
        kind: &str,
        name: &str,
        arguments: &[&str],
    ) -> Result<()> {
        match self.find(kind, name).await? {
            Some(_) => {
                println!("{kind} {name}: known from an earlier demo");
                Ok(())
            }
            None => self.show(arguments).await,
        }
    }

    /// Runs a command quietly and gives its JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(&[&["-o", "json"], arguments].concat());
        let output = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .await?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("`bessemer {}`: {}", arguments.join(" "), message.trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`bessemer {}` printed no JSON", arguments.join(" ")))
    }

    /// The thing of that kind and name, if there is one.
    pub(crate) async fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let list = self.json(&[kind, "list"]).await?;
        let items = list
            .as_array()
            .or_else(|| list["items"].as_array())
            .cloned();
        let found = items
            .into_iter()
            .flatten()
            .find(|item| item["name"] == name);
        match found {
            // Lists leave details out.
            Some(_) if matches!(kind, "node" | "server" | "image") => {
                Ok(self.json(&[kind, "show", name]).await.ok())
            }
            found => Ok(found),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.0.namespace])
            .arg(&self.0.bessemer)
            .args(arguments)
            .env("BESSEMER_TOKEN", &self.0.token)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}
