//! The wanted state of switch ports: what a driver brings about.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PlanError;

/// The VLANs of IEEE 802.1Q that a port can be in: 0 and 4095 are reserved.
pub(super) const VLANS: RangeInclusive<u16> = 1..=4094;

/// Bytes of the longest IP packet on a port for which nobody asks for more.
pub const DEFAULT_MTU: u16 = 1500;

/// MTUs that a port can be given: RFC 8200 wants 1280 for IPv6, 9216 is what data centre switches
/// forward.
const MTUS: RangeInclusive<u16> = 1280..=9216;

/// Bytes of a port's description: the shortest limit among the switches in the field is 240.
const LONGEST_DESCRIPTION: usize = 200;

/// Bytes of the name of a switch port.
const LONGEST_NAME: usize = 100;

/// The ports of one aggregation: IEEE 802.1AX leaves it open, switches stop at 8 or 16.
const MOST_MEMBERS: usize = 16;

/// What the ports of one node on one switch must carry: applied as one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchPlan {
    /// The switch.
    pub switch: String,
    /// A plan for each port, or each aggregation of ports.
    pub ports: Vec<PortPlan>,
}

/// What a switch port, or the ports of an aggregation, must carry. Always within the bounds of what
/// a port can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortPlan {
    ports: BTreeSet<String>,
    mode: PortMode,
    isolated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<Lag>,
    description: String,
    admin_up: bool,
    mtu: u16,
    edge: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    storm_limit: Option<u32>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    segments: BTreeSet<String>,
}

/// Which frames a port carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum PortMode {
    /// None that anybody could receive.
    Parked {
        /// The VLAN that exists nowhere, where untagged frames end.
        vlan: u16,
    },
    /// The untagged frames of one VLAN.
    Access {
        /// That VLAN.
        vlan: u16,
    },
    /// The frames of several VLANs.
    Trunk {
        /// The VLAN of untagged frames; without one they are dropped.
        native: Option<u16>,
        /// Those whose frames are tagged; at least one.
        tagged: BTreeSet<u16>,
    },
}

impl PortMode {
    /// Every VLAN whose frames pass.
    pub fn vlans(&self) -> BTreeSet<u16> {
        match self {
            Self::Parked { vlan } | Self::Access { vlan } => [*vlan].into(),
            Self::Trunk { native, tagged } => tagged.iter().chain(native).copied().collect(),
        }
    }
}

/// Ports that a switch uses as one (IEEE 802.1AX).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Lag {
    /// Its name on the switch, which follows from its members.
    pub name: String,
    /// Its ports.
    pub members: BTreeSet<String>,
    /// The member that carries traffic while no partner speaks LACP: the boot NIC's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Whether the switch begins with LACP by itself.
    pub active: bool,
    /// Whether a partner is asked for a message every second rather than every 30.
    pub fast: bool,
    /// Whether one member carries traffic while no partner speaks LACP.
    pub fallback: bool,
}

impl Lag {
    /// The aggregation that a node with these `members` needs: LACP that begins by itself, fast, with
    /// a fallback to `primary`. Without members there is none.
    pub fn of(members: BTreeSet<String>, primary: Option<String>) -> Option<Self> {
        let first = members.first()?;
        Some(Self {
            name: format!("lag-{first}"),
            primary: primary.filter(|port| members.contains(port)),
            members,
            active: true,
            fast: true,
            fallback: true,
        })
    }
}

impl PortPlan {
    /// A plan for one port, described to people as `description` (at most 200 bytes on one line).
    ///
    /// # Errors
    /// [`PlanError::OutOfBounds`] when something is out of the bounds of what a port can carry.
    pub fn port(
        port: impl Into<String>,
        mode: PortMode,
        description: impl Into<String>,
    ) -> Result<Self, PlanError> {
        Self::checked([port.into()].into(), mode, None, description.into())
    }

    /// A plan for the ports of an aggregation, all of which carry the same.
    ///
    /// # Errors
    /// As for [`PortPlan::port`].
    pub fn lag(
        lag: Lag,
        mode: PortMode,
        description: impl Into<String>,
    ) -> Result<Self, PlanError> {
        let members = lag.members.clone();
        Self::checked(members, mode, Some(lag), description.into())
    }

