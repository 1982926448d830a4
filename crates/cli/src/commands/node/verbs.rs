//! `bessemer node hold`, `unhold`, `provide`, `abort`, `retire`: what operators want of a node.

use bessemer_core::lifecycle::Phase;
use clap::Args;

use super::changed;
use crate::commands::Context;

/// Keep a node out of everything: off and parked, whatever is on its disks.
///
/// Refused while it is somebody's server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node hold rack1-u07 --reason 'new fans on Tuesday' --wait")]
pub(in crate::commands) struct Hold {
    /// Its name or id.
    node: String,
    /// Why, for those who look at it later.
    #[arg(long)]
    reason: String,
    /// Wait until it is held.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn hold(arguments: Hold, context: &Context) -> anyhow::Result<()> {
    let Hold { node, reason, wait } = arguments;
    let node = context.client.hold_node(&node, &reason).await?;
    changed(context, node, wait.then_some(Phase::Held)).await
}

/// Let a held node back in, through enrolment, inspection and erasing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node unhold rack1-u07 --wait")]
pub(in crate::commands) struct Unhold {
    /// Its name or id.
    node: String,
    /// Wait until it is available.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn unhold(arguments: Unhold, context: &Context) -> anyhow::Result<()> {
    let Unhold { node, wait } = arguments;
    let node = context.client.unhold_node(&node).await?;
    changed(context, node, wait.then_some(Phase::Available)).await
}

/// Make a held, failed or retired node available again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node provide rack1-u07 --wait")]
pub(in crate::commands) struct Provide {
    /// Its name or id.
    node: String,
    /// Wait until it is available.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn provide(arguments: Provide, context: &Context) -> anyhow::Result<()> {
    let Provide { node, wait } = arguments;
    let node = context.client.provide_node(&node).await?;
    changed(context, node, wait.then_some(Phase::Available)).await
}

/// Stop what a node is doing: verifying, inspecting, cleaning or deploying.
///
/// It ends up off, parked and failed, with this reason. A node whose erasing is stopped is not
/// available; a server whose deployment is stopped can be rebuilt or deleted by its tenant.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node abort rack1-u07 --reason 'wrong machine' --wait")]
pub(in crate::commands) struct Abort {
    /// Its name or id.
    node: String,
    /// Why, for those who look at it later. The tenant of a server on it may see it.
    #[arg(long)]
    reason: String,
    /// Wait until it is off and parked.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn abort(arguments: Abort, context: &Context) -> anyhow::Result<()> {
    let Abort { node, reason, wait } = arguments;
    let node = context.client.abort_node(&node, &reason).await?;
    changed(context, node, wait.then_some(Phase::Failed)).await
}

/// Take a node out of use for good: erased, off, parked.
///
/// Refused while it is somebody's server. `node provide` brings it back, through enrolment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node retire rack1-u07 --reason 'lease ends in May' --wait
  bessemer node provide rack1-u07      brings it back")]
pub(in crate::commands) struct Retire {
    /// Its name or id.
    node: String,
    /// Why, for those who look at it later.
    #[arg(long)]
    reason: String,
    /// Wait until it is retired.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn retire(arguments: Retire, context: &Context) -> anyhow::Result<()> {
    let Retire { node, reason, wait } = arguments;
    let node = context.client.retire_node(&node, &reason).await?;
    changed(context, node, wait.then_some(Phase::Retired)).await
}
