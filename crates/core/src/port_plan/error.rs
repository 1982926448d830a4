//! Why there is no plan for a node's ports.

use crate::cause::Cause;
use crate::net::MacAddress;

/// What a plan was asked for and cannot contain. No port moves then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A cable leads to a switch that the site does not have.
    #[error(
        "port {mac} is on switch `{switch}`, which this site does not have: register the switch, or correct the port"
    )]
    UnknownSwitch {
        /// The node's port.
        mac: MacAddress,
        /// Where its cable is said to lead.
        switch: String,
    },
    /// Two cables lead to the same switch port.
    #[error(
        "port {switch_port} of switch `{switch}` is given for both {first} and {second}: correct one of them"
    )]
    PortTwice {
        /// The switch.
        switch: String,
        /// Its port.
        switch_port: String,
        /// One of the node's ports.
        first: MacAddress,
        /// The other.
        second: MacAddress,
    },
    /// The members of an LACP group are on different switches.
    #[error(
        "the ports of group `{group}` are on switches {switches}, which form no MLAG pair: LACP needs \
         them on one switch; use the group mode active_backup instead"
    )]
    GroupAcrossSwitches {
        /// The group.
        group: String,
        /// The switches' names.
        switches: String,
    },
    /// A number that no VLAN has.
    #[error("network `{network}`: VLAN {vlan} is not one of 1 to 4094")]
    BadVlan {
        /// The network.
        network: String,
        /// The number.
        vlan: u16,
    },
    /// A tenant's network would be one of the operator's own.
    #[error(
        "network `{network}`: VLAN {vlan} is the operator's own (parked, provisioning, standby or rescue)"
    )]
    OwnVlan {
        /// The network.
        network: String,
        /// The VLAN.
        vlan: u16,
    },
    /// Two networks of one carrier have the same VLAN, or one network is attached to it twice.
    #[error("networks `{first}` and `{second}` are both VLAN {vlan} on {carrier}")]
    VlanTwice {
        /// One network.
        first: String,
        /// The other.
        second: String,
        /// Their VLAN.
        vlan: u16,
        /// What would carry both.
        carrier: String,
    },
    /// Two networks of one carrier are untagged.
    #[error("networks `{first}` and `{second}` are both untagged on {carrier}: at most one can be")]
    NativeTwice {
        /// One network.
        first: String,
        /// The other.
        second: String,
        /// What would carry both.
        carrier: String,
    },
    /// The switch forwards no packets that long.
    #[error(
        "network `{network}`: an MTU of {mtu} is too large for switch `{switch}`, which forwards at most {limit}"
    )]
    MtuTooLarge {
        /// The network.
        network: String,
        /// Its MTU in bytes.
        mtu: u16,
        /// The switch.
        switch: String,
        /// The longest packet that it forwards, in bytes.
        limit: u16,
    },
    /// A network's carrier is none of the node's.
    #[error("network `{network}` is attached to {carrier}, which node `{node}` does not have")]
    NoSuchCarrier {
        /// The network.
        network: String,
        /// The carrier.
        carrier: String,
        /// The node.
        node: String,
    },
    /// A network is attached to one port of several that the switch uses as one.
    #[error(
        "network `{network}` is attached to port {mac}, which is bonded in group `{group}`: attach it to the group"
    )]
    BondedPort {
        /// The network.
        network: String,
        /// The port.
        mac: MacAddress,
        /// Its group.
        group: String,
    },
    /// Something of a plan is out of its bounds.
    #[error("port plan: {problem}")]
    OutOfBounds {
        /// What, and what the bounds are.
        problem: String,
    },
    /// What is known of a cable on a site without switch control contradicts the plan.
    #[error("port {port} of switch `{switch}`: {problem}")]
    Contradicted {
        /// The switch.
        switch: String,
        /// Its port.
        port: String,
        /// What was expected, what is known, and the remedy.
        problem: String,
    },
}

impl PlanError {
    /// What it is, in the catalogue's names. Why there is no plan is always an operator's to mend.
    pub fn cause(&self) -> Cause {
        match self {
            Self::UnknownSwitch { .. } | Self::PortTwice { .. } | Self::Contradicted { .. } => {
                Cause::WrongCabling
            }
            Self::GroupAcrossSwitches { .. }
            | Self::BadVlan { .. }
            | Self::OwnVlan { .. }
            | Self::VlanTwice { .. }
            | Self::NativeTwice { .. }
            | Self::MtuTooLarge { .. }
            | Self::NoSuchCarrier { .. }
            | Self::BondedPort { .. }
            | Self::OutOfBounds { .. } => Cause::SwitchCannotCarry,
        }
    }
}
