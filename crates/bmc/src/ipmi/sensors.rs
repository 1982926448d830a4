//! Sensors: the sensor data records (sections 33 and 43) and their readings (section 35.14).

use tokio::time::Instant;

use super::IpmiBmc;
use super::client::Command;
use crate::Error;

const RESERVE: Command = Command {
    name: "Reserve SDR Repository",
    network_function: 0x0a,
    number: 0x22,
};

const GET_RECORD: Command = Command {
    name: "Get SDR",
    network_function: 0x0a,
    number: 0x23,
};

const GET_READING: Command = Command {
    name: "Get Sensor Reading",
    network_function: 0x04,
    number: 0x2d,
};

/// More records than any machine has; a repository that goes round in circles ends here.
const MOST_RECORDS: usize = 512;
/// How often the walk begins anew because the repository changed meanwhile.
const MOST_WALKS: u32 = 3;
const LAST_RECORD: u16 = 0xffff;

const RECORD_HEADER: usize = 5;
/// Bytes of a record asked for at once: some BMCs give no more.
const LONGEST_READ: usize = 16;
const RESERVATION_LOST: u8 = 0xc5;

/// A full sensor record, the kind with numbers.
const FULL_SENSOR: u8 = 0x01;

/// A sensor and what it reads now.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Its name, as the BMC has it.
    pub name: String,
    /// Its reading in `unit`; `None` where there is none at this moment, as of most sensors of a
    /// machine that is off.
    pub value: Option<f64>,
    /// The unit (table 43-15): `°C`, `V`, `A`, `W`, `RPM`, `%`, or its number.
    pub unit: String,
}

/// What a full sensor record says of the sensor (table 43-1).
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    number: u8,
    name: String,
    unit: String,
    format: Format,
    multiplier: i32,
    offset: i32,
    offset_exponent: i32,
    result_exponent: i32,
    linear: bool,
}

/// How the raw reading counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

impl IpmiBmc {
    /// The machine's analog sensors and their readings: hundreds of requests on a large machine.
    ///
    /// # Errors
    /// As every call: an unreachable BMC, a refused account. Sensors that cannot be read have no
    /// value.
    pub async fn sensors(&self, deadline: Instant) -> Result<Vec<Sensor>, Error> {
        let mut records = Vec::new();
        for _ in 0..MOST_WALKS {
            if let Some(found) = self.walk(deadline).await? {
                records = found;
                break;
            }
        }
        let mut sensors = Vec::with_capacity(records.len());
        for record in records {
            let number = [record.number];
            let answer = self.client.ask(GET_READING, &number, deadline).await?;
            let value = match (answer.code, &answer.data[..]) {
                // Scanning is on, and the reading is one.
                (0, [raw, flags, ..]) if flags & 0x60 == 0x40 => record.convert(*raw),
                _ => None,
            };
            sensors.push(Sensor {
                name: record.name,
                value,
                unit: record.unit,
            });
        }
        Ok(sensors)
    }

    /// All full sensor records; `None` if the repository changed in the meantime.
    async fn walk(&self, deadline: Instant) -> Result<Option<Vec<Record>>, Error> {
        let reservation = self.client.ask(RESERVE, &[], deadline).await?;
        let reservation = match (reservation.code, &reservation.data[..]) {
            (0, [low, high, ..]) => [*low, *high],
            _ => [0, 0],
        };
        let mut records = Vec::new();
        let mut id = 0;
        for _ in 0..MOST_RECORDS {
            let header = self
                .part(reservation, id, 0, RECORD_HEADER, deadline)
                .await?;
            let Some((next, header)) = header else {
                return Ok(None);
            };
            let [_, _, _, kind, length] = header[..] else {
                break;
            };
            if kind == FULL_SENSOR {
                let Some(body) = self.body(reservation, id, length, deadline).await? else {
                    return Ok(None);
                };
                records.extend(Record::parse(&body));
            }
            if next == LAST_RECORD || next == id {
                break;
            }
            id = next;
        }
        Ok(Some(records))
    }

    /// A record without its header, in pieces.
    async fn body(
        &self,
        reservation: [u8; 2],
        id: u16,
        length: u8,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut body = Vec::new();
        while body.len() < usize::from(length) {
            let count = LONGEST_READ.min(usize::from(length) - body.len());
            let offset = RECORD_HEADER + body.len();
            match self.part(reservation, id, offset, count, deadline).await? {
                Some((_, part)) if !part.is_empty() => body.extend(part),
                Some(_) => break,
                None => return Ok(None),
            }
        }
        Ok(Some(body))
    }

