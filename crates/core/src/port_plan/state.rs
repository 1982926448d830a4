//! The state of switch ports as read from a switch, and how it differs from what is wanted.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::wanted::{Lag, PortMode, PortPlan, trunk};

/// A port as its switch has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortState {
    /// Its name.
    pub port: String,
    /// Which frames it carries.
    pub carries: Carries,
    /// Whether it is kept from other isolated ports.
    #[serde(default)]
    pub isolated: bool,
    /// The aggregation that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// The description that a plan gave it; empty if there is none.
    #[serde(default)]
    pub description: String,
    /// Whether it is switched on, if the switch tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_up: Option<bool>,
    /// Whether there is a link, if the switch tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<bool>,
    /// Bytes of the longest IP packet, if the switch tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether a partner speaks LACP on it, if the switch tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp_current: Option<bool>,
    /// Why the switch cannot use it, in the switch's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Which frames a port carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Carries {
    /// The untagged frames of one VLAN.
    Access {
        /// That VLAN.
        vlan: u16,
    },
    /// The frames of several VLANs.
    Trunk {
        /// The VLAN of untagged frames; without one they are dropped.
        native: Option<u16>,
        /// Those whose frames are tagged.
        tagged: BTreeSet<u16>,
    },
    /// Anything else.
    Other {
        /// What, in the switch's words.
        words: String,
    },
    /// The switch is not ours to ask.
    Uncontrolled,
}

impl PortState {
    /// The port of a switch that is not ours to ask.
    pub fn uncontrolled(port: impl Into<String>) -> Self {
        Self {
            port: port.into(),
            carries: Carries::Uncontrolled,
            isolated: false,
            lag: None,
            description: String::new(),
            admin_up: None,
            link: None,
            mtu: None,
            lacp_current: None,
            fault: None,
        }
    }
}

/// One thing of a port that is not as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The port.
    pub port: String,
    /// What of it: `vlans`, `isolation`, `aggregation`, `description`, `admin_state`, `mtu`.
    pub what: &'static str,
    /// How it should be.
    pub wanted: String,
    /// How it is.
    pub seen: String,
}

impl Difference {
    /// Whether frames go where they should not, or do not go where they should. A description only
    /// misleads people.
    pub fn misdirects(&self) -> bool {
        self.what != "description"
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            port,
            what,
            wanted,
            seen,
        } = self;
        write!(formatter, "{port}: {what} should be {wanted}, is {seen}")
    }
}

impl PortPlan {
    /// What is not as planned on the ports of this plan, of which `states` have been read. A port
    /// that has not been read differs in everything.
    pub fn differences(&self, states: &[PortState]) -> Vec<Difference> {
        let mut differences = Vec::new();
        for port in self.ports() {
            match states.iter().find(|state| state.port == *port) {
                Some(state) => self.compare(state, &mut differences),
                None => differences.push(Difference {
                    port: port.clone(),
                    what: "vlans",
                    wanted: self.mode().to_string(),
                    seen: "not known".to_owned(),
                }),
            }
        }
        differences
    }

    fn compare(&self, state: &PortState, differences: &mut Vec<Difference>) {
        if state.carries == Carries::Uncontrolled {
            return;
        }
        let mut expect = |as_planned: bool, what, wanted: &dyn fmt::Display, seen: String| {
            if !as_planned {
                differences.push(Difference {
                    port: state.port.clone(),
                    what,
                    wanted: wanted.to_string(),
                    seen,
                });
            }
        };
        expect(
            state.carries.is(self.mode()),
            "vlans",
            self.mode(),
            state.carries.to_string(),
        );
        expect(
            state.isolated == self.is_isolated(),
            "isolation",
            &self.is_isolated(),
            state.isolated.to_string(),
        );
        let lag = |lag: Option<&Lag>| lag.map_or("none".to_owned(), Lag::to_string);
        expect(
            state.lag.as_ref() == self.aggregation(),
            "aggregation",
            &lag(self.aggregation()),
            lag(state.lag.as_ref()),
        );
        expect(
            state.description == self.description(),
            "description",
            &self.description(),
            state.description.clone(),
        );
        let up = |up| if up { "up" } else { "down" };
        // One that is shut carries as little as one that is parked.
        let admin_up = state.admin_up.filter(|_| !self.is_parked());
        let admin_up = admin_up.unwrap_or(self.is_admin_up());
        expect(
            admin_up == self.is_admin_up(),
            "admin_state",
            &up(self.is_admin_up()),
            up(admin_up).to_owned(),
        );
        let mtu = state.mtu.unwrap_or(u32::from(self.mtu()));
        expect(
            mtu >= u32::from(self.mtu()),
            "mtu",
            &self.mtu(),
            mtu.to_string(),
        );
    }
}

impl Carries {
    /// Whether these are the frames that `mode` means.
    pub fn is(&self, mode: &PortMode) -> bool {
        match (self, mode) {
            (Self::Uncontrolled, _) => true,
            (Self::Access { vlan }, PortMode::Parked { vlan: wanted })
            | (Self::Access { vlan }, PortMode::Access { vlan: wanted }) => vlan == wanted,
            (
                Self::Trunk { native, tagged },
                PortMode::Trunk {
                    native: wanted_native,
                    tagged: wanted_tagged,
                },
            ) => native == wanted_native && tagged == wanted_tagged,
            _ => false,
        }
    }
}

