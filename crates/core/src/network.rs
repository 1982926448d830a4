//! What networks are: their kinds, who may use them, and the numbers that tell them apart on the
//! wire.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// The least and the greatest id of a VLAN (IEEE 802.1Q: 0 and 4095 are reserved).
pub const VLAN_IDS: IdRange = IdRange {
    first: 1,
    last: 4094,
};

/// The least and the greatest VXLAN network identifier (RFC 7348 section 5: 24 bits; 0 is left out,
/// as switches do).
pub const VNIS: IdRange = IdRange {
    first: 1,
    last: 0x00ff_ffff,
};

/// What a network is on the switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// One VLAN, the same on every switch.
    #[default]
    Vlan,
    /// A VXLAN segment between switches, and a VLAN of its own on each.
    Vxlan,
}

/// Who may put servers on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkScope {
    /// Every project; servers are reached on it from outside. Operators make it.
    Public,
    /// One project, whose own it is.
    Private,
    /// Every project, for something inside of the site, such as storage. Operators make it.
    Shared,
}

macro_rules! stored_names {
    ($type:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name under which it is stored and sent.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

stored_names! { NetworkKind { Vlan = "vlan", Vxlan = "vxlan" } }
stored_names! { NetworkScope { Public = "public", Private = "private", Shared = "shared" } }

/// Numbers from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first.
    pub first: u32,
    /// The last, not before the first.
    pub last: u32,
}

impl IdRange {
    /// Whether `id` is one of them.
    pub fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// What is left of it without `taken`, in rising order.
    pub fn without(self, taken: &[Self]) -> Vec<Self> {
        let mut taken = taken.to_vec();
        taken.sort_unstable_by_key(|range| range.first);
        let mut left = Vec::new();
        let mut first = self.first;
        for range in taken {
            if range.last < first || range.first > self.last {
                continue;
            }
            if first < range.first {
                let last = range.first - 1;
                left.push(Self { first, last });
            }
            first = range.last.saturating_add(1);
        }
        if first <= self.last {
            let last = self.last;
            left.push(Self { first, last });
        }
        left
    }
}

/// Numbers from which networks are given theirs: ranges such as `100-1999,3000-3999`, in rising
/// order and apart.
#[derive(Clone, PartialEq, Eq)]
pub struct IdPool(Vec<IdRange>);

/// Text that is no pool of numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pool: write ranges such as 100-1999,3000-3999, in rising order")]
pub struct ParseIdPoolError(String);

impl IdPool {
    /// Its ranges.
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// Whether all of it lies in `range`.
    pub fn lies_in(&self, range: IdRange) -> bool {
        let inside = |own: &IdRange| range.contains(own.first) && range.contains(own.last);
        self.0.iter().all(inside)
    }

    /// What is left of it without `taken`.
    pub fn without(&self, taken: &[u32]) -> Vec<IdRange> {
        let one = |id: &u32| IdRange {
            first: *id,
            last: *id,
        };
        let taken: Vec<_> = taken.iter().map(one).collect();
        let ranges = self.0.iter();
        ranges.flat_map(|range| range.without(&taken)).collect()
    }
}

impl From<IdRange> for IdPool {
    fn from(range: IdRange) -> Self {
        Self(vec![range])
    }
}

impl FromStr for IdPool {
    type Err = ParseIdPoolError;

    fn from_str(text: &str) -> Result<Self, ParseIdPoolError> {
        let wrong = || ParseIdPoolError(text.chars().take(60).collect());
        let mut ranges: Vec<IdRange> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            let rises = ranges.last().is_none_or(|before| before.last < first);
            if first > last || !rises {
                return Err(wrong());
            }
            ranges.push(IdRange { first, last });
        }
        Ok(Self(ranges))
    }
}

impl fmt::Display for IdPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, IdRange { first, last }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last {
                write!(formatter, "{comma}{first}")?;
            } else {
                write!(formatter, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IdPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for IdPool {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IdPool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored and sent (invariant 7), both ways.
    #[test]
    fn names_are_pinned() {
        let kinds: Vec<_> = NetworkKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(kinds, ["vlan", "vxlan"]);
        let scopes: Vec<_> = NetworkScope::ALL.iter().map(|scope| scope.name()).collect();
        assert_eq!(scopes, ["public", "private", "shared"]);
        for kind in NetworkKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            let read: NetworkKind = serde_json::from_value(kind.name().into()).unwrap();
            assert_eq!(read, *kind);
        }
        for scope in NetworkScope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
            let read: NetworkScope = serde_json::from_value(scope.name().into()).unwrap();
            assert_eq!(read, *scope);
        }
    }

    #[test]
    fn pools_are_ranges_in_rising_order() {
        for text in ["100-1999", "100-199,300,400-499", "7"] {
            assert_eq!(text.parse::<IdPool>().unwrap().to_string(), text);
        }
        for wrong in ["", "9-1", "1-5,5-9", "5,1", "1-", "-5", "a-b", "1,,2"] {
            assert!(wrong.parse::<IdPool>().is_err(), "{wrong}");
        }
        let pool: IdPool = "100-4094".parse().unwrap();
        assert!(pool.lies_in(VLAN_IDS));
        assert!(!"0-5".parse::<IdPool>().unwrap().lies_in(VLAN_IDS));
        assert!(!"4000-4095".parse::<IdPool>().unwrap().lies_in(VLAN_IDS));
        assert!("16777215".parse::<IdPool>().unwrap().lies_in(VNIS));
    }

    #[test]
    fn what_is_taken_is_left_out() {
        let pool: IdPool = "10-20,30".parse().unwrap();
        let left = |taken: &[u32]| {
            let ranges = pool.without(taken);
            let texts: Vec<_> = ranges
                .iter()
                .map(|range| format!("{}-{}", range.first, range.last))
                .collect();
            texts.join(" ")
        };
        assert_eq!(left(&[]), "10-20 30-30");
        assert_eq!(left(&[30, 20, 10, 15, 5, 15]), "11-14 16-19");
        assert_eq!(left(&[12, 13]), "10-11 14-20 30-30");
    }
}
