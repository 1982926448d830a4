//! What switches send.

use bessemer_fabric::read_ovsdb;

/// All that the database of an Open vSwitch sends over one connection.
pub(crate) fn ovsdb_stream(stream: &[u8]) {
    for state in read_ovsdb(stream) {
        // Said in messages for people.
        assert!(state.fault.unwrap_or_default().chars().count() <= 300);
        assert!(state.carries.to_string().len() < 20_000);
    }
}
