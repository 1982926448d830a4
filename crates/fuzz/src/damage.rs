//! How good inputs are damaged.
//!
//! Bytes at random hardly get past a magic number. Inputs that do the harm are good ones with something
//! wrong in them: a length that lies, a number at the edge, a member of another type, an end that is
//! missing. One [`Damage`] is one such change; the bounded run applies a few to a seed, and when
//! something breaks, takes away those that do not matter.

use proptest::prelude::*;
use serde_json::Value;

use crate::Kind;

/// One change. Which one, where and with what is derived from the numbers, whatever the input is, so
/// that any numbers are a change of any input.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    way: u8,
    place: u32,
    value: u64,
}

/// Any damage.
pub fn any_damage() -> impl Strategy<Value = Damage> {
    (any::<u8>(), any::<u32>(), any::<u64>()).prop_map(|(way, place, value)| Damage {
        way,
        place,
        value,
    })
}

/// Numbers at edges.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX >> 1,
    u64::MAX,
];

/// What stands for any member of JSON.
const MEMBERS: [&str; 14] = [
    "null",
    "true",
    "0",
    "-1",
    "18446744073709551615",
    "1e308",
    "\"\"",
    "\"\\u0000\\ufffd\\n\"",
    "[]",
    "{}",
    "[[[[[[[[]]]]]]]]",
    "{\"@odata.id\":\"//elsewhere/x\"}",
    "[null,null,null]",
    "\"On\"",
];

/// Longer than every bound on one text.
const LONG_TEXT: usize = 6000;

/// `seed` with every damage done to it in turn, and no longer than `longest` bytes.
pub fn damaged(seed: &[u8], damages: &[Damage], kind: Kind, longest: usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for damage in damages {
        // Every other damage to JSON leaves it JSON.
        match kind {
            Kind::Json if damage.way % 2 == 0 => damage.of_json(&mut bytes),
            _ => damage.of_bytes(&mut bytes),
        }
        bytes.truncate(longest);
    }
    bytes
}

impl Damage {
    fn index(&self, length: usize) -> usize {
        self.place as usize % length.max(1)
    }

    fn of_bytes(&self, bytes: &mut Vec<u8>) {
        let at = self.index(bytes.len());
        match self.way / 2 % 10 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), self.value as u8),
            2 => drop(bytes.drain(at..(at + self.value as usize % 64).min(bytes.len()))),
            3 => self.repeat(bytes, at),
            4..=6 => self.put_number(bytes, at),
            7 => bytes.extend(std::iter::repeat_n(
                self.value as u8,
                self.value as usize % 600,
            )),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (self.value % 8);
                }
            }
        }
    }

    /// The bytes at `at` once more, some times over.
    fn repeat(&self, bytes: &mut Vec<u8>, at: usize) {
        let length = (self.value as usize >> 8) % 64;
        let piece = bytes[at.min(bytes.len())..(at + length).min(bytes.len())].to_vec();
        let again = piece.repeat(1 + self.value as usize % 40);
        bytes.splice(at.min(bytes.len())..at.min(bytes.len()), again);
    }

    /// A number of one, two, four or eight bytes, either end first: at an edge, or any.
    fn put_number(&self, bytes: &mut [u8], at: usize) {
        let number = match self.value % 3 {
            0 => self.value >> 8,
            _ => EDGES[(self.value >> 8) as usize % EDGES.len()],
        };
        let width = 1 << ((self.value >> 2) % 4);
        let mut number = number.to_le_bytes()[..width].to_vec();
        if self.value & 0x80 != 0 {
            number.reverse();
        }
        for (place, byte) in bytes.iter_mut().skip(at).zip(number) {
            *place = byte;
        }
    }

    fn of_json(&self, bytes: &mut Vec<u8>) {
        let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else {
            return self.of_bytes(bytes);
        };
        let count = count(&document);
        let mut left = self.index(count);
        if let Some(member) = nth(&mut document, &mut left) {
            *member = self.member(member);
        }
        *bytes = document.to_string().into_bytes();
    }

    fn member(&self, old: &Value) -> Value {
        let choice = self.value as usize % (MEMBERS.len() + 3);
        match (choice.checked_sub(MEMBERS.len()), old) {
            (None, _) => serde_json::from_str(MEMBERS[choice]).unwrap_or_default(),
            (Some(0), _) => "x".repeat(LONG_TEXT).into(),
            (Some(1), Value::Array(list)) => {
                let many = list.iter().cycle().take(list.len() * 60);
                many.cloned().collect::<Vec<_>>().into()
            }
            (Some(1), Value::String(text)) => format!("{text}/{}", self.value).into(),
            (Some(_), old) => vec![old.clone(); 3].into(),
        }
    }
}

/// Members of a document, itself among them.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The member after `left` others.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|member| nth(member, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        _ => None,
    }
}
