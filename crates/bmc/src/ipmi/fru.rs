//! Field replaceable unit storage: who made the machine, and its serial number.
//!
//! *Platform Management FRU Information Storage Definition* v1.0 rev 1.3; read by section 34.

use tokio::time::Instant;

use super::IpmiBmc;
use super::client::Command;
use crate::Error;

const GET_AREA_INFO: Command = Command {
    name: "Get FRU Inventory Area Info",
    network_function: 0x0a,
    number: 0x10,
};

const READ_FRU: Command = Command {
    name: "Read FRU Data",
    network_function: 0x0a,
    number: 0x11,
};

/// The machine's own FRU.
const MAIN_FRU: u8 = 0;

/// More than any BMC keeps for a machine.
const MOST_BYTES: usize = 4096;

/// Bytes asked for at once; halved for a BMC that finds them too many.
const LONGEST_READ: usize = 32;

/// Offsets in the common header (section 8) are in units of eight bytes.
const UNIT: usize = 8;
const COMMON_HEADER: usize = 8;
/// Marks the end of an area's fields.
const END_OF_FIELDS: u8 = 0xc1;

/// What the FRU says of the machine. Empty fields are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fru {
    chassis_serial: Option<String>,
    board_manufacturer: Option<String>,
    board_name: Option<String>,
    board_serial: Option<String>,
    product_manufacturer: Option<String>,
    product_name: Option<String>,
    product_serial: Option<String>,
}

impl Fru {
    /// The serial number that SMBIOS is likely to show: the product's, else the chassis's, else the
    /// board's.
    pub fn serial(&self) -> Option<String> {
        [
            &self.product_serial,
            &self.chassis_serial,
            &self.board_serial,
        ]
        .into_iter()
        .flatten()
        .next()
        .cloned()
    }

    /// Of the product, else of the board.
    pub fn manufacturer(&self) -> Option<String> {
        self.product_manufacturer
            .clone()
            .or_else(|| self.board_manufacturer.clone())
    }

    /// Of the product, else of the board.
    pub fn model(&self) -> Option<String> {
        self.product_name
            .clone()
            .or_else(|| self.board_name.clone())
    }

    /// What is in the storage, whatever its bytes. An area that is damaged is left out.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut fru = Self::default();
        let Some(header) = bytes.get(..COMMON_HEADER) else {
            return fru;
        };
        if header[0] & 15 != 1 || !sums_to_zero(header) {
            return fru;
        }
        // Chassis: type, then part number, serial.
        if let Some(area) = area(bytes, header[2]) {
            fru.chassis_serial = fields(area.get(3..)).nth(1).flatten();
        }
        // Board: language and three bytes of date, then maker, name, serial.
        if let Some(area) = area(bytes, header[3]) {
            let mut fields = fields(area.get(6..));
            fru.board_manufacturer = fields.next().flatten();
            fru.board_name = fields.next().flatten();
            fru.board_serial = fields.next().flatten();
        }
        // Product: language, then maker, name, part number, version, serial.
        if let Some(area) = area(bytes, header[4]) {
            let mut fields = fields(area.get(3..));
            fru.product_manufacturer = fields.next().flatten();
            fru.product_name = fields.next().flatten();
            fru.product_serial = fields.nth(2).flatten();
        }
        fru
    }
}

impl IpmiBmc {
    /// Reads the machine's FRU; an empty one where the BMC has none.
    pub(super) async fn read_fru(&self, deadline: Instant) -> Result<Fru, Error> {
        let info = self
            .client
            .ask(GET_AREA_INFO, &[MAIN_FRU], deadline)
            .await?;
        let (0, [low, high, ..]) = (info.code, &info.data[..]) else {
            return Ok(Fru::default());
        };
        let size = usize::from(u16::from_le_bytes([*low, *high])).min(MOST_BYTES);
        let mut bytes = Vec::with_capacity(size);
        let mut most = LONGEST_READ;
        while bytes.len() < size {
            let offset = (bytes.len() as u16).to_le_bytes();
            let count = most.min(size - bytes.len());
            let request = [MAIN_FRU, offset[0], offset[1], count as u8];
            let answer = self.client.ask(READ_FRU, &request, deadline).await?;
            match (answer.code, answer.data.split_first()) {
                (0, Some((read, data))) if *read > 0 && data.len() >= usize::from(*read) => {
                    bytes.extend_from_slice(&data[..usize::from(*read).min(count)]);
                }
                // Too many at once, in one of the several ways to say so.
                (0xc7 | 0xc8 | 0xca | 0xff, _) if most > 4 => most /= 2,
                _ => break,
            }
        }
        Ok(Fru::parse(&bytes))
    }
}

