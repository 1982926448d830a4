//! What a switch's database sends, put before every reader that there is.
//!
//! On a connection each answer belongs to the question before it. What is answered is up to the switch, so
//! every reader must bear any answer: this is how a fuzzer has them all bear one, without a connection.

use std::collections::BTreeMap;

use bessemer_core::port_plan::PortState;
use serde_json::Value;

use super::connection::{Heard, LONGEST_MESSAGE, heard, results_of, rows_of};
use super::notation::Row;
use super::rows::{Interface, Port, Rows};
use super::splitter::Splitter;
use super::{change, tunnel};

/// The request that answers are taken to be for.
const REQUEST: u64 = 1;

/// Ports that are changed at once here; plans are ours, and as many as a node has ports.
const MOST_PLANS: usize = 8;

/// Pieces in which a stream arrives, in bytes.
const PIECE: usize = 1000;

/// Reads `stream`, all that a switch sends over one connection (RFC 7047, section 4), until it makes no sense.
/// The results of each answer are read as interfaces, ports, their bridges and tunnels, and as counters. Gives the
/// states of the ports. Never panics, whatever the bytes.
pub fn read(stream: &[u8]) -> Vec<PortState> {
    let mut splitter = Splitter::new(LONGEST_MESSAGE);
    let mut states = Vec::new();
    for piece in stream.chunks(PIECE) {
        splitter.push(piece);
        loop {
            match splitter.next() {
                Ok(Some(message)) => states.extend(read_message(&message)),
                Ok(None) => break,
                Err(_) => return states,
            }
        }
    }
    states
}

fn read_message(message: &[u8]) -> Vec<PortState> {
    let Ok(message) = serde_json::from_slice::<Value>(message) else {
        return Vec::new();
    };
    let Heard::Answer(Ok(result)) = heard(message, REQUEST) else {
        return Vec::new();
    };
    let count = result.as_array().map_or(0, Vec::len);
    let Ok(results) = results_of(result, count) else {
        return Vec::new();
    };
    let found = results.into_iter().filter_map(rows_of);
    read_rows(found.flatten().collect())
}

/// Every row as an interface and as a port, which is in the bridge that the row is.
fn read_rows(found: Vec<Row>) -> Vec<PortState> {
    let mut rows = Rows {
        interfaces: found.iter().cloned().filter_map(Interface::of).collect(),
        ports: found.iter().cloned().filter_map(Port::of).collect(),
    };
    for port in &mut rows.ports {
        port.is_in(&found);
    }
    let tunnels = tunnel::found_in(&rows);
    let none = BTreeMap::new();
    let _ = (
        tunnel::fault(&tunnels),
        tunnel::differences(&tunnels, &none),
    );
    let _ = tunnel::operations("switch", &tunnels, &none, &rows);
    let few = rows.ports.iter().take(MOST_PLANS);
    let as_they_were: Vec<_> = few.map(change::Wanted::as_it_was).collect();
    let _ = change::is_idle(&change::operations(&rows, &as_they_were));
    let _ = change::mtu_as_it_was(&rows, &rows);
    let names: Vec<_> = rows
        .interfaces
        .iter()
        .map(|each| each.name.clone())
        .collect();
    rows.states(&names)
}
