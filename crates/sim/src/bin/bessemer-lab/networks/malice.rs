//! A tenant sends from inside what a malicious guest would; nobody but their own network hears it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_sim::rack::{NS_OTHER_TENANT, RackDescription, VLAN_OTHER_TENANT, VLANS_OF_TENANTS};
use serde_json::json;
use tokio::time::sleep;

use super::capture::Capture;
use super::operator::Site;
use super::tenant::{Server, Tenant};
use super::{Figures, seen};

/// What the guest runs.
const SCRIPT: &str = include_str!("malice.py");

/// What every frame of it has inside, and the last ones in their own network.
const MARK: &[u8] = b"BSMR-malice";
const END: &[u8] = b"BSMR-malice-end";

/// The longest until the last frame has come where it may.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Sends from the first of `webs` against `victims` and the conductor.
pub(super) async fn try_everything(
    site: &Site<'_>,
    attacker: &Tenant<'_>,
    webs: &[Server],
    victims: &[Server],
    figures: &mut Figures,
) -> Result<()> {
    let [from, fellow] = webs else {
        bail!("an attacker and a fellow were wanted");
    };
    let deaf = places_that_must_hear_nothing(site, victims).await?;
    let fellows = at_node(site, &fellow.node).await?;
    let sent = attacker.run(from, &line(site, victims)?).await?;
    let sent: u64 = sent.trim().parse().context("no count of frames")?;
    let started = Instant::now();
    while !fellows.iter().any(|(_, tap)| heard(tap, END)) {
        ensure!(
            started.elapsed() < END_LIMIT,
            "its own network does not hear it"
        );
        sleep(Duration::from_millis(100)).await;
    }
    // Whatever took another way has had as long again.
    sleep(Duration::from_secs(1)).await;
    for (place, capture) in &deaf {
        ensure!(!heard(capture, MARK), "{place} heard a malicious guest");
    }
    unreachable_for(attacker, from, victims).await?;
    let places: Vec<_> = deaf.iter().map(|(place, _)| place).collect();
    let figure = json!({ "frames": sent, "heard_at": [], "listened_at": places });
    seen(figures, "malicious frames", figure);
    Ok(())
}

/// The other tenant's machines and router, and the conductor's provisioning and BMC networks.
async fn places_that_must_hear_nothing(
    site: &Site<'_>,
    victims: &[Server],
) -> Result<Vec<(String, Capture)>> {
    let mut places = Vec::new();
    for victim in victims {
        places.extend(at_node(site, &victim.node).await?);
    }
    let control = &site.rack.namespaces.control;
    let provisioning = &site.rack.addresses.provisioning_interface;
    for (namespace, interface) in [
        (control.as_str(), provisioning.as_str()),
        (control.as_str(), "bmc0"),
        (NS_OTHER_TENANT, "ten1"),
    ] {
        let capture = Capture::start(namespace, interface, is_marked).await?;
        places.push((format!("{interface} in {namespace}"), capture));
    }
    Ok(places)
}

/// Captures at every tap of a node.
async fn at_node(site: &Site<'_>, node: &str) -> Result<Vec<(String, Capture)>> {
    let node = site.rack.node(node)?;
    let switch = site
        .rack
        .switch_of(node)
        .context("the node has no switch")?;
    let mut captures = Vec::new();
    for nic in &node.nics {
        let tap = &nic.switch_port;
        let capture = Capture::start(&switch.namespace, tap, is_marked).await?;
        captures.push((format!("{tap} of {}", node.name), capture));
    }
    Ok(captures)
}

fn is_marked(frame: &[u8]) -> bool {
    contains(frame, MARK)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|each| each == part)
}

fn heard(capture: &Capture, mark: &[u8]) -> bool {
    let frames = capture.frames();
    frames.iter().any(|frame| contains(&frame.bytes, mark))
}

fn line(site: &Site<'_>, victims: &[Server]) -> Result<String> {
    let RackDescription { vlans, .. } = site.rack;
    let own = VLANS_OF_TENANTS[0];
    let mut line = format!(
        "sudo python3 - bond0 {own} {VLAN_OTHER_TENANT} {}",
        vlans.provisioning
    );
    for victim in victims {
        let node = site.rack.node(&victim.node)?;
        let nic = node.nics.first().context("the node has no NIC")?;
        line.push_str(&format!(" {}={}", nic.mac, victim.first()?));
    }
    // The conductor, under the address of nobody in particular.
    line.push_str(" 02:00:00:00:00:01=10.77.0.1 02:00:00:00:00:02=10.78.0.11");
    Ok(format!("{line} <<'END'\n{SCRIPT}\nEND"))
}

/// By ordinary means, neither the other tenant's servers nor what is ours answer.
async fn unreachable_for(tenant: &Tenant<'_>, from: &Server, victims: &[Server]) -> Result<()> {
    let mut addresses = vec![
        "10.77.0.1".parse()?,
        "10.78.0.1".parse()?,
        "10.78.0.11".parse()?,
    ];
    for victim in victims {
        addresses.push(victim.first()?);
    }
    for address in addresses {
        // 1 is what ping says when nobody answers; 2, when it could not ask.
        let line = format!("sudo ping -c 1 -W 2 -q {address}; test $? -eq 1");
        tenant
            .run(from, &line)
            .await
            .with_context(|| format!("{address} answers a tenant"))?;
    }
    Ok(())
}
