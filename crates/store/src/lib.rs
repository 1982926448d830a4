//! Every line of SQL of Bessemer, on SQLite (embedded, the default) and PostgreSQL.
//!
//! One place for SQL, so that the rules that only a database can keep are kept in one place: a
//! node belongs to one conductor at a time and to one order at most, an address to one server, and
//! whatever belongs together is committed together or not at all. Nothing here decides what a node
//! does next (that is `bessemer_core::lifecycle`), does any other I/O, or sees a plain secret.
//!
//! Where to look:
//! - `records`: rows as the rest of the server sees them;
//! - `reconcile`: claim, read, commit: how the conductor moves a node; `passing`: deciding as news are stored;
//!   `leases`: claims that cannot be right;
//! - `node_texts`: lists of nodes, as their rows have them;
//! - `nodes`, `ports`, `wishes`, `actions`, `boots`, `servers`, `orders`, `rebuilds`, `images`,
//!   `catalogue`, `networks`, `subnets`, `tokens`, `events`, `audit`: a subject each;
//! - `addresses`: giving them to servers and taking them back; `attachments`: which networks servers
//!   are on; `reservations`: what people do with addresses; `address_history`: who had which;
//! - `places`: sites and racks; `switches`, and `switch_ports`: what they were last seen to carry;
//! - `powers`: which machines are on; `conductors`: which servers are alive, and where;
//! - `sightings`: what servers have seen of nodes, for each other;
//! - `standby`: nodes that wait in the agent; `kexec`: where that is known to work or to fail;
//! - `store`: the handle, and what every commit goes through; `open`: connections; `schema`: migrations;
//!   `wake`: telling other servers on the same database; `postgres`: what happens while that is away;
//! - `sealing`: secrets under an older key, and the same under a newer one;
//! - `database`, `value`, `page`: one SQL text for both databases; `sqlite`: the embedded one.

mod actions;
mod address_history;
mod addresses;
mod attachments;
mod audit;
mod boots;
mod catalogue;
mod claims;
mod conductors;
mod database;
mod drift;
mod error;
mod events;
mod images;
mod intents;
mod inventories;
mod kexec;
mod leases;
mod networks;
mod node_texts;
mod nodes;
mod open;
mod orders;
mod overlay;
mod page;
mod passing;
mod places;
#[cfg(test)]
mod plans;
mod ports;
mod postgres;
mod powers;
mod rebuilds;
mod reconcile;
mod records;
mod reservations;
mod schema;
mod sealing;
mod servers;
mod sightings;
mod sqlite;
mod standby;
mod store;
mod subnets;
mod switch_ports;
mod switches;
mod tokens;
mod value;
mod wake;
mod wishes;

pub use audit::{Asked, NewAuditRequest};
pub use claims::Claimed;
pub use conductors::ConductorRecord;
pub use error::Error;
pub use node_texts::NodeText;
pub use open::Location;
pub use passing::{Decide, Reported};
pub use powers::{PowerCounts, PowerWatch};
pub use reconcile::{Committed, Ended, Turn};
pub use records::*;
pub use sealing::{SealedPlace, SealedValue};
pub use store::{Gate, GatePoint, Outages, Store, StoreOptions, When, Witness};
pub use wake::Wake;
