//! The login to a BMC.

use std::fmt;

use zeroize::Zeroizing;

/// User name and password of a BMC account. The password is never printed, and is wiped from
/// memory when the value goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// The account `username` with its password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: Zeroizing::new(password.into()),
        }
    }

    /// The account's name.
    pub fn username(&self) -> &str {
        &self.username
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// `text` without the password, for BMCs that quote what they were sent.
    pub(crate) fn scrub(&self, text: &str) -> String {
        if self.password.is_empty() {
            return text.to_owned();
        }
        text.replace(self.password.as_str(), "(password)")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let credentials = Credentials::new("root", "calvin");
        assert!(!format!("{credentials:?}").contains("calvin"));
        assert_eq!(
            credentials.scrub("'calvin' is wrong"),
            "'(password)' is wrong"
        );
        assert_eq!(Credentials::new("root", "").scrub("as it was"), "as it was");
    }
}
