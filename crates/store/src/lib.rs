//! Every line of SQL of Bessemer, on SQLite (embedded, the default) and PostgreSQL.

mod error;
mod records;

pub use error::Error;
pub use records::*;
