//! What can go wrong between us and a switch, and whose turn it then is.

use std::time::Duration;

use bessemer_core::cause::Cause;
use bessemer_core::port_plan::PlanError;
use bessemer_core::reason::{Failure, FailureClass};

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
    /// A plan that cannot be: out of bounds, or contradicted by what is known of a port.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Too much is being asked of the switch already.
    #[error(
        "switch {switch} is busy with {limit} requests; this one was not begun in time. Raise \
         the limit of requests to a switch if it can do more"
    )]
    Busy {
        /// The switch's name.
        switch: String,
        /// Requests that are made of it at the same time.
        limit: usize,
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
    /// The switch is not believed to be the one that it should be.
    #[error(
        "switch {switch} at {address} shows a certificate that is not believed: {detail}. Check the \
         address, and the authority (or fingerprint) that was given for it"
    )]
    NotBelieved {
        /// The switch's name.
        switch: String,
        /// Where it was looked for.
        address: String,
        /// What is wrong with the certificate.
        detail: String,
    },
    /// The switch does not admit us.
    #[error(
        "switch {switch} refuses our certificate ({detail}): give it one that its authority has \
         signed, or have it believe ours"
    )]
    NotAdmitted {
        /// The switch's name.
        switch: String,
        /// The switch's words.
        detail: String,
    },
    /// TLS is to be spoken, but nothing is known of whom to believe.
    #[error(
        "switch {switch} is to be reached by TLS: give its authority (or fingerprint), and our \
         certificate and key for it"
    )]
    NoCredentials {
        /// The switch's name.
        switch: String,
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
        "switch {switch} does not have what was applied: {differences}. Somebody else seems to \
         configure these ports too, or the switch forgets"
    )]
    NotVerified {
        /// The switch's name.
        switch: String,
        /// What should be seen, and what is.
        differences: String,
    },
    /// Somebody else changes the same ports at the same time.
    #[error("switch {switch}: somebody else changes the same ports at the same time")]
    Conflict {
        /// The switch's name.
        switch: String,
    },
    /// The VLAN that a VXLAN network has on this switch alone leads out of it.
    #[error(
        "port {port} of switch {switch} carries VLAN {vlan}, which is VNI {vni}'s on this switch, and \
         may be another network's where it leads: take the switch's `tunnel_vlans` out of that port"
    )]
    Leaks {
        /// The switch's name.
        switch: String,
        /// The port's name.
        port: String,
        /// The VLAN.
        vlan: u16,
        /// The network.
        vni: u32,
    },
    /// The switch, or the device behind a port, cannot do what is planned.
    #[error("switch {switch} cannot carry out the plan of {port}: {problem}")]
    Unable {
        /// The switch's name.
        switch: String,
        /// The port, or aggregation.
        port: String,
        /// What it cannot do.
        problem: String,
    },
    /// A change could not be seen in effect and was taken back.
    #[error("{cause}. The ports were put back to what they were before")]
    RolledBack {
        /// The switch's name.
        switch: String,
        /// Why.
        #[source]
        cause: Box<Error>,
    },
    /// A change could not be seen in effect, and could not be taken back either.
    #[error(
        "{cause}. The ports could not be put back to what they were before either ({problem}): what \
         they carry is not known"
    )]
    NotRolledBack {
        /// The switch's name.
        switch: String,
        /// Why it was to be taken back.
        #[source]
        cause: Box<Error>,
        /// Why it could not be.
        problem: Box<Error>,
    },
}

impl Error {
    /// What it is, in the catalogue's names.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. } => {
                Cause::SwitchUnreachable
            }
            Self::Refused { .. } | Self::Protocol { .. } | Self::PortFault { .. } => {
                Cause::SwitchRefuses
            }
            Self::NotInEffect { .. } | Self::NotVerified { .. } | Self::Conflict { .. } => {
                Cause::SwitchForgets
            }
            Self::BadAddress { .. }
            | Self::NotBelieved { .. }
            | Self::NotAdmitted { .. }
            | Self::NoCredentials { .. } => Cause::SwitchSettingsWrong,
            Self::NoSuchPort { .. } => Cause::WrongCabling,
            Self::Plan(error) => error.cause(),
            Self::Leaks { .. } | Self::Unable { .. } => Cause::SwitchCannotCarry,
            Self::RolledBack { cause, .. } | Self::NotRolledBack { cause, .. } => cause.cause(),
        }
    }

    /// As what happened to an attempt.
    pub fn failure(&self) -> Failure {
        Failure::new(self.class(), self.cause(), self.to_string())
    }

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
            | Self::Busy { .. }
            | Self::Conflict { .. }
            | Self::NotInEffect { .. }
            | Self::NotVerified { .. } => FailureClass::Transient,
            Self::RolledBack { cause, .. } | Self::NotRolledBack { cause, .. } => cause.class(),
            Self::Refused { .. } | Self::Protocol { .. } => FailureClass::Permanent,
            Self::BadAddress { .. }
            | Self::NotBelieved { .. }
            | Self::NotAdmitted { .. }
            | Self::NoCredentials { .. }
            | Self::Plan(_)
            | Self::Leaks { .. }
            | Self::Unable { .. }
            | Self::NoSuchPort { .. }
            | Self::PortFault { .. } => FailureClass::Operator,
        }
    }

    /// Whether the switch as a whole is at fault: not a single port, nor what was asked of it.
    pub fn is_of_the_switch(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NotBelieved { .. }
            | Self::NotAdmitted { .. }
            | Self::NoCredentials { .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. }
            | Self::NotInEffect { .. } => true,
            Self::RolledBack { cause, .. } | Self::NotRolledBack { cause, .. } => {
                cause.is_of_the_switch()
            }
            _ => false,
        }
    }

    /// Whether beginning again in a moment is likely to help.
    pub(crate) fn may_pass_at_once(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Conflict { .. })
    }
}
