//! Everything that can go wrong between a client and the API.

use std::time::Duration;

use bessemer_wire::problem::Problem;

/// What went wrong. The text is for a person; `source` has the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file to be uploaded cannot be read.
    #[error("the file cannot be read")]
    File(#[source] std::io::Error),
    /// The address of the API cannot be used.
    #[error("`{url}` is no address of an API: {detail}; write it as http://HOST:PORT")]
    BadUrl {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The token cannot be sent. It is not shown.
    #[error("the token has characters that no token has: it is one line of visible ASCII")]
    BadToken,
    /// A name that cannot be part of an address.
    #[error("`{0}` is neither a name nor an id")]
    BadName(String),
    /// The certificate authorities of this host cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] bessemer_tls::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),

    /// No connection came about, so the request was not sent.
    #[error("the API at {url} cannot be reached")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke: whether the request was carried out is not known.
    #[error("the connection to the API at {url} broke before it had answered")]
    Broken {
        /// Where it was tried.
        url: String,
        /// How.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time: whether the request was carried out is not known.
    #[error("the API at {url} did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// Where it was tried.
        url: String,
        /// How long was waited.
        limit: Duration,
    },

    /// The API says what is wrong.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// An error without a problem document: what answers may not be Bessemer's API.
    #[error(
        "{url} answered with HTTP status {status} and no problem document: is it Bessemer's API?"
    )]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer that does not read as what was asked for.
    #[error("{url} answered with something that this client cannot read: is it as new as the API?")]
    BadAnswer {
        /// What was asked.
        url: String,
        /// Where it does not read.
        #[source]
        source: serde_json::Error,
    },
    /// An answer larger than any that the API gives.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The most that is accepted.
        limit: usize,
    },
    /// A list that does not end.
    #[error("{url} went on for more than {pages} pages")]
    Endless {
        /// What was asked.
        url: String,
        /// The most that are read.
        pages: usize,
    },
}

impl Error {
    /// Whether the API is just not there, as while it restarts: the same request may do later.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::TimedOut { .. } => true,
            // The API's own 502 and 504 are about a machine that it asked; 503 is about itself.
            Self::Problem(problem) => problem.status == 503,
            // A proxy before an API that is not there.
            Self::Status { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// The HTTP status, if the API answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether there is no such thing (HTTP 404).
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
