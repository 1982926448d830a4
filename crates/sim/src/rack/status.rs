//! What the rack's BMCs and its switch say at this moment.

use std::collections::BTreeMap;
use std::time::Duration;

use bessemer_tls::{Trust, client_config};
use futures_util::future::join_all;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};

use super::description::{NodeDescription, RackDescription};
use super::directory::StateDirectory;
use super::layout::NS_CONTROL;
use super::namespace::run_in_namespace;
use super::switch;
use crate::Error;
use crate::machine::BootMode;

/// A BMC on this host answers in milliseconds; on a busy host it may take a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

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

/// A node as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The node's name.
    pub name: String,
    /// Its BMC's answer; absent if the BMC did not give one.
    pub bmc: Option<BmcAnswer>,
    /// Why the BMC did not answer.
    pub bmc_error: Option<String>,
    /// Its switch port.
    pub switch_port: String,
    /// The access VLAN of that port; absent if the port or the switch is gone.
    pub vlan: Option<u16>,
}

/// Asks every BMC and the switch.
///
/// # Errors
/// When no rack is up. A part that does not answer is not an error but its status.
pub async fn status(directory: &StateDirectory) -> Result<Vec<NodeStatus>, Error> {
    let rack = RackDescription::load(directory)?;
    let rack = rack.ok_or_else(|| Error::NotUp {
        directory: directory.path().to_owned(),
    })?;
    let vlans = switch::vlans(directory).await.unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the switch does not answer"
        );
        BTreeMap::new()
    });
    let answers = ask_all(rack.nodes.clone()).await?;
    let statuses = rack.nodes.into_iter().zip(answers).map(|(node, answer)| {
        let (bmc, bmc_error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(with_sources(&error))),
        };
        NodeStatus {
            name: node.name,
            bmc,
            bmc_error,
            vlan: vlans.get(&node.switch_port).copied(),
            switch_port: node.switch_port,
        }
    });
    Ok(statuses.collect())
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
        let url = format!("{}/redfish/v1/Systems/1", node.bmc_url);
        let client = Client::builder()
            .tls_backend_preconfigured(client_config(&Trust::Pinned(node.bmc_fingerprint))?)
            .timeout(ANSWER_LIMIT)
            .build();
        let changed: Result<(), reqwest::Error> = async {
            let request = client?
                .patch(&url)
                .basic_auth(&node.bmc_username, Some(node.bmc_password.expose()))
                .json(&json!({ "Boot": { "BootSourceOverrideMode": mode } }));
            request.send().await?.error_for_status().map(drop)
        }
        .await;
        changed.map_err(|source| Error::Bmc {
            node: node.name.clone(),
            url,
            source,
        })
    })
    .await?
}

async fn ask(node: &NodeDescription) -> Result<BmcAnswer, Error> {
    let url = format!("{}/redfish/v1/Systems/1", node.bmc_url);
    let request = async {
        let client = Client::builder()
            .tls_backend_preconfigured(client_config(&Trust::Pinned(node.bmc_fingerprint))?)
            .timeout(ANSWER_LIMIT)
            .build();
        let system: Result<Value, reqwest::Error> = async {
            let request = client?
                .get(&url)
                .basic_auth(&node.bmc_username, Some(node.bmc_password.expose()));
            request.send().await?.error_for_status()?.json().await
        }
        .await;
        system.map_err(|source| Error::Bmc {
            node: node.name.clone(),
            url: url.clone(),
            source,
        })
    };
    let system = request.await?;
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

fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