    /// Part of a record, and the next record's id. Nothing at the end of the repository or of
    /// what this BMC lets be read; `None` when the reservation is lost.
    async fn part(
        &self,
        reservation: [u8; 2],
        id: u16,
        offset: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Option<(u16, Vec<u8>)>, Error> {
        let [low, high] = id.to_le_bytes();
        let offset = u8::try_from(offset).unwrap_or(u8::MAX);
        let request = [
            reservation[0],
            reservation[1],
            low,
            high,
            offset,
            count as u8,
        ];
        let answer = self.client.ask(GET_RECORD, &request, deadline).await?;
        Ok(match (answer.code, answer.data.split_first_chunk::<2>()) {
            (RESERVATION_LOST, _) => None,
            (0, Some((next, part))) => {
                let part = part[..part.len().min(count)].to_vec();
                Some((u16::from_le_bytes(*next), part))
            }
            _ => Some((LAST_RECORD, Vec::new())),
        })
    }
}

impl Record {
    /// Reads a record without its header, whatever its bytes; `None` if it is of no sensor with numbers.
    /// Offsets are those of table 43-1, less the five bytes of the header.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let at = |offset: usize| body.get(offset).copied().map(i32::from);
        let signed = |low: i32, high: i32| sign(low | (high & 0xc0) << 2, 10);
        let exponents = at(24)?;
        let format = match at(15)? >> 6 {
            0 => Format::Unsigned,
            1 => Format::OnesComplement,
            2 => Format::TwosComplement,
            // No analog reading.
            _ => return None,
        };
        Some(Self {
            number: *body.get(2)?,
            name: name(body.get(42)?, body.get(43..)?),
            unit: unit(*body.get(16)?),
            format,
            linear: at(18)? & 0x7f == 0,
            multiplier: signed(at(19)?, at(20)?),
            offset: signed(at(21)?, at(22)?),
            result_exponent: sign(exponents >> 4, 4),
            offset_exponent: sign(exponents & 15, 4),
        })
    }

    /// A raw reading in the sensor's unit (section 36.3); `None` for the rare ones that are not
    /// linear.
    pub fn convert(&self, raw: u8) -> Option<f64> {
        if !self.linear {
            return None;
        }
        let raw = match self.format {
            Format::Unsigned => f64::from(raw),
            Format::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Format::OnesComplement => f64::from(raw),
            Format::TwosComplement => f64::from(raw.cast_signed()),
        };
        let offset = f64::from(self.offset) * 10_f64.powi(self.offset_exponent);
        Some((f64::from(self.multiplier) * raw + offset) * 10_f64.powi(self.result_exponent))
    }
}

/// The number in the low `bits` bits, in two's complement.
fn sign(value: i32, bits: u32) -> i32 {
    let shift = i32::BITS - bits;
    value << shift >> shift
}

fn name(kind: &u8, text: &[u8]) -> String {
    let text = &text[..text.len().min(usize::from(kind & 0x1f))];
    let characters = text.iter().map(|byte| char::from(*byte));
    let clean: String = characters.filter(|each| !each.is_control()).collect();
    clean.trim().to_owned()
}

/// Base units that occur (table 43-15).
fn unit(number: u8) -> String {
    match number {
        0 => "%".to_owned(),
        1 => "°C".to_owned(),
        2 => "°F".to_owned(),
        4 => "V".to_owned(),
        5 => "A".to_owned(),
        6 => "W".to_owned(),
        18 => "RPM".to_owned(),
        other => format!("unit {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A temperature sensor: multiplier `m`, offset `b`, exponents, in two's complement.
    fn record(m: i32, b: i32, exponents: u8) -> Vec<u8> {
        let mut body = vec![0; 43];
        body[2] = 7;
        body[15] = 0x80;
        body[16] = 1;
        body[19] = m as u8;
        body[20] = (m >> 2) as u8 & 0xc0;
        body[21] = b as u8;
        body[22] = (b >> 2) as u8 & 0xc0;
        body[24] = exponents;
        body[42] = 0xc0 | 8;
        body.extend(b"CPU Temp");
        body
    }

    #[test]
    fn readings_are_converted_as_the_record_says() {
        let plain = Record::parse(&record(1, 0, 0)).unwrap();
        assert_eq!(
            (plain.name.as_str(), plain.unit.as_str()),
            ("CPU Temp", "°C")
        );
        assert_eq!(plain.convert(40), Some(40.0));
        assert_eq!(plain.convert(0xfb), Some(-5.0));
        // (-2 * 10 + 300 * 10^1) * 10^-2
        let scaled = Record::parse(&record(-2, 300, 0xe1)).unwrap();
        assert!((scaled.convert(10).unwrap() - 29.8).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_record_is_read(body in proptest::collection::vec(any::<u8>(), 0..80), raw in any::<u8>()) {
            if let Some(record) = Record::parse(&body) {
                let _ = record.convert(raw);
            }
        }
    }
}
