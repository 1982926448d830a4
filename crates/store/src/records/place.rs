//! Where things are: sites, racks, switches and their ports.

use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{RackId, SiteId, SwitchId};
use bessemer_core::network::IdPool;
use bessemer_core::switch::{SwitchDriver, VlanOverrides};

/// A site to be written down.
#[derive(Clone, Debug)]
pub struct NewSite {
    /// Its id.
    pub id: SiteId,
    /// Unique.
    pub name: String,
    /// In somebody's words; may be empty.
    pub description: String,
}

/// A site as it is stored.
#[derive(Clone, Debug)]
pub struct SiteRecord {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// In somebody's words; may be empty.
    pub description: String,
    /// Racks in it.
    pub racks: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A rack to be written down.
#[derive(Clone, Debug)]
pub struct NewRack {
    /// Its id.
    pub id: RackId,
    /// Unique.
    pub name: String,
    /// The site that it is in.
    pub site: SiteId,
    /// Where in the site, in somebody's words; may be empty.
    pub position: String,
}

/// A rack as it is stored.
#[derive(Clone, Debug)]
pub struct RackRecord {
    /// Its id.
    pub id: RackId,
    /// Its name.
    pub name: String,
    /// The site that it is in.
    pub site: SiteId,
    /// That site's name.
    pub site_name: String,
    /// Where in the site, in somebody's words; may be empty.
    pub position: String,
    /// Switches in it.
    pub switches: u64,
    /// Nodes in it.
    pub nodes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is changed of a rack; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct RackChanges {
    /// The site that it is in.
    pub site: Option<SiteId>,
    /// Where in the site.
    pub position: Option<String>,
}

/// The order of a list of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaceSort {
    /// By name.
    #[default]
    Name,
    /// By name, the last one first.
    NameDescending,
    /// The oldest first.
    Created,
    /// The newest first.
    CreatedDescending,
}

/// A switch to be written down.
#[derive(Clone)]
pub struct NewSwitch {
    /// Its id.
    pub id: SwitchId,
    /// Unique, and for good: the ports of nodes name it.
    pub name: String,
    /// How it is spoken to.
    pub driver: SwitchDriver,
    /// All else.
    pub settings: SwitchSettings,
}

/// What can be changed about a switch.
#[derive(Clone)]
pub struct SwitchSettings {
    /// The rack that it is in.
    pub rack: Option<RackId>,
    /// Where its management is, as its driver writes it; empty if it has none.
    pub address: String,
    /// The authority that signs its certificate (PEM).
    pub authority: Option<String>,
    /// The certificate that we show it (PEM).
    pub certificate: Option<String>,
    /// That certificate's key (PEM), sealed.
    pub key_sealed: Option<Vec<u8>>,
    /// Where tunnels to it end.
    pub tunnel_address: Option<IpAddr>,
    /// Its VLANs for VXLAN networks.
    pub tunnel_vlans: IdPool,
    /// The physical network that its ports reach, if that is declared.
    pub physical_network: Option<String>,
    /// Bytes of the longest IP packet that it forwards, if that is known.
    pub largest_mtu: Option<u16>,
    /// The VLANs that are other than the site's usual ones.
    pub vlans: VlanOverrides,
}

/// A switch as it is stored.
#[derive(Clone)]
pub struct SwitchRecord {
    /// Its id.
    pub id: SwitchId,
    /// Its name.
    pub name: String,
    /// The name of its rack.
    pub rack_name: Option<String>,
    /// How it is spoken to.
    pub driver: SwitchDriver,
    /// All else that is said about it.
    pub settings: SwitchSettings,
    /// Nodes with a port on it.
    pub nodes: u64,
    /// How it fares.
    pub health: SwitchHealth,
    /// Another one after every change of the switch.
    pub generation: u64,
    /// When it was written down.
    pub created_at: Timestamp,
}

/// How a switch fares, as far as anybody has asked it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchHealth {
    /// When it last answered as it should.
    pub read_at: Option<Timestamp>,
    /// Why it last did not, and when.
    pub error: Option<(String, Timestamp)>,
    /// Whether that was later.
    pub failing: bool,
}

/// Which switches a list holds.
#[derive(Clone, Debug, Default)]
pub struct SwitchFilter {
    /// Only those in this rack.
    pub rack: Option<RackId>,
    /// Only those in racks of this site.
    pub site: Option<SiteId>,
    /// Only those that are spoken to like this.
    pub driver: Option<SwitchDriver>,
}
