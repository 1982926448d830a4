//! What somebody asks a node's BMC for beside Bessemer: its state, another boot mode, a boot from
//! the network.

use std::time::Duration;

use bessemer_tls::{Trust, client_config};
use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde::Serialize;
use serde_json::{Value, json};

use super::description::NodeDescription;
use super::layout::NS_CONTROL;
use super::namespace::run_in_namespace;
use crate::Error;
use crate::machine::{BootMode, BootTarget, OverrideEnabled};

/// A BMC on this host answers in milliseconds; on a busy host it may take a while, and a restart
/// waits for QEMU.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// What a BMC says about its machine, in Redfish's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BmcAnswer {
    /// `On` or `Off`.
    pub power: String,
    /// `Disabled`, `Once` or `Continuous`.
    pub boot_override: String,
    /// What the override names.
    pub boot_target: String,
    /// How often the machine has booted since the rack came up.
    pub boots: u64,
}

/// Asks every BMC at once, from where Bessemer would.
pub(super) async fn ask_all(
    nodes: Vec<NodeDescription>,
) -> Result<Vec<Result<BmcAnswer, Error>>, Error> {
    run_in_namespace(NS_CONTROL, async move || {
        join_all(nodes.iter().map(ask)).await
    })
    .await
}

/// Has a node's firmware boot as UEFI or as a PC BIOS from now on, as somebody would in its setup
/// pages.
///
/// # Errors
/// When its BMC does not answer or refuses.
pub async fn set_boot_mode(node: &NodeDescription, mode: BootMode) -> Result<(), Error> {
    let node = node.clone();
    run_in_namespace(NS_CONTROL, async move || {
        let wanted = json!({ "Boot": { "BootSourceOverrideMode": mode } });
        send(&node, Method::PATCH, SYSTEM, &wanted).await
    })
    .await?
}

/// Restarts a node at once, with this before its disk: as a machine would whose network comes first
/// in its boot order, or somebody who presses its reset button and F12.
///
/// # Errors
/// When its BMC does not answer or refuses.
pub async fn restart_into(node: &NodeDescription, target: BootTarget) -> Result<(), Error> {
    let node = node.clone();
    run_in_namespace(NS_CONTROL, async move || {
        let wanted = json!({ "Boot": {
            "BootSourceOverrideEnabled": OverrideEnabled::Once,
            "BootSourceOverrideTarget": target,
        }});
        send(&node, Method::PATCH, SYSTEM, &wanted).await?;
        let restart = json!({ "ResetType": "ForceRestart" });
        send(&node, Method::POST, RESET, &restart).await
    })
    .await?
}

fn failed(node: &NodeDescription, url: &str) -> impl FnOnce(reqwest::Error) -> Error {
    let (node, url) = (node.name.clone(), url.to_owned());
    |source| Error::Bmc { node, url, source }
}

fn client(node: &NodeDescription) -> Result<Client, Error> {
    Client::builder()
        .tls_backend_preconfigured(client_config(&Trust::Pinned(node.bmc_fingerprint))?)
        .timeout(ANSWER_LIMIT)
        .build()
        .map_err(failed(node, &node.bmc_url))
}

async fn send(
    node: &NodeDescription,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(), Error> {
    let url = format!("{}{path}", node.bmc_url);
    let request = client(node)?
        .request(method, &url)
        .basic_auth(&node.bmc_username, Some(node.bmc_password.expose()))
        .json(body);
    let sent = request
        .send()
        .await
        .and_then(|answer| answer.error_for_status());
    sent.map(drop).map_err(failed(node, &url))
}

async fn ask(node: &NodeDescription) -> Result<BmcAnswer, Error> {
    let url = format!("{}{SYSTEM}", node.bmc_url);
    let request = client(node)?
        .get(&url)
        .basic_auth(&node.bmc_username, Some(node.bmc_password.expose()));
    let system: Result<Value, reqwest::Error> =
        async { request.send().await?.error_for_status()?.json().await }.await;
    let system = system.map_err(failed(node, &url))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(BmcAnswer {
        power: text(&system["PowerState"]),
        boot_override: text(&system["Boot"]["BootSourceOverrideEnabled"]),
        boot_target: text(&system["Boot"]["BootSourceOverrideTarget"]),
        boots: system["Oem"]["Bessemer"]["BootCount"]
            .as_u64()
            .unwrap_or_default(),
    })
}