    fn checked(
        ports: BTreeSet<String>,
        mode: PortMode,
        lag: Option<Lag>,
        description: String,
    ) -> Result<Self, PlanError> {
        let out_of_bounds = |problem: String| Err(PlanError::OutOfBounds { problem });
        if let Some(vlan) = mode.vlans().into_iter().find(|vlan| !VLANS.contains(vlan)) {
            return out_of_bounds(format!("VLAN {vlan} is not one of 1 to 4094"));
        }
        if matches!(&mode, PortMode::Trunk { tagged, .. } if tagged.is_empty()) {
            return out_of_bounds("a trunk carries at least one tagged VLAN".to_owned());
        }
        if matches!(&mode, PortMode::Trunk { native: Some(native), tagged } if tagged.contains(native))
        {
            return out_of_bounds("a trunk's native VLAN is not also tagged".to_owned());
        }
        if !(1..=MOST_MEMBERS).contains(&ports.len()) {
            return out_of_bounds(format!("an aggregation has 1 to {MOST_MEMBERS} ports"));
        }
        let names = lag.iter().map(|lag| &lag.name).chain(&ports);
        for name in names {
            if !(1..=LONGEST_NAME).contains(&name.len()) || name.contains(char::is_control) {
                return out_of_bounds(format!(
                    "the name of a switch port must be one line of 1 to {LONGEST_NAME} bytes"
                ));
            }
        }
        if description.len() > LONGEST_DESCRIPTION || description.contains(char::is_control) {
            return out_of_bounds(format!(
                "the description must be one line of at most {LONGEST_DESCRIPTION} bytes"
            ));
        }
        Ok(Self {
            ports,
            isolated: matches!(mode, PortMode::Parked { .. }),
            mode,
            lag,
            description,
            admin_up: true,
            mtu: DEFAULT_MTU,
            edge: true,
            storm_limit: None,
            segments: BTreeSet::new(),
        })
    }

    /// The same, kept from every other isolated port: a *protected* port, or one in an *isolated*
    /// private VLAN (RFC 5517). Ports that are not isolated, such as the conductor's, it reaches.
    /// Parked ports are always isolated.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated || self.is_parked();
        self
    }

    /// The same for IP packets of up to `mtu` bytes, 1280 to 9216.
    ///
    /// # Errors
    /// [`PlanError::OutOfBounds`] otherwise.
    pub fn with_mtu(mut self, mtu: u16) -> Result<Self, PlanError> {
        if !MTUS.contains(&mtu) {
            let (least, most) = (MTUS.start(), MTUS.end());
            return Err(PlanError::OutOfBounds {
                problem: format!("an MTU of {mtu} is not one of {least} to {most}"),
            });
        }
        self.mtu = mtu;
        Ok(self)
    }

    /// The same, where a machine may send `limit` broadcast, multicast and unknown frames a second.
    #[must_use]
    pub fn with_storm_limit(mut self, limit: Option<u32>) -> Self {
        self.storm_limit = limit;
        self
    }

    /// The same, for networks that are parts of these physical ones.
    #[must_use]
    pub fn with_segments(mut self, segments: BTreeSet<String>) -> Self {
        self.segments = segments;
        self
    }

    /// The ports' names: one, or the members of the aggregation.
    pub fn ports(&self) -> &BTreeSet<String> {
        &self.ports
    }

    /// Which frames they carry.
    pub fn mode(&self) -> &PortMode {
        &self.mode
    }

    /// Whether they carry nothing.
    pub fn is_parked(&self) -> bool {
        matches!(self.mode, PortMode::Parked { .. })
    }

    /// Whether they are kept from other isolated ports.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The aggregation that they form, if they do.
    pub fn aggregation(&self) -> Option<&Lag> {
        self.lag.as_ref()
    }

    /// What people who look at the switch are told.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether the ports are switched on. Every plan's are: a port that is shut has no link, and then
    /// its cable could not be told from a broken one.
    pub fn is_admin_up(&self) -> bool {
        self.admin_up
    }

    /// Bytes of the longest IP packet.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether a machine is at the other end, and no switch: spanning tree does not wait before it
    /// forwards, and is not taken part in.
    pub fn is_edge(&self) -> bool {
        self.edge
    }

    /// Broadcast, multicast and unknown frames that the machine may send, each second.
    pub fn storm_limit(&self) -> Option<u32> {
        self.storm_limit
    }

    /// The physical networks of what is to be carried, as far as they are declared: all there is to
    /// check where a switch is not ours.
    pub fn segments(&self) -> &BTreeSet<String> {
        &self.segments
    }
}

impl fmt::Display for PortPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lag) = &self.lag {
            write!(formatter, "{lag}: ")?;
        }
        if self.isolated && !self.is_parked() {
            formatter.write_str("isolated ")?;
        }
        write!(formatter, "{} ({})", self.mode, self.description)
    }
}

