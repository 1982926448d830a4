//! An answer of the API: what it means, and exactly what it said.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A value together with the JSON that it was read from, so that whoever passes the JSON on
/// (`-o json`) passes on fields that this version does not know, too. Dereferences to the value
/// and serialises as the JSON.
#[derive(Clone, Debug)]
pub struct Document<T> {
    value: T,
    json: Box<RawValue>,
}

impl<T: DeserializeOwned> Document<T> {
    /// Reads `json`; fields that `T` does not have are passed over.
    ///
    /// # Errors
    /// When the JSON does not fit `T`.
    pub fn read(json: Box<RawValue>) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(json.get())?;
        Ok(Self { value, json })
    }
}

impl<T> Document<T> {
    /// The JSON as it came, to the byte.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    /// Only the value.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Document<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Serialize for Document<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}
