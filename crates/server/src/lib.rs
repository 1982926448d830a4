//! The server: one process that holds the API, the conductor, the agent protocol and the boot
//! services around one store.
//!
//! Where to look:
//! - [`config`]: what can be configured; [`start`](Server::start): how the parts are put together;
//! - [`conductor`]: the loop that moves nodes, and how intents are carried out;
//! - [`agents`]: what agents say and fetch; [`boot_services`]: how a machine comes to load one;
//! - [`api`]: what people and programs ask for; [`phone_home`]: how a new OS says that it is up;
//! - [`fabric`]: the switches; secrets: [`keyring`], [`sealing`]; [`peers`]: the other servers of the database.
//!
//! Only the conductor changes where a node is; everything else records what is wanted or seen, and
//! rings a bell ([`bells`]).

pub mod agents;
pub mod api;
mod attachments;
pub mod bells;
pub mod bmcs;
pub mod boot_services;
pub mod chunk_service;
pub mod clock;
pub mod commands;
pub mod conductor;
pub mod config;
mod data_folder;
mod evidence;
pub mod fabric;
mod failure;
pub mod heard;
pub mod hearing;
pub mod images;
pub mod keyring;
pub mod metrics;
mod open_files;
pub mod peers;
pub mod phone_home;
pub mod ramdisk;
pub mod sealing;
mod server;
mod serving;
pub mod sightings;
pub mod site;
mod tls_listener;
mod wiring;

pub use server::{Server, StartError, StartOptions};
