//! Typed identifiers, so that a server's id can never be handed to something that wants a node's.
//!
//! Each is a UUID with its own type. Making one needs randomness or a name, so it happens outside
//! of this crate; only [`BootId::of`] is derived here, because a boot must have the same identity
//! however often its intent is carried out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A physical machine.
    NodeId;
    /// What a tenant rents.
    ServerId;
    /// A disk image.
    ImageId;
    /// A class of hardware offered for rent.
    FlavorId;
    /// A layer-2 network.
    NetworkId;
    /// A subnet of a network.
    SubnetId;
    /// A place with racks.
    SiteId;
    /// A rack of a site.
    RackId;
    /// A switch.
    SwitchId;
    /// An SSH public key of a project.
    KeyPairId;
    /// Who owns servers and keys.
    ProjectId;
    /// An API token (not its secret).
    TokenId;
    /// One boot of the agent on one node.
    BootId;
}

impl BootId {
    /// The identity of the `number`th agent boot of `node`: the same whenever it is asked for.
    pub fn of(node: NodeId, number: u64) -> Self {
        Self(Uuid::new_v5(&node.0, format!("boot {number}").as_bytes()))
    }
}

/// How many times a node's spec has changed. Commands carry it; an agent refuses an older one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_identity_per_node_and_number() {
        let node = NodeId(Uuid::from_u128(1));
        assert_eq!(BootId::of(node, 3), BootId::of(node, 3));
        assert_ne!(BootId::of(node, 3), BootId::of(node, 4));
        assert_ne!(
            BootId::of(node, 3),
            BootId::of(NodeId(Uuid::from_u128(2)), 3)
        );
    }
}