impl fmt::Display for PortMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parked { vlan } => write!(formatter, "parked in VLAN {vlan}"),
            Self::Access { vlan } => write!(formatter, "access port of VLAN {vlan}"),
            Self::Trunk { native, tagged } => trunk(formatter, *native, tagged),
        }
    }
}

pub(super) fn trunk(
    formatter: &mut fmt::Formatter<'_>,
    native: Option<u16>,
    tagged: &BTreeSet<u16>,
) -> fmt::Result {
    let tagged: Vec<_> = tagged.iter().map(u16::to_string).collect();
    write!(formatter, "trunk of VLANs {}", tagged.join(", "))?;
    match native {
        Some(native) => write!(formatter, ", untagged {native}"),
        None => formatter.write_str(", nothing untagged"),
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.members.iter().map(String::as_str).collect();
        let (active, fast, fallback) = (self.active, self.fast, self.fallback);
        write!(formatter, "{} of {}", self.name, members.join(" and "))?;
        for (as_planned, words) in [
            (active, "LACP not active"),
            (fast, "LACP slow"),
            (fallback, "no fallback"),
        ] {
            if !as_planned {
                write!(formatter, ", {words}")?;
            }
        }
        match &self.primary {
            Some(primary) => write!(formatter, ", first {primary}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(vlan: u16) -> PortMode {
        PortMode::Access { vlan }
    }

    fn problem(result: Result<PortPlan, PlanError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn plans_are_within_bounds() {
        for vlan in [1, 100, 4094] {
            assert!(PortPlan::port("p1", access(vlan), "parked").is_ok());
        }
        for vlan in [0, 4095, u16::MAX] {
            let trunk = PortMode::Trunk {
                native: None,
                tagged: [100, vlan].into(),
            };
            for mode in [access(vlan), PortMode::Parked { vlan }, trunk] {
                let text = problem(PortPlan::port("p1", mode, ""));
                assert!(
                    text.contains(&vlan.to_string()) && text.contains("4094"),
                    "{text}"
                );
            }
        }
        assert!(PortPlan::port("p1", access(1), "x".repeat(200)).is_ok());
        for description in ["x".repeat(201), "two\nlines".to_owned()] {
            problem(PortPlan::port("p1", access(1), description));
        }
        for name in [String::new(), "p\n".to_owned(), "x".repeat(101)] {
            problem(PortPlan::port(name, access(1), ""));
        }
        let plan = PortPlan::port("p1", access(1), "").unwrap();
        assert_eq!(plan.clone().with_mtu(9000).unwrap().mtu(), 9000);
        for mtu in [0, 1279, 9217] {
            problem(plan.clone().with_mtu(mtu));
        }
    }

    #[test]
    fn trunks_say_which_vlans_they_carry() {
        for (native, tagged) in [(None, vec![]), (Some(7), vec![]), (Some(7), vec![7, 8])] {
            let tagged = tagged.into_iter().collect();
            problem(PortPlan::port("p1", PortMode::Trunk { native, tagged }, ""));
        }
        let mode = PortMode::Trunk {
            native: Some(7),
            tagged: [9, 8].into(),
        };
        let plan = PortPlan::port("p1", mode, "n1 tenant").unwrap();
        assert_eq!(
            plan.to_string(),
            "trunk of VLANs 8, 9, untagged 7 (n1 tenant)"
        );
        assert_eq!(plan.mode().vlans(), [7, 8, 9].into());
    }

    #[test]
    fn parked_ports_are_isolated_whatever_is_said() {
        let parked = PortPlan::port("p1", PortMode::Parked { vlan: 4094 }, "").unwrap();
        assert!(parked.is_isolated() && parked.isolated(false).is_isolated());
    }

    #[test]
    fn an_aggregation_is_named_by_its_members() {
        let members: BTreeSet<_> = ["p2".to_owned(), "p1".to_owned()].into();
        let lag = Lag::of(members.clone(), Some("p2".to_owned())).unwrap();
        assert_eq!(lag.to_string(), "lag-p1 of p1 and p2, first p2");
        assert_eq!(
            Lag::of(members, Some("p9".to_owned())).unwrap().primary,
            None
        );
        assert_eq!(Lag::of(BTreeSet::new(), None), None);
        let many = (0..17).map(|number| number.to_string()).collect();
        problem(PortPlan::lag(Lag::of(many, None).unwrap(), access(1), ""));
    }
}
