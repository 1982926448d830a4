//! What can go wrong between us and a switch, and whose turn it then is.

use std::time::Duration;

use bessemer_core::reason::FailureClass;

/// Why a switch port is not known to be as planned. Messages name the switch, the port and the
/// remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured address is not one.
    #[error("switch address {address:?}: {problem}")]
    BadAddress {
        /// The address as configured.
        address: String,
        /// What is wrong with it, and how it should look.
        problem: &'static str,
    },
    /// A plan that no port can have.
    #[error("port plan: {problem}")]
    BadPlan {
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing answers, or the connection broke.
    #[error("switch {switch} cannot be reached at {address}. Check that it runs, and the address")]
    Unreachable {
        /// The switch's name.
        switch: String,
        /// Where it was looked for.
        address: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The switch took too long to answer.
    #[error("switch {switch} did not answer in time: {doing}")]
    TimedOut {
        /// The switch's name.
        switch: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The switch has no such port.
    #[error(
        "switch {switch} has no port {port:?}: correct the switch port of the node's NIC, or add \
         the port to the switch"
    )]
    NoSuchPort {
        /// The switch's name.
        switch: String,
        /// The port's name.
        port: String,
    },
    /// The port is configured, but the switch cannot use it.
    #[error("switch {switch} cannot use port {port}: {fault}. Check the port's cable and device")]
    PortFault {
        /// The switch's name.
        switch: String,
        /// The port's name.
        port: String,
        /// The switch's own words.
        fault: String,
    },
    /// The switch refused a change.
    #[error("switch {switch} refused: {detail}")]
    Refused {
        /// The switch's name.
        switch: String,
        /// The switch's own words.
        detail: String,
    },
    /// What the switch answered makes no sense.
    #[error("switch {switch} does not keep to the protocol: {detail}")]
    Protocol {
        /// The switch's name.
        switch: String,
        /// How.
        detail: String,
    },
    /// The change is stored, but the switch does not forward by it yet.
    #[error(
        "switch {switch} has stored its configuration but not put it into effect after {waited:?}: \
         check that ovs-vswitchd runs there"
    )]
    NotInEffect {
        /// The switch's name.
        switch: String,
        /// Time since it was stored.
        waited: Duration,
    },
    /// Something else than what was applied is read back.
    #[error(
        "switch {switch}, port {port}: {wanted} was applied, but it reads {seen}. Somebody else \
         seems to configure this port too"
    )]
    NotVerified {
        /// The switch's name.
        switch: String,
        /// The port's name.
        port: String,
        /// What should be seen.
        wanted: String,
        /// What is seen.
        seen: String,
    },
}

impl Error {
    /// Whose turn it is.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Unreachable { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                FailureClass::Operator
            }
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotInEffect { .. }
            | Self::NotVerified { .. } => FailureClass::Transient,
            Self::Refused { .. } | Self::Protocol { .. } => FailureClass::Permanent,
            Self::BadAddress { .. }
            | Self::BadPlan { .. }
            | Self::NoSuchPort { .. }
            | Self::PortFault { .. } => FailureClass::Operator,
        }
    }
}
