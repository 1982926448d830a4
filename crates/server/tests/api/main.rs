//! The API over HTTP, as people and programs call it: a real server's routes on a real database, without a
//! conductor. A file for each subject; `support` starts the server and asks it.

mod audit;
mod catalogue;
mod events;
mod images;
mod networks;
mod nodes;
mod openapi;
mod ports;
mod problems;
mod root_disk;
mod servers;
mod servers_on_networks;
mod support;
mod switches;
mod verbs;
