//! What has been seen of one node, at one moment: by this server, and by others.

use std::collections::BTreeMap;

use bessemer_core::Timestamp;
use bessemer_core::id::ServerId;
use bessemer_wire::api::Sighting;
use serde::{Deserialize, Serialize};

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The DHCP service.
    Dhcp,
    /// The TFTP service, from which firmware loads iPXE.
    Tftp,
    /// The services that boot files are fetched from.
    BootFile,
    /// Calls of agents.
    Agent,
    /// What agents reported of their commands.
    AgentWork,
    /// How systems will say that they are up.
    Report,
    /// A switch.
    Switch,
    /// The management controller.
    Bmc,
}

/// The end of what was heard on a serial console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleTail {
    /// The server that the machine was starting.
    pub server: ServerId,
    /// When the last of it was heard.
    pub at: Timestamp,
    /// Its last lines, masked.
    pub lines: Vec<String>,
}

/// What has been seen of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// By place, oldest first.
    pub places: BTreeMap<Place, Vec<Sighting>>,
    /// What the agent said last.
    #[serde(default)]
    pub agent: Option<Sighting>,
    /// The serial console.
    #[serde(default)]
    pub console: Option<ConsoleTail>,
}

impl Seen {
    /// What was seen at `place`, oldest first.
    pub fn at(&self, place: Place) -> &[Sighting] {
        self.places.get(&place).map_or(&[], Vec::as_slice)
    }

    /// What was seen at these places, oldest first.
    pub fn at_all(&self, places: &[Place]) -> Vec<Sighting> {
        let mut all: Vec<_> = places
            .iter()
            .flat_map(|place| self.at(*place))
            .cloned()
            .collect();
        all.sort_by_key(|sighting| sighting.at);
        all
    }

    /// The lines of the serial console, if they are of the start of `server`.
    pub fn console_of(&self, server: Option<ServerId>) -> Vec<String> {
        let console = self.console.as_ref();
        let console = console.filter(|console| Some(console.server) == server);
        console.map_or_else(Vec::new, |console| console.lines.clone())
    }

    /// Adds what somebody else has seen of the same node.
    pub fn add(&mut self, other: Self) {
        for (place, sightings) in other.places {
            let all = self.places.entry(place).or_default();
            all.extend(sightings);
            all.sort_by_key(|sighting| sighting.at);
        }
        let newer =
            |one: Option<&Sighting>, other: &Sighting| one.is_none_or(|one| one.at < other.at);
        if let Some(agent) = other
            .agent
            .filter(|agent| newer(self.agent.as_ref(), agent))
        {
            self.agent = Some(agent);
        }
        let own = self.console.as_ref().map(|console| console.at);
        if let Some(console) = other.console.filter(|console| own < Some(console.at)) {
            self.console = Some(console);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn sighting(second: i64, what: &str) -> Sighting {
        Sighting {
            at: Timestamp::from_second(second).unwrap(),
            well: true,
            cause: None,
            times: 1,
            what: what.into(),
        }
    }

    fn console(second: i64, line: &str) -> ConsoleTail {
        ConsoleTail {
            server: ServerId(Uuid::nil()),
            at: Timestamp::from_second(second).unwrap(),
            lines: vec![line.into()],
        }
    }

    #[test]
    fn what_several_have_seen_is_put_in_order() {
        let mut own = Seen {
            places: [(Place::Dhcp, vec![sighting(1, "a"), sighting(3, "c")])].into(),
            agent: Some(sighting(5, "older")),
            console: Some(console(9, "newer")),
        };
        own.add(Seen {
            places: [
                (Place::Dhcp, vec![sighting(2, "b")]),
                (Place::Agent, vec![sighting(4, "d")]),
            ]
            .into(),
            agent: Some(sighting(6, "newer")),
            console: Some(console(8, "older")),
        });
        let told =
            |seen: &[Sighting]| -> String { seen.iter().map(|each| each.what.as_str()).collect() };
        assert_eq!(told(own.at(Place::Dhcp)), "abc");
        assert_eq!(told(&own.at_all(&[Place::Agent, Place::Dhcp])), "abcd");
        assert_eq!(own.agent.as_ref().unwrap().what, "newer");
        let server = Some(ServerId(Uuid::nil()));
        assert_eq!(own.console_of(server), ["newer"]);
        let another = Some(ServerId(Uuid::from_u128(1)));
        assert!(own.console_of(another).is_empty());
        assert!(own.console_of(None).is_empty());
    }
}
