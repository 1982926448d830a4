//! Why something is as it is, as data: what the portal, the command line and the API show.
//!
//! A reason never says only "failed": it says what was expected, what was seen, what happens next
//! and when, and what a person can do about it. Secrets never go into one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cause::{self, Cause, Mender};

/// Who can make a failure go away, and so whether trying again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Likely to pass by itself: try again.
    Transient,
    /// Will not pass by trying again.
    Permanent,
    /// Needs an operator: a wrong password, a wrong cable.
    Operator,
    /// Our own fault.
    Bug,
}

/// What went wrong in one attempt to do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Whether to try again, and who must act.
    pub class: FailureClass,
    /// What was expected and what was seen instead, in one sentence for a person.
    pub message: String,
    /// What it is, in the catalogue's names. Absent if it was written by a program that knew others.
    #[serde(
        default,
        deserialize_with = "cause::known",
        skip_serializing_if = "Option::is_none"
    )]
    pub cause: Option<Cause>,
}

impl Failure {
    /// A failure of this class.
    pub fn new(class: FailureClass, cause: Cause, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            cause: Some(cause),
        }
    }

    /// The same for whoever rents the machine: without what is the site's own.
    pub fn message_for_tenants(&self) -> &str {
        match self.cause {
            Some(cause) if cause.mender() != Mender::Operator => &self.message,
            Some(cause) => cause.summary(),
            None => "it did not work; operators are told why",
        }
    }

    /// A failure that is likely to pass by itself.
    pub fn transient(cause: Cause, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, cause, message)
    }

    /// A failure that trying again will not mend.
    pub fn permanent(cause: Cause, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, cause, message)
    }

    /// A failure that an operator must mend.
    pub fn operator(cause: Cause, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Operator, cause, message)
    }
}

/// Why a node (or server) is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// What is going on or went wrong, in one sentence for a person.
    pub summary: String,
    /// What is behind it, where something went wrong.
    #[serde(
        default,
        deserialize_with = "cause::known",
        skip_serializing_if = "Option::is_none"
    )]
    pub cause: Option<Cause>,
    /// What had been expected, where something else was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// What happens next by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When that happens at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Reason {
    /// A reason with only a summary.
    pub fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            cause: None,
            expected: None,
            seen: None,
            next: None,
            at: None,
            remedy: None,
        }
    }

    /// The same for whoever rents the machine: what only operators can mend is told by the name of its
    /// cause, without the addresses, accounts and serial numbers that the message may have.
    pub fn for_tenants(&self) -> Self {
        let Some(cause) = self.cause else {
            return Self {
                seen: None,
                ..self.clone()
            };
        };
        if cause.mender() != Mender::Operator {
            return self.clone();
        }
        let remedy = self.remedy.as_ref();
        Self {
            seen: Some(cause.summary().to_owned()),
            // What could not be done afterwards either has no time.
            next: self.next.clone().filter(|_| self.at.is_some()),
            remedy: remedy.map(|_| cause.remedy_for_tenants().to_owned()),
            ..self.clone()
        }
    }

    /// Adds what is behind it, if that is known.
    pub fn cause(mut self, cause: Option<Cause>) -> Self {
        self.cause = cause;
        self
    }

    /// Adds what had been expected and what was seen.
    pub fn expected_seen(mut self, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self.seen = Some(seen.into());
        self
    }

    /// Adds what was seen.
    pub fn seen(mut self, seen: impl Into<String>) -> Self {
        self.seen = Some(seen.into());
        self
    }

    /// Adds what happens next, and when at the latest.
    pub fn next(mut self, next: impl Into<String>, at: Option<Timestamp>) -> Self {
        self.next = Some(next.into());
        self.at = at;
        self
    }

    /// Adds what a person can do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.summary)?;
        if let Some(cause) = self.cause {
            write!(formatter, "; cause: {} ({})", cause.summary(), cause.code())?;
        }
        for (label, part) in [
            ("expected", &self.expected),
            ("seen", &self.seen),
            ("next", &self.next),
            ("what you can do", &self.remedy),
        ] {
            if let Some(part) = part {
                write!(formatter, "; {label}: {part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_not_told_what_is_the_sites_own() {
        let secret = "BMC https://10.0.0.7 refuses the password of user \"root\"";
        let failed = Reason::new("deploying failed at `power_on`")
            .cause(Some(Cause::BmcPasswordRefused))
            .expected_seen("switch the machine on", secret)
            .next(format!("could not switch it off: {secret}"), None)
            .remedy("mend what was seen");
        let told = failed.for_tenants();
        assert!(!told.to_string().contains("10.0.0.7"), "{told}");
        assert_eq!(
            told.seen.as_deref(),
            Some(Cause::BmcPasswordRefused.summary())
        );
        assert!(told.remedy.unwrap().contains("operators"));
        // What is theirs to mend they are told as it is.
        let image = Reason::new("failed")
            .cause(Some(Cause::ImageUnusable))
            .seen("no kernel");
        assert_eq!(image.for_tenants(), image);
        let unnamed = Reason::new("failed").seen(secret);
        assert_eq!(unnamed.for_tenants().seen, None);
    }
}
