//! Why a network cannot be carried, and why a node cannot be wired as is said.

use crate::net::MacAddress;

/// A network that nothing on a node can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// What was asked to carry it is not there.
    #[error("network `{network}`: node `{node}` has no port or port group `{asked}`, but {ports}")]
    NoSuchCarrier {
        /// The network.
        network: String,
        /// What was asked for.
        asked: String,
        /// The node.
        node: String,
        /// What it has.
        ports: String,
    },
    /// A port of a bond was asked for.
    #[error(
        "network `{network}`: port {mac} is bonded in group `{group}`: ask for the group instead"
    )]
    BondedPort {
        /// The network.
        network: String,
        /// The port.
        mac: MacAddress,
        /// Its group.
        group: String,
    },
    /// What was asked to carry it is part of another physical network.
    #[error(
        "network `{network}` is part of physical network `{wanted}`, but {carrier} of node `{node}` \
         leads to `{found}`"
    )]
    Elsewhere {
        /// The network.
        network: String,
        /// Its physical network.
        wanted: String,
        /// What was asked for.
        carrier: String,
        /// The node.
        node: String,
        /// Where that leads to.
        found: String,
    },
    /// No port leads to the network's physical network.
    #[error(
        "network `{network}` is part of physical network `{wanted}`, to which no port of node \
         `{node}` leads: it has {ports}"
    )]
    NoneFits {
        /// The network.
        network: String,
        /// Its physical network.
        wanted: String,
        /// The node.
        node: String,
        /// What it has, each with its physical network.
        ports: String,
    },
    /// There is nothing that could carry anything.
    #[error("network `{network}`: node `{node}` has no ports")]
    NoPorts {
        /// The network.
        network: String,
        /// The node.
        node: String,
    },
    /// Two networks without tags on one port.
    #[error("networks `{first}` and `{second}` are both native on {carrier}: tag one of them")]
    TwoNative {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What would carry both.
        carrier: String,
    },
    /// A tagged network with larger packets than the native one beside it.
    #[error(
        "network `{tagged}` has an MTU of {larger} bytes, and `{native}`, which is native on the \
         same port, of {smaller}: tag both, or put them on two ports"
    )]
    Mtu {
        /// The tagged network.
        tagged: String,
        /// Its MTU.
        larger: u16,
        /// The native network.
        native: String,
        /// Its MTU.
        smaller: u16,
    },
}

/// A way in which a node cannot be wired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WiringError {
    /// The name of a port group is none.
    #[error(
        "`{0}` is no name of a port group: use 1 to 63 letters, digits, dashes, dots and \
         underscores, beginning with a letter or digit, and no MAC address"
    )]
    BadGroupName(String),
    /// Two groups have one name.
    #[error("there are two port groups `{0}`")]
    GroupTwice(String),
    /// A port is in a group that is not there.
    #[error("port {0} is in port group `{1}`, which there is not")]
    NoGroup(MacAddress, String),
    /// A group of less than two ports.
    #[error("port group `{0}` has {1} ports: it needs two at least")]
    TooFewMembers(String, usize),
    /// The members of an LACP group are on different switches.
    #[error(
        "the ports of port group `{group}` are on switches {switches}, which form no MLAG pair: LACP \
         needs them on one switch; use the mode active_backup instead"
    )]
    GroupAcrossSwitches {
        /// The group.
        group: String,
        /// The switches' names.
        switches: String,
    },
    /// Of some members of an LACP group it is not known where their cables lead.
    #[error(
        "port {mac} of port group `{group}` is not cabled to a switch, and others are: LACP needs all \
         of them on one switch; say where its cable leads, or use the mode active_backup"
    )]
    MemberWithoutCable {
        /// The group.
        group: String,
        /// The port.
        mac: MacAddress,
    },
    /// The members of a bond lead to different physical networks.
    #[error("the ports of port group `{group}` lead to physical networks {networks}: bond others")]
    GroupAcrossNetworks {
        /// The group.
        group: String,
        /// The physical networks.
        networks: String,
    },
    /// Two cables lead to one switch port.
    #[error(
        "port {port} of switch `{switch}` is given for both {first} and {second}: correct one of them"
    )]
    CableTwice {
        /// The switch.
        switch: String,
        /// Its port.
        port: String,
        /// One of the node's ports.
        first: MacAddress,
        /// The other.
        second: MacAddress,
    },
    /// Two ports are said to boot.
    #[error("ports {0} and {1} are both said to boot: one can")]
    TwoBoot(MacAddress, MacAddress),
}