/// The area that begins at `offset`, without its checksum.
fn area(bytes: &[u8], offset: u8) -> Option<&[u8]> {
    if offset == 0 {
        return None;
    }
    let bytes = bytes.get(usize::from(offset) * UNIT..)?;
    let length = usize::from(*bytes.get(1)?) * UNIT;
    let area = bytes.get(..length)?;
    if length == 0 || !sums_to_zero(area) {
        return None;
    }
    area.get(..length - 1)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// The fields of an area, each a byte of type and length and that many bytes (section 13).
fn fields(bytes: Option<&[u8]>) -> impl Iterator<Item = Option<String>> {
    let mut rest = bytes.unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first()?;
        if *kind == END_OF_FIELDS {
            return None;
        }
        let (field, after) = after.split_at_checked(usize::from(kind & 0x3f))?;
        rest = after;
        let text = match kind >> 6 {
            // Binary has no text.
            0 => String::new(),
            1 => bcd_plus(field),
            2 => six_bit(field),
            _ => field.iter().map(|byte| char::from(*byte)).collect(),
        };
        let clean: String = text.chars().filter(|each| !each.is_control()).collect();
        let clean = clean.trim();
        Some((!clean.is_empty()).then(|| clean.to_owned()))
    })
}

fn bcd_plus(field: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789 -.   ";
    let halves = field.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

/// Four characters in three bytes, least significant bits first, counted from the space.
fn six_bit(field: &[u8]) -> String {
    let mut text = String::new();
    for piece in field.chunks(3) {
        let mut bits = 0_u32;
        for (index, byte) in piece.iter().enumerate() {
            bits |= u32::from(*byte) << (8 * index);
        }
        for index in 0..piece.len() * 8 / 6 {
            text.push(char::from(((bits >> (6 * index)) & 0x3f) as u8 + b' '));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        while bytes.len() % UNIT != UNIT - 1 {
            bytes.push(0);
        }
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.push(sum.wrapping_neg());
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        [&[0xc0 | text.len() as u8], text.as_bytes()].concat()
    }

    fn sample() -> Vec<u8> {
        let mut product = vec![1, 5, 25];
        for field in ["Maker", "Model 7", "PN", "v1", " SN0042 "] {
            product.extend(text(field));
        }
        product.push(END_OF_FIELDS);
        let product = with_checksum(product);
        assert_eq!(product.len(), 5 * UNIT);
        let header = with_checksum(vec![1, 0, 0, 0, 1, 0, 0]);
        [header, product].concat()
    }

    #[test]
    fn a_product_area_is_read() {
        let fru = Fru::parse(&sample());
        assert_eq!(fru.serial().as_deref(), Some("SN0042"));
        assert_eq!(fru.manufacturer().as_deref(), Some("Maker"));
        assert_eq!(fru.model().as_deref(), Some("Model 7"));
        let mut damaged = sample();
        damaged[20] ^= 1;
        assert_eq!(Fru::parse(&damaged), Fru::default());
    }

    #[test]
    fn packed_text_is_unpacked() {
        // The definition's own example, section 13.2.
        assert_eq!(six_bit(&[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(bcd_plus(&[0x12, 0xb3]), "12-3");
    }

    proptest! {
        #[test]
        fn any_storage_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Fru::parse(&bytes);
        }

        #[test]
        fn a_damaged_one_too(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = sample();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Fru::parse(&bytes);
        }
    }
}
