//! What can be bound to a statement: text or a 64-bit integer, or the lack of either.
//!
//! Two kinds are enough for both databases, and are the reason that one SQL text serves both:
//! times are milliseconds since the epoch, addresses are numbers, flags are 0 and 1, everything
//! compound is JSON, and sealed secrets are base64.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use bessemer_core::Timestamp;
use bessemer_core::id::{
    BootId, FlavorId, Generation, ImageId, KeyPairId, NetworkId, NodeId, ProjectId, RackId,
    ServerId, SiteId, SubnetId, SwitchId, TokenId,
};
use bessemer_core::lifecycle::IntentKey;
use bessemer_core::net::MacAddress;
use bessemer_core::subnet::IpSubnet;
use serde::Serialize;

use crate::Error;

/// A value to be bound.
pub(crate) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
}

/// A list of values to be bound, in the order of their numbers in the statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use values;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(Some(integer))
    }
}

impl From<Option<i64>> for Value {
    fn from(integer: Option<i64>) -> Self {
        Self::Integer(integer)
    }
}

impl From<u32> for Value {
    fn from(integer: u32) -> Self {
        Self::Integer(Some(integer.into()))
    }
}

impl From<u64> for Value {
    /// Counters and sizes in bytes: none reaches 2^63.
    fn from(integer: u64) -> Self {
        Self::Integer(Some(i64::try_from(integer).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Integer(Some(flag.into()))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Integer(time.map(|time| time.as_millisecond()))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(Some(time.as_millisecond()))
    }
}

impl From<Generation> for Value {
    fn from(generation: Generation) -> Self {
        generation.0.into()
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        u32::from(address).into()
    }
}

macro_rules! as_text {
    ($($type:ty)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Text(Some(value.to_string()))
            }
        }

        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                Self::Text(value.map(|value| value.to_string()))
            }
        }
    )*};
}

as_text! {
    NodeId ServerId ImageId FlavorId NetworkId SubnetId KeyPairId ProjectId TokenId BootId SiteId RackId
    SwitchId IpAddr IpSubnet MacAddress &IntentKey
}

/// A compound value as it is stored.
pub(crate) fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Corrupt {
        what,
        message: error.to_string(),
    })
}

/// The same, or nothing.
pub(crate) fn optional_json<T: Serialize>(
    what: &'static str,
    value: Option<&T>,
) -> Result<Option<String>, Error> {
    value.map(|value| json(what, value)).transpose()
}

/// A value that serialises as a plain string, without the quotes.
pub(crate) fn name<T: Serialize>(what: &'static str, value: &T) -> Result<String, Error> {
    Ok(json(what, value)?.trim_matches('"').to_owned())
}

/// A sealed secret as it is stored.
pub(crate) fn sealed(secret: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret)
}

/// When something is due, in whole milliseconds, rounded up: rounded down, a node would be found
/// due before its deadline has passed, and be looked at over and over within that millisecond.
pub(crate) fn due(time: Timestamp) -> i64 {
    let milliseconds = time.as_millisecond();
    if time.subsec_nanosecond() % 1_000_000 == 0 {
        milliseconds
    } else {
        milliseconds + 1
    }
}
