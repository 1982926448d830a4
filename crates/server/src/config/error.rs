//! What is wrong with a configuration, and the checks that several of its sections share.

use std::path::PathBuf;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is wrong: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value does not make sense.
    #[error("configuration `{field}`: {message}")]
    Value {
        /// Which key.
        field: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

pub(super) fn vlan(field: &str, id: u16) -> Result<(), ConfigError> {
    if (1..=4094).contains(&id) {
        Ok(())
    } else {
        wrong(field, "a VLAN id is 1 to 4094")
    }
}

pub(super) fn wrong(field: &str, message: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        field: field.into(),
        message: message.into(),
    })
}
