//! The servers on one database: which are alive, and where machines reach them.
//!
//! Each says so every few seconds ([`bessemer_store::Store::conductor_lives`]). By that they share the looks at
//! power states, and what they start on machines is told of all of them: an agent, or a new system, whose
//! server has died calls another one.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessemer_boot::parameters::MAX_CONDUCTORS;
use bessemer_store::ConductorRecord;
use bessemer_tls::Fingerprint;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::site::Site;

/// The longest that servers wait before they tell each other again that they are alive; with a shorter
/// `bmc.power_check`, once in that. So many times later, one that has not counts as dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
const SIGNS_MISSED: u32 = 3;

/// This server and the others on its database.
pub struct Peers(Mutex<Known>);

struct Known {
    own: ConductorRecord,
    others: Vec<ConductorRecord>,
}

impl Peers {
    /// This server alone; `phone_home_url`, without a path, is where it listens to new systems, if it does.
    pub fn alone(phone_home_url: Option<String>) -> Self {
        let own = ConductorRecord {
            id: Uuid::new_v4().to_string(),
            phone_home_url,
            ..ConductorRecord::default()
        };
        let others = Vec::new();
        Self(Mutex::new(Known { own, others }))
    }

    /// From now on agents reach this server at `url`, which has no path, and find the certificate `pin` there.
    pub(crate) fn serves_agents_at(&self, url: String, pin: Fingerprint) {
        let own = &mut self.known().own;
        (own.agent_url, own.agent_pin) = (Some(url), Some(pin.to_string()));
    }

    /// What this server calls itself.
    pub fn own_id(&self) -> String {
        self.known().own.id.clone()
    }

    /// The ids of the others that are alive.
    pub fn others(&self) -> Vec<String> {
        let known = self.known();
        known.others.iter().map(|other| other.id.clone()).collect()
    }

    /// Where agents call: this server, then the others that have the same certificate, [`MAX_CONDUCTORS`] at
    /// most.
    pub fn agent_urls(&self) -> Vec<String> {
        let pin = self.known().own.agent_pin.clone();
        self.urls(|server| {
            server
                .agent_url
                .as_ref()
                .filter(|_| server.agent_pin == pin)
        })
    }

    /// Where new systems say that they are up: at this server, then at the others, as many at most.
    pub fn phone_home_urls(&self) -> Vec<String> {
        self.urls(|server| server.phone_home_url.as_ref())
    }

    /// Whether one of the others serves agents at this address.
    pub fn serve_at(&self, address: Ipv4Addr) -> bool {
        let start = format!("https://{address}:");
        let known = self.known();
        let mut urls = known
            .others
            .iter()
            .filter_map(|other| other.agent_url.as_ref());
        urls.any(|url| url.starts_with(&start))
    }

    fn urls(&self, of: impl Fn(&ConductorRecord) -> Option<&String>) -> Vec<String> {
        let known = self.known();
        let mut urls = Vec::new();
        for server in [&known.own].into_iter().chain(&known.others) {
            // Two may share an address that leads to either.
            if let Some(url) = of(server)
                && !urls.contains(url)
            {
                urls.push(url.clone());
            }
        }
        urls.truncate(MAX_CONDUCTORS);
        urls
    }

    /// Says that this server is alive, and learns of the others.
    pub(crate) async fn tell(&self, site: &Site) {
        let own = self.known().own.clone();
        // A sign that was due just now may be on its way.
        let silence = interval(site) * SIGNS_MISSED + interval(site) / 2;
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        match site.store.conductor_lives(&own, silence, site.now()).await {
            Ok(mut alive) => {
                alive.retain(|server| server.id != own.id);
                let before = std::mem::replace(&mut self.known().others, alive.clone());
                tell_changes(&own, &before, &alive);
            }
            Err(error) => warn!(%error, "cannot tell which other servers are alive"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // It is whole whatever happens to a holder of the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells and learns until `stop`, and says then that this server has ended.
pub(crate) async fn keep(site: Site, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval(&site));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => site.peers.tell(&site).await,
        }
    }
    if let Err(error) = site.store.conductor_ends(&site.peers.own_id()).await {
        info!(%error, "others learn late that this server has ended");
    }
}

/// Says who has come and who has gone.
fn tell_changes(own: &ConductorRecord, before: &[ConductorRecord], alive: &[ConductorRecord]) {
    let is_in = |all: &[ConductorRecord], server: &ConductorRecord| {
        all.iter().any(|each| each.id == server.id)
    };
    for server in alive.iter().filter(|server| !is_in(before, server)) {
        greet(own, server);
    }
    for server in before.iter().filter(|server| !is_in(alive, server)) {
        let agents = server.agent_url.as_deref().unwrap_or("nowhere");
        info!(
            server = server.id,
            agents, "a server of this database is gone"
        );
    }
}

/// Says that there is another server, and what it does not share with us.
fn greet(own: &ConductorRecord, server: &ConductorRecord) {
    let agents = server.agent_url.as_deref().unwrap_or("nowhere");
    info!(
        server = server.id,
        agents, "another server of this database is alive"
    );
    if let (Some(own), Some(other)) = (&own.agent_pin, &server.agent_pin)
        && own != other
    {
        error!(
            server = server.id,
            agents,
            "it shows agents another certificate, so they cannot go on there when this server dies: \
             let all servers of a database have the same `data` folder"
        );
    }
}

fn interval(site: &Site) -> Duration {
    match site.config.bmc.power_check {
        0 => SIGN_OF_LIFE,
        seconds => SIGN_OF_LIFE.min(Duration::from_secs(seconds.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "abababababababababababababababababababababababababababababababab";

    fn server(number: usize) -> ConductorRecord {
        ConductorRecord {
            id: number.to_string(),
            agent_url: Some(format!("https://10.0.0.{number}:8443")),
            agent_pin: Some(if number < 15 { PIN } else { "cd" }.into()),
            phone_home_url: number.is_multiple_of(2).then(|| "http://10.0.0.100".into()),
        }
    }

    #[test]
    fn machines_are_told_of_this_server_first_and_of_no_more_than_they_bear() {
        let peers = Peers::alone(None);
        assert!(peers.agent_urls().is_empty() && peers.phone_home_urls().is_empty());
        peers.serves_agents_at("https://10.0.0.99:8443".into(), PIN.parse().unwrap());
        assert_eq!(peers.agent_urls(), ["https://10.0.0.99:8443"]);
        peers.known().others = (1..20).map(server).collect();
        let urls = peers.agent_urls();
        assert_eq!(urls.len(), MAX_CONDUCTORS);
        assert_eq!(
            urls[..2],
            ["https://10.0.0.99:8443", "https://10.0.0.1:8443"]
        );
        // From 15 on they have another certificate.
        peers.known().others = (13..18).map(server).collect();
        assert_eq!(peers.agent_urls().len(), 3);
        assert!(peers.serve_at([10, 0, 0, 15].into()) && !peers.serve_at([10, 0, 0, 99].into()));
        // One address that all of them share.
        assert_eq!(peers.phone_home_urls(), ["http://10.0.0.100"]);
    }
}
