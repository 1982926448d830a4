//! VXLAN networks on switches, and the tunnels between these.

use bessemer_core::id::NetworkId;
use bessemer_core::network::IdRange;

/// A VXLAN network that a server is to be on, on the switch that its node is cabled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLocalNetwork {
    /// The network.
    pub network: NetworkId,
    /// The switch.
    pub switch: String,
    /// The switch's port that is to carry it.
    pub port: String,
    /// The VLANs that it may have there, if it has none yet, in rising order.
    pub vlans: Vec<IdRange>,
    /// Where these come from, for people.
    pub pool: String,
}

/// The VLAN that a VXLAN network has for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalVlan {
    /// The network.
    pub network: NetworkId,
    /// The switch that the server's node is cabled to.
    pub switch: String,
    /// Its VLAN on that switch, 1 to 4094.
    pub vlan: u16,
}

/// A network on a switch, for at least one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetworkRecord {
    /// The switch.
    pub switch: String,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// Its VLAN on this switch.
    pub vlan: u16,
    /// A port of the switch that carries it.
    pub port: String,
}

/// How far the tunnels of a switch are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelsWanted {
    /// The switch.
    pub switch: String,
    /// Rises with every change of what is wanted.
    pub wanted: i64,
    /// What that was when the switch was last read back with everything that was wanted.
    pub done: i64,
}

/// The tunnels of a switch, claimed: nobody else changes them until the lease runs out.
#[derive(Clone, Debug)]
pub struct TunnelWork {
    /// The switch.
    pub switch: String,
    /// How often they have been claimed.
    pub fence: i64,
    /// What is wanted of them, and what of that is done.
    pub wanted: i64,
    /// See [`TunnelsWanted::done`].
    pub done: i64,
    /// The networks that are on this switch, with every switch that they are on: by switch.
    pub networks: Vec<LocalNetworkRecord>,
}
