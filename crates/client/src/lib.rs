//! A client of Bessemer's API: one typed method for every endpoint, over the very types that the
//! server sends.
//!
//! The command line, the lab's demo and the end-to-end tests all speak to the server through this
//! crate, so that there is one place that knows how to ask, how long to wait, how much to accept
//! and what an error document looks like. It decides nothing: whom to ask again after an outage,
//! and for how long, is the caller's business ([`Error::is_outage`] tells). The one exception is an
//! order, which is sent again under its `Idempotency-Key` when the answer is lost.
//!
//! Where to look:
//! - [`Client`]: the methods, in one file for each kind of thing (`nodes`, `images`, `networks`,
//!   `offers`, `places`, `servers`, `tokens`, `events`);
//! - `transport`: one request and its answer, with every bound;
//! - [`Document`]: an answer, and exactly the JSON that it was;
//! - [`EventStream`]: events as they happen, by `text/event-stream`.
//!
//! ```no_run
//! # async fn demo() -> Result<(), bessemer_client::Error> {
//! let client = bessemer_client::Client::new("http://127.0.0.1:8480", Some("the token"))?;
//! for node in client.nodes(None, false).await? {
//!     println!("{}: {}", node.name, node.provision_state);
//! }
//! # Ok(()) }
//! ```

mod audit;
mod document;
mod error;
mod events;
mod images;
mod kexec;
mod networks;
mod nodes;
mod offers;
mod places;
mod ports;
mod servers;
mod sse;
mod tokens;
mod transport;

pub use document::Document;
pub use error::Error;
pub use events::EventStream;
pub use networks::Query;
pub use transport::Client;

/// Where the server listens unless it is told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8480";