impl fmt::Display for Carries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access { vlan } => write!(formatter, "access port of VLAN {vlan}"),
            Self::Trunk { native, tagged } => trunk(formatter, *native, tagged),
            Self::Other { words } => formatter.write_str(words),
            Self::Uncontrolled => formatter.write_str("not controlled"),
        }
    }
}

impl fmt::Display for PortState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lag) = &self.lag {
            write!(formatter, "{lag}: ")?;
        }
        if self.isolated {
            formatter.write_str("isolated ")?;
        }
        write!(formatter, "{} ({})", self.carries, self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(port: &str, carries: Carries) -> PortState {
        PortState {
            carries,
            description: "n1".to_owned(),
            ..PortState::uncontrolled(port)
        }
    }

    fn whats(plan: &PortPlan, states: &[PortState]) -> Vec<&'static str> {
        let differences = plan.differences(states);
        differences.iter().map(|each| each.what).collect()
    }

    #[test]
    fn everything_that_matters_is_compared() {
        let plan = PortPlan::port("p1", PortMode::Access { vlan: 7 }, "n1").unwrap();
        let good = seen("p1", Carries::Access { vlan: 7 });
        let none: [&str; 0] = [];
        assert_eq!(whats(&plan, std::slice::from_ref(&good)), none);
        let lag = Lag::of(["p1".to_owned()].into(), None);
        for (state, what) in [
            (seen("p1", Carries::Access { vlan: 8 }), "vlans"),
            (seen("p2", Carries::Access { vlan: 7 }), "vlans"),
            (
                seen(
                    "p1",
                    Carries::Trunk {
                        native: Some(7),
                        tagged: BTreeSet::new(),
                    },
                ),
                "vlans",
            ),
            (
                seen(
                    "p1",
                    Carries::Other {
                        words: "trunk of everything".to_owned(),
                    },
                ),
                "vlans",
            ),
            (
                PortState {
                    isolated: true,
                    ..good.clone()
                },
                "isolation",
            ),
            (
                PortState {
                    lag,
                    ..good.clone()
                },
                "aggregation",
            ),
            (
                PortState {
                    description: "n2".to_owned(),
                    ..good.clone()
                },
                "description",
            ),
            (
                PortState {
                    admin_up: Some(false),
                    ..good.clone()
                },
                "admin_state",
            ),
            (
                PortState {
                    mtu: Some(1499),
                    ..good.clone()
                },
                "mtu",
            ),
        ] {
            assert_eq!(whats(&plan, &[state]), [what]);
        }
        // A switch that is not ours, and one that forwards more than is needed.
        let larger = PortState {
            mtu: Some(9000),
            admin_up: Some(true),
            ..good
        };
        for state in [PortState::uncontrolled("p1"), larger] {
            assert_eq!(whats(&plan, &[state]), none);
        }
    }

    #[test]
    fn every_member_of_an_aggregation_is_compared() {
        let members: BTreeSet<_> = ["p1".to_owned(), "p2".to_owned()].into();
        let lag = Lag::of(members, None).unwrap();
        let mode = PortMode::Trunk {
            native: None,
            tagged: [7].into(),
        };
        let plan = PortPlan::lag(lag.clone(), mode, "n1").unwrap();
        let carries = Carries::Trunk {
            native: None,
            tagged: [7].into(),
        };
        let one = PortState {
            lag: Some(lag),
            ..seen("p1", carries)
        };
        let other = PortState {
            port: "p2".to_owned(),
            ..one.clone()
        };
        assert_eq!(plan.differences(&[one.clone(), other]), []);
        assert_eq!(whats(&plan, &[one]), ["vlans"]);
    }

    /// They are stored in events: their names are a promise (invariant 7).
    #[test]
    fn stored_names_are_pinned() {
        let state = PortState {
            lag: Lag::of(["p1".to_owned()].into(), Some("p1".to_owned())),
            admin_up: Some(true),
            link: Some(false),
            mtu: Some(1500),
            lacp_current: Some(false),
            fault: Some("no device".to_owned()),
            ..seen(
                "p1",
                Carries::Trunk {
                    native: Some(7),
                    tagged: [8].into(),
                },
            )
        };
        let text = r#"{"port":"p1","carries":{"mode":"trunk","native":7,"tagged":[8]},"isolated":false,"lag":{"name":"lag-p1","members":["p1"],"primary":"p1","active":true,"fast":true,"fallback":true},"description":"n1","admin_up":true,"link":false,"mtu":1500,"lacp_current":false,"fault":"no device"}"#;
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
        assert_eq!(serde_json::from_str::<PortState>(text).unwrap(), state);
        for (carries, text) in [
            (Carries::Access { vlan: 7 }, r#"{"mode":"access","vlan":7}"#),
            (
                Carries::Other {
                    words: "x".to_owned(),
                },
                r#"{"mode":"other","words":"x"}"#,
            ),
            (Carries::Uncontrolled, r#"{"mode":"uncontrolled"}"#),
        ] {
            assert_eq!(serde_json::to_string(&carries).unwrap(), text);
            assert_eq!(serde_json::from_str::<Carries>(text).unwrap(), carries);
        }
    }
}
