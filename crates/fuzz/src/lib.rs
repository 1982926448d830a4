//! Everything that a peer on the network sends, as functions of bytes that must bear any bytes.
//!
//! A BMC, a switch, a machine that boots, an agent and whoever made an image are never trusted: what
//! they send may be refused, and may neither end the process, nor keep it busy, nor fill its memory.
//! A [`Target`] is one thing that they send and how it is read: by the very functions that the server
//! and the agent call, without the connection. Each is tried in two ways:
//!
//! - `cargo fuzz` (`fuzz/` at the root, needs a nightly compiler) looks for inputs that lead where no
//!   input has led before, for as long as it is told;
//! - the bounded run (`tests/bounded.rs`, part of `make test`) damages the seeds of each target a
//!   fixed number of times, the same every time, and measures ([`measure`]) what reading them costs.
//!
//! Both know their targets from [`TARGETS`], and their seeds from `fuzz/seeds/`. An input that was
//! found to break something is a test with a name in `tests/regressions.rs`.

pub mod damage;
pub mod measure;

mod agent;
mod bmc;
mod boot;
mod image;
mod switch;

/// One thing that a peer sends, and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the program in `fuzz/`, and of the folder of its seeds.
    pub name: &'static str,
    /// Reads an input as the product does. Panics if the input does.
    pub read: fn(&[u8]),
    /// The longest input that makes sense: what the product takes at most, or what keeps a run short.
    pub longest: usize,
    /// What reading may hold in memory at once.
    pub memory: Memory,
    /// How the bounded run damages the seeds.
    pub kind: Kind,
    /// Inputs of the bounded run.
    pub inputs: u32,
}

/// A bound on memory, which grows with the input.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes for each byte of the input.
    pub per_byte: usize,
    /// Bytes for any input.
    pub fixed: usize,
}

impl Memory {
    /// The bound for an input of so many bytes, in bytes.
    pub fn of(self, length: usize) -> usize {
        self.per_byte * length + self.fixed
    }
}

/// What inputs look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes and lengths.
    Binary,
    /// JSON: members are damaged, too.
    Json,
}

/// For what is read in place, or into something about as large.
const SMALL: Memory = Memory {
    per_byte: 8,
    fixed: 16 << 10,
};

/// For JSON: a member of two bytes becomes a `serde_json::Value` of 32, in a list that has doubled, and
/// is read into something else beside it.
const OF_JSON: Memory = Memory {
    per_byte: 160,
    fixed: 64 << 10,
};

/// For text, which is made valid UTF-8 (three bytes for each that is not), and whose words and lines are kept
/// beside it.
const OF_TEXT: Memory = Memory {
    per_byte: 80,
    fixed: 16 << 10,
};

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "dhcp_request",
        read: boot::dhcp_request,
        longest: 1500,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 3000,
    },
    Target {
        name: "tftp_packet",
        read: boot::tftp_packet,
        longest: 1024,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 3000,
    },
    Target {
        name: "router_solicitation",
        read: boot::router_solicitation,
        longest: 256,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 1000,
    },
    Target {
        name: "redfish_answer",
        read: bmc::redfish_answer,
        longest: 64 << 10,
        memory: OF_JSON,
        kind: Kind::Json,
        inputs: 2000,
    },
    Target {
        name: "ipmi_datagram",
        read: bmc::ipmi_datagram,
        longest: 2048,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 1500,
    },
    Target {
        name: "ipmi_storage",
        read: bmc::ipmi_storage,
        longest: 4096,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 2000,
    },
    Target {
        name: "ovsdb_stream",
        read: switch::ovsdb_stream,
        longest: 64 << 10,
        memory: OF_JSON,
        kind: Kind::Json,
        inputs: 1500,
    },
    Target {
        name: "image_header",
        read: image::image_header,
        longest: 64 << 10,
        // What is compressed has decoders, with tables of their own.
        memory: Memory {
            per_byte: 16,
            fixed: 4 << 20,
        },
        kind: Kind::Binary,
        inputs: 2000,
    },
    Target {
        name: "image_chunk",
        read: image::image_chunk,
        longest: 16 << 10,
        memory: Memory {
            per_byte: 2,
            // What a chunk may unpack to here.
            fixed: 600 << 10,
        },
        kind: Kind::Binary,
        inputs: 1500,
    },
    Target {
        name: "image_checksums",
        read: image::image_checksums,
        longest: 16 << 10,
        memory: OF_TEXT,
        kind: Kind::Binary,
        inputs: 1000,
    },
    Target {
        name: "agent_request",
        read: agent::agent_request,
        longest: 64 << 10,
        memory: OF_JSON,
        kind: Kind::Json,
        inputs: 2000,
    },
    Target {
        name: "conductor_answer",
        read: agent::conductor_answer,
        longest: 64 << 10,
        memory: OF_JSON,
        kind: Kind::Json,
        inputs: 2000,
    },
    Target {
        name: "neighbor_frame",
        read: agent::neighbor_frame,
        longest: 1500,
        memory: SMALL,
        kind: Kind::Binary,
        inputs: 2000,
    },
    Target {
        name: "agent_start",
        read: agent::agent_start,
        longest: 4096,
        memory: OF_TEXT,
        kind: Kind::Binary,
        inputs: 1500,
    },
    Target {
        name: "boot_loader",
        read: agent::boot_loader,
        longest: 16 << 10,
        memory: OF_TEXT,
        kind: Kind::Binary,
        inputs: 1000,
    },
];

/// The target of this name.
///
/// # Panics
/// If there is none: names are written in programs and tests only.
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target is called {name}"))
}
