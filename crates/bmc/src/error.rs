//! What can go wrong between us and a BMC, and whose turn it then is.

use std::error::Error as StdError;
use std::time::Duration;

use bessemer_core::cause::Cause;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::reason::{Failure, FailureClass};
use bessemer_tls::Fingerprint;

use crate::LeftAlone;
use crate::ipmi::is_busy;

/// Why a BMC did not do what it was asked to. Messages name the BMC and the remedy, and never
/// hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured address is not one.
    #[error("BMC address {address:?}: {problem}")]
    BadAddress {
        /// The address as configured (left out if it holds a password).
        address: String,
        /// What is wrong with it, and how it should look.
        problem: &'static str,
    },
    /// No TLS configuration could be made from what is trusted.
    #[error("BMC {bmc}: trust cannot be set up")]
    Trust {
        /// The BMC's address.
        bmc: String,
        /// Why.
        source: bessemer_tls::Error,
    },
    /// Nothing answers, or the connection broke.
    #[error("BMC {bmc} cannot be reached: {detail}. Check its power, its network and the address")]
    Unreachable {
        /// The BMC's address.
        bmc: String,
        /// The innermost cause.
        detail: String,
        /// The whole chain.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The BMC took too long.
    #[error("BMC {bmc} did not finish in time: {doing}")]
    TimedOut {
        /// The BMC's address.
        bmc: String,
        /// What was being done.
        doing: String,
    },
    /// The BMC has not answered for a while, so nothing was sent.
    #[error(
        "BMC {bmc} has not answered for {} s and is left alone for another {} s: {}",
        left_alone.silent_for.as_secs(), left_alone.again_in.as_secs(), left_alone.why
    )]
    LeftAlone {
        /// The BMC's address.
        bmc: String,
        /// Since when, until when, and why.
        left_alone: LeftAlone,
    },
    /// The BMC shows another certificate than the one pinned.
    #[error(
        "BMC {bmc} shows certificate {found}, but {expected} is pinned. If its certificate was \
         renewed, compare the fingerprint on the BMC's own page and pin the new one; otherwise \
         somebody else answers at this address"
    )]
    CertificateMismatch {
        /// The BMC's address.
        bmc: String,
        /// The fingerprint pinned.
        expected: Fingerprint,
        /// The fingerprint shown.
        found: Fingerprint,
    },
    /// The BMC's certificate is vouched for by nobody we trust.
    #[error(
        "certificate of BMC {bmc} is not trusted: {refusal}. {}",
        remedy_for_untrusted(.shown.as_ref())
    )]
    CertificateRefused {
        /// The BMC's address.
        bmc: String,
        /// What is wrong with it.
        refusal: String,
        /// Its fingerprint, if it could be fetched.
        shown: Option<Fingerprint>,
    },
    /// User name or password is wrong.
    #[error(
        "BMC {bmc} refuses the password of user {username:?}: correct the node's BMC credentials, \
         and check that the account is not locked"
    )]
    WrongCredentials {
        /// The BMC's address.
        bmc: String,
        /// The account.
        username: String,
    },
    /// The account may not do this.
    #[error(
        "BMC {bmc} does not allow user {username:?} to {request}: give the account the operator or \
         administrator role{messages}"
    )]
    Forbidden {
        /// The BMC's address.
        bmc: String,
        /// The account.
        username: String,
        /// The request.
        request: String,
        /// The BMC's own words.
        messages: String,
    },
    /// The BMC manages several machines and none was named.
    #[error("BMC {bmc} manages several systems: name one of {} for this node", systems.join(", "))]
    SeveralSystems {
        /// The BMC's address.
        bmc: String,
        /// Their ids.
        systems: Vec<String>,
    },
    /// The BMC does not manage the machine that was named.
    #[error("BMC {bmc} manages no system {wanted:?}: it knows {}", systems.join(", "))]
    NoSuchSystem {
        /// The BMC's address.
        bmc: String,
        /// The id asked for.
        wanted: String,
        /// The ids it knows.
        systems: Vec<String>,
    },
    /// The BMC manages another machine than it should.
    #[error(
        "BMC {bmc} manages another machine: expected {expected}, found {found}; was its \
         address given to another BMC, or the board replaced?"
    )]
    AnotherMachine {
        /// The BMC's address.
        bmc: String,
        /// The machine that is meant.
        expected: MachineIdentity,
        /// The machine there is.
        found: MachineIdentity,
    },
    /// The BMC, or its machine as it is set up, cannot do this.
    #[error("BMC {bmc} offers no {wanted}; it offers {}", or_nothing(offered))]
    NotOffered {
        /// The BMC's address.
        bmc: String,
        /// What was wanted.
        wanted: String,
        /// What there is, in the BMC's words.
        offered: Vec<String>,
    },
    /// The BMC answered with an error.
    #[error("BMC {bmc} answered {status} to {request}{messages}")]
    Refused {
        /// The BMC's address.
        bmc: String,
        /// The request.
        request: String,
        /// HTTP status code.
        status: u16,
        /// The BMC's own words.
        messages: String,
    },
    /// The BMC accepted a request, worked on it, and failed.
    #[error("BMC {bmc} accepted {request}, but its task ended as {state}{messages}")]
    TaskFailed {
        /// The BMC's address.
        bmc: String,
        /// The request.
        request: String,
        /// `TaskState` (DSP0268, Task).
        state: String,
        /// The BMC's own words.
        messages: String,
    },
    /// What the BMC answered makes no sense.
    #[error("BMC {bmc} does not keep to the protocol: {detail}")]
    Protocol {
        /// The BMC's address.
        bmc: String,
        /// Where and how.
        detail: String,
    },
    /// The BMC accepted a request, but what it should bring about has not been seen.
    #[error("BMC {bmc}: {wanted} was asked for, after {waited:?} it still reads {seen}")]
    NotVerified {
        /// The BMC's address.
        bmc: String,
        /// What it is about.
        of: Effect,
        /// What should be seen.
        wanted: String,
        /// What is seen.
        seen: String,
        /// Time since the call began.
        waited: Duration,
    },
    /// Something that was configured does not fit this BMC's protocol.
    #[error("BMC {bmc}: the {field} {problem}")]
    Unusable {
        /// The BMC's address.
        bmc: String,
        /// What it is.
        field: &'static str,
        /// What is wrong with it, and the remedy.
        problem: &'static str,
    },
    /// The BMC opens no IPMI session.
    #[error(
        "BMC {bmc} refuses an IPMI session: {meaning} (status {status:#04x}). Close other sessions, \
         and check that the account is enabled for IPMI over LAN"
    )]
    SessionRefused {
        /// The BMC's address.
        bmc: String,
        /// RAKP status code (IPMI 2.0, table 13-15).
        status: u8,
        /// In the specification's words.
        meaning: &'static str,
    },
    /// The BMC answered an IPMI command with an error.
    #[error("BMC {bmc} answered {request} with completion code {code:#04x}: {meaning}")]
    CompletionCode {
        /// The BMC's address.
        bmc: String,
        /// The command.
        request: String,
        /// Completion code (IPMI 2.0, table 5-2).
        code: u8,
        /// In the specification's words.
        meaning: &'static str,
    },
    /// The serial console was open and is no more.
    #[error("BMC {bmc}: the serial console was lost: {detail}")]
    ConsoleLost {
        /// The BMC's address.
        bmc: String,
        /// How.
        detail: String,
    },
}

