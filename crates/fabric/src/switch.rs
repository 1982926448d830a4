//! What every switch can do, whatever its protocol.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Error;

/// The VLANs of IEEE 802.1Q that a port can be in: 0 and 4095 are reserved.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// Bytes of a port's description: the shortest limit among the switches in the field is 240.
const LONGEST_DESCRIPTION: usize = 200;

/// A switch whose ports can be brought into a wanted state.
///
/// Every call ends by its deadline at the latest, with an error of class *transient* if what it
/// does is not done by then. Calls for different ports may be made at the same time.
pub trait Switch: fmt::Debug + Send + Sync {
    /// The switch's name, for people.
    fn name(&self) -> &str;

    /// What the port `port` carries now.
    fn read_port<'a>(
        &'a self,
        port: &'a str,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<PortState, Error>>;

    /// Brings the port `port` into the state that `plan` describes, and returns once the switch
    /// forwards by it. A port that is in it already is left alone.
    fn apply_port<'a>(
        &'a self,
        port: &'a str,
        plan: &'a PortPlan,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// What a port is to carry: the untagged frames of one VLAN, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    vlan: u16,
    isolated: bool,
    description: String,
}

impl PortPlan {
    /// An access port of `vlan`, 1 to 4094, described to people as `description` (at most 200
    /// bytes on one line).
    ///
    /// # Errors
    /// [`Error::BadPlan`] when one of them is out of these bounds.
    pub fn access(vlan: u16, description: impl Into<String>) -> Result<Self, Error> {
        let description = description.into();
        if !VLANS.contains(&vlan) {
            return Err(Error::BadPlan {
                problem: format!("VLAN {vlan} is not one of 1 to 4094"),
            });
        }
        if description.len() > LONGEST_DESCRIPTION || description.contains(char::is_control) {
            let problem =
                format!("the description must be one line of at most {LONGEST_DESCRIPTION} bytes");
            return Err(Error::BadPlan { problem });
        }
        Ok(Self {
            vlan,
            isolated: false,
            description,
        })
    }

    /// The same, kept from every other isolated port: a *protected* port, or one in an *isolated*
    /// private VLAN (RFC 5517). Ports that are not isolated, such as the conductor's, it reaches.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Whether the port is kept from other isolated ones.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The VLAN whose frames the port carries untagged.
    pub fn vlan(&self) -> u16 {
        self.vlan
    }

    /// What people who look at the switch are told.
    pub fn description(&self) -> &str {
        &self.description
    }
}

impl fmt::Display for PortPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}access port of VLAN {} ({})",
            isolation(self.isolated),
            self.vlan,
            self.description
        )
    }
}

fn isolation(isolated: bool) -> &'static str {
    if isolated { "isolated " } else { "" }
}

/// What a port carries, as read from the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    /// The untagged frames of one VLAN.
    Access {
        /// That VLAN.
        vlan: u16,
        /// Whether it is kept from other isolated ports.
        isolated: bool,
        /// The description that [`PortPlan`] set; empty if there is none.
        description: String,
    },
    /// Anything else, in the switch's words.
    Other(String),
    /// The switch is not ours to ask.
    Uncontrolled,
}

impl PortState {
    /// Whether a port in this state needs nothing done to be as planned.
    pub fn satisfies(&self, plan: &PortPlan) -> bool {
        match self {
            Self::Access {
                vlan,
                isolated,
                description,
            } => {
                *vlan == plan.vlan && *isolated == plan.isolated && *description == plan.description
            }
            Self::Other(_) => false,
            Self::Uncontrolled => true,
        }
    }
}

impl fmt::Display for PortState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access {
                vlan,
                isolated,
                description,
            } => {
                let isolation = isolation(*isolated);
                write!(
                    formatter,
                    "{isolation}access port of VLAN {vlan} ({description})"
                )
            }
            Self::Other(words) => formatter.write_str(words),
            Self::Uncontrolled => formatter.write_str("not controlled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_within_bounds() {
        for vlan in [1, 100, 4094] {
            assert_eq!(PortPlan::access(vlan, "parked").unwrap().vlan(), vlan);
        }
        for vlan in [0, 4095, u16::MAX] {
            let text = PortPlan::access(vlan, "").unwrap_err().to_string();
            assert!(
                text.contains(&vlan.to_string()) && text.contains("4094"),
                "{text}"
            );
        }
        assert!(PortPlan::access(1, "x".repeat(200)).is_ok());
        for description in ["x".repeat(201), "two\nlines".to_owned()] {
            assert!(PortPlan::access(1, description).is_err());
        }
    }
}
