//! The hand-over, seen at the taps of a machine: what its tenant's system sends first leaves after the
//! conductor has read the ports back as the tenant's.

use anyhow::{Context, Result, ensure};
use bessemer_core::Timestamp;
use serde_json::json;

use super::capture::{Capture, Frame};
use super::operator::Site;
use super::tenant::Server;
use super::{Figures, seen};

/// The network of our agents, 10.77.0.0/24.
const OURS: [u8; 3] = [10, 77, 0];

/// What the machines with bonded NICs send, by node.
pub(super) async fn watch(site: &Site<'_>) -> Result<Vec<(String, Capture)>> {
    let mut captures = Vec::new();
    for node in site.rack.nodes.iter().filter(|node| node.nics.len() > 1) {
        let switch = site
            .rack
            .switch_of(node)
            .context("the node has no switch")?;
        let macs: Vec<_> = node.nics.iter().map(|nic| bytes_of(&nic.mac)).collect();
        for nic in &node.nics {
            let macs = macs.clone();
            // Frames that the machine sends, not those that it is sent.
            let sent = move |frame: &[u8]| {
                let source = frame.get(6..12).unwrap_or_default();
                macs.iter().any(|mac| mac == source)
            };
            let capture = Capture::start(&switch.namespace, &nic.switch_port, sent).await?;
            captures.push((node.name.clone(), capture));
        }
    }
    Ok(captures)
}

/// Compares what was seen with the histories of the nodes.
pub(super) async fn judge(
    site: &Site<'_>,
    servers: &[Server],
    watched: &[(String, Capture)],
    figures: &mut Figures,
) -> Result<()> {
    for server in servers {
        let captures = watched.iter().filter(|(node, _)| *node == server.node);
        let mut frames: Vec<_> = captures.flat_map(|(_, capture)| capture.frames()).collect();
        frames.sort_by_key(|frame| frame.at);
        let last_of_ours = frames.iter().rposition(is_ours);
        let last_of_ours = last_of_ours.context("the agent was not seen")?;
        let first = frames.get(last_of_ours + 1);
        let first = first.context("the tenant's system was not seen")?;
        let read_back = read_back(site, &server.node).await?;
        let after = first.at - read_back.as_nanosecond();
        ensure!(
            after > 0,
            "{}: the tenant's first packet left {} ms before its ports were read back",
            server.name,
            -after / 1_000_000
        );
        let figure = json!({
            "packets_of_the_agent": last_of_ours + 1,
            "milliseconds_from_read_back_to_first_packet": after / 1_000_000,
        });
        seen(figures, &format!("{}, hand-over", server.name), figure);
    }
    Ok(())
}

/// Whether our agent, or the firmware that loaded it, has sent this: ARP (RFC 826) or IPv4 with an
/// address of ours.
fn is_ours(frame: &Frame) -> bool {
    let sender = match frame.bytes.get(12..14) {
        Some([0x08, 0x06]) => frame.bytes.get(28..31),
        Some([0x08, 0x00]) => frame.bytes.get(26..29),
        _ => None,
    };
    sender == Some(&OURS[..])
}

/// When the conductor knew that the node's ports are the tenant's: it waits for the system from then on.
async fn read_back(site: &Site<'_>, node: &str) -> Result<Timestamp> {
    let history = site.shell.json(&["node", "history", node]).await?;
    let entries = history["items"].as_array().or(history.as_array());
    let mut entries = entries.into_iter().flatten();
    let waits = entries.find(|entry| entry["state"]["step"] == "await_os");
    let at = waits.context("the node never waited for its system")?["at"].as_str();
    Ok(at.unwrap_or_default().parse()?)
}

fn bytes_of(mac: &str) -> Vec<u8> {
    let digits = mac.split(':').map(|each| u8::from_str_radix(each, 16));
    digits.filter_map(Result::ok).collect()
}
