//! The simulated management controller, over the wire, as a client meets it.

mod faults;
mod media;
mod power;
mod protocol;
mod sessions;
mod support;
mod transport;
