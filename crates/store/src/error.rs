//! What can go wrong in the store, in terms its callers can act on.

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} `{which}`")]
    NotFound {
        /// Such as `node`.
        what: &'static str,
        /// The name or id asked for.
        which: String,
    },
    /// Something unique is taken already, or the thing is in a state that does not allow it.
    #[error("{message}")]
    Conflict {
        /// The field at fault, such as `ports[0].mac`.
        field: Option<String>,
        /// What is in the way.
        message: String,
    },
    /// A pool has nothing left.
    #[error("{pool} has no free {what} left")]
    Exhausted {
        /// Of what: `address`, `VLAN` or `VNI`.
        what: &'static str,
        /// The pool, by name.
        pool: String,
    },
    /// A list cannot go on from there.
    #[error("`{0}` is not a cursor that a list of this kind has given")]
    Cursor(String),
    /// No candidate is free any more.
    #[error("no matching node is free any more")]
    NoNode,
    /// Another conductor has taken the node over: drop everything.
    #[error("the lease on this node was lost")]
    LeaseLost,
    /// A stored value cannot be read.
    #[error("stored {what} cannot be read: {message}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// The database cannot be used as it is set up.
    #[error("{0}")]
    Setup(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// A conflict over one field of a request.
    pub(crate) fn conflict(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Conflict {
            field: Some(field.into()),
            message: message.into(),
        }
    }

    /// A conflict with the state that something is in.
    pub(crate) fn not_now(message: impl Into<String>) -> Self {
        Self::Conflict {
            field: None,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(what: &'static str, which: impl ToString) -> Self {
        Self::NotFound {
            what,
            which: which.to_string(),
        }
    }

    /// Whether a unique constraint was in the way.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether something referred to is not there, or something is still referred to.
    pub(crate) fn is_reference_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error))
            if error.is_foreign_key_violation())
    }
}
