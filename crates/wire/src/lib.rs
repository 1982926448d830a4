//! The types that cross the wire: what the API takes and gives, what the agent and the conductor
//! say to each other, events, and the error document.
//!
//! Only types and their serialisation live here, so that the server, the command line, the agent
//! and the simulators share one spelling of every name. Requests refuse unknown fields; answers
//! and events may grow new ones.

pub mod agent;
pub mod api;
pub mod event;
pub mod problem;