/// What a BMC was to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The machine switched on or off.
    Power,
    /// A boot device, or the firmware's mode.
    Boot,
    /// An image in the virtual drive, or none.
    Medium,
}

impl Error {
    /// What it is, in the catalogue's names.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unreachable { .. } | Self::ConsoleLost { .. } => Cause::BmcUnreachable,
            Self::TimedOut { .. } => Cause::BmcSlow,
            Self::LeftAlone { left_alone, .. } => left_alone.cause,
            Self::WrongCredentials { .. } => Cause::BmcPasswordRefused,
            Self::Forbidden { .. } => Cause::BmcAccountTooWeak,
            Self::CertificateMismatch { .. } | Self::CertificateRefused { .. } => {
                Cause::BmcNotTrusted
            }
            Self::BadAddress { .. }
            | Self::Trust { .. }
            | Self::SeveralSystems { .. }
            | Self::NoSuchSystem { .. }
            | Self::Unusable { .. } => Cause::BmcSettingsWrong,
            Self::AnotherMachine { .. } => Cause::WrongMachine,
            Self::NotOffered { .. } => Cause::BmcLacksFeature,
            Self::Refused { .. }
            | Self::TaskFailed { .. }
            | Self::SessionRefused { .. }
            | Self::CompletionCode { .. } => Cause::BmcRefuses,
            Self::Protocol { .. } => Cause::BmcAnswersNonsense,
            Self::NotVerified { of, .. } => match of {
                Effect::Power => Cause::PowerCommandIgnored,
                Effect::Boot => Cause::BootOverrideIgnored,
                Effect::Medium => Cause::MediumIgnored,
            },
        }
    }

    /// As what happened to an attempt.
    pub fn failure(&self) -> Failure {
        Failure::new(self.class(), self.cause(), self.to_string())
    }

    /// Whose turn it is.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::LeftAlone { .. }
            | Self::TaskFailed { .. }
            | Self::NotVerified { .. }
            | Self::ConsoleLost { .. } => FailureClass::Transient,
            // In use, busy, too many requests, or the BMC's own bad moment.
            Self::Refused {
                status: 409 | 412 | 429 | 500..=599,
                ..
            } => FailureClass::Transient,
            // Not in the present state, or busy: IPMI's way to say the same.
            Self::CompletionCode { code: 0xd5, .. } => FailureClass::Transient,
            Self::CompletionCode { code, .. } if is_busy(*code) => FailureClass::Transient,
            // Sessions of others time out.
            Self::SessionRefused {
                status: 0x01 | 0x0b,
                ..
            } => FailureClass::Transient,
            Self::Refused { .. } | Self::Protocol { .. } | Self::CompletionCode { .. } => {
                FailureClass::Permanent
            }
            Self::BadAddress { .. }
            | Self::Trust { .. }
            | Self::Unusable { .. }
            | Self::SessionRefused { .. }
            | Self::CertificateMismatch { .. }
            | Self::CertificateRefused { .. }
            | Self::WrongCredentials { .. }
            | Self::Forbidden { .. }
            | Self::SeveralSystems { .. }
            | Self::NoSuchSystem { .. }
            | Self::AnotherMachine { .. }
            | Self::NotOffered { .. } => FailureClass::Operator,
        }
    }
}

fn remedy_for_untrusted(shown: Option<&Fingerprint>) -> String {
    match shown {
        Some(shown) => format!(
            "It shows certificate {shown}: compare that with the BMC's own page and pin it, or \
             install a certificate of a trusted authority"
        ),
        None => "Pin its certificate, or install one of a trusted authority".to_owned(),
    }
}

fn or_nothing(offered: &[String]) -> String {
    if offered.is_empty() {
        "nothing of the kind".to_owned()
    } else {
        offered.join(", ")
    }
}
