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
    #[error("{pool} has no free address left")]
    Exhausted {
        /// The pool, by name.
        pool: String,
    },
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
