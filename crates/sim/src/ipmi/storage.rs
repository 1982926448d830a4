//! The machine's FRU (sections 34.1 and 34.2), sensor data records (33) and readings (35.14).

use super::{Answer, code};
use crate::machine::{Inventory, PowerState};
use crate::redfish::Bmc;

/// A sensor: number, name, sensor type (table 42-3), unit (table 43-15), and its raw reading while
/// the machine is on and off.
struct Sensor {
    number: u8,
    name: &'static str,
    kind: u8,
    unit: u8,
    on: u8,
    off: Option<u8>,
}

const SENSORS: [Sensor; 3] = [
    Sensor {
        number: 1,
        name: "Inlet Temp",
        kind: 1,
        unit: 1,
        on: 22,
        off: Some(21),
    },
    Sensor {
        number: 2,
        name: "CPU Temp",
        kind: 1,
        unit: 1,
        on: 44,
        off: None,
    },
    Sensor {
        number: 3,
        name: "System Power",
        kind: 0x0b,
        unit: 6,
        on: 180,
        off: Some(9),
    },
];

pub(super) async fn reading(bmc: &Bmc, data: &[u8]) -> Answer {
    const SCANNING: u8 = 0x40;
    const UNAVAILABLE: u8 = 0x20;
    let number = *data.first().ok_or(code::TRUNCATED)?;
    let sensor = SENSORS.iter().find(|sensor| sensor.number == number);
    let sensor = sensor.ok_or(code::NOT_PRESENT)?;
    let value = match bmc.machine().power_state().await {
        PowerState::On => Some(sensor.on),
        PowerState::Off => sensor.off,
    };
    Ok(match value {
        Some(value) => vec![value, SCANNING, 0xc0],
        None => vec![0, SCANNING | UNAVAILABLE, 0xc0],
    })
}

/// Get SDR Repository Info: version 1.5, these records, no room, reservations.
pub(super) fn repository_info() -> Vec<u8> {
    let mut info = vec![0x51, SENSORS.len() as u8, 0, 0, 0];
    info.extend([0; 8]);
    info.push(0x02);
    info
}

/// Get SDR: part of a record, and the id of the next one.
pub(super) fn record(data: &[u8]) -> Answer {
    let [_, _, low, high, offset, count] = *data else {
        return Err(code::TRUNCATED);
    };
    let index = usize::from(u16::from_le_bytes([low, high]));
    let sensor = SENSORS.get(index).ok_or(code::NOT_PRESENT)?;
    let next = match index + 1 {
        next if next < SENSORS.len() => next as u16,
        _ => 0xffff,
    };
    let record = full_record(index as u16, sensor);
    let part = part(&record, usize::from(offset), usize::from(count))?;
    Ok([&next.to_le_bytes(), part].concat())
}

/// A full sensor record (table 43-1): unsigned, linear, M = 1, no thresholds.
fn full_record(id: u16, sensor: &Sensor) -> Vec<u8> {
    let mut body = [0; 43];
    (body[0], body[2]) = (0x20, sensor.number);
    // System board; scanning; ignored while the entity is absent; type; a threshold sensor.
    (body[3], body[4], body[5]) = (7, 1, 0x7f);
    (body[6], body[7], body[8]) = (0x40, sensor.kind, 1);
    (body[16], body[19]) = (sensor.unit, 1);
    // The nominal range is that of the reading.
    (body[29], body[30]) = (0xff, 0);
    body[42] = 0xc0 | sensor.name.len() as u8;
    let [low, high] = id.to_le_bytes();
    let length = (body.len() + sensor.name.len()) as u8;
    let head = [low, high, 0x51, 0x01, length];
    [&head[..], &body, sensor.name.as_bytes()].concat()
}

pub(super) fn fru_info(bmc: &Bmc, data: &[u8]) -> Answer {
    let fru = fru_of(bmc, data)?;
    let [low, high] = (fru.len() as u16).to_le_bytes();
    Ok(vec![low, high, 0])
}

pub(super) fn fru_data(bmc: &Bmc, data: &[u8]) -> Answer {
    let fru = fru_of(bmc, data)?;
    let [_, low, high, count] = *data else {
        return Err(code::TRUNCATED);
    };
    let offset = usize::from(u16::from_le_bytes([low, high]));
    let part = part(&fru, offset, usize::from(count))?;
    Ok([&[part.len() as u8], part].concat())
}

/// The bytes asked for, as far as there are any and one packet holds them.
fn part(bytes: &[u8], offset: usize, count: usize) -> Result<&[u8], u8> {
    const MOST: usize = 64;
    // 255 asks for all of it.
    if count > MOST && count != 0xff {
        return Err(code::CANNOT_RETURN);
    }
    let rest = bytes.get(offset..).filter(|rest| !rest.is_empty());
    let rest = rest.ok_or(code::OUT_OF_RANGE)?;
    if count == 0xff && rest.len() > MOST {
        return Err(code::CANNOT_RETURN);
    }
    Ok(&rest[..rest.len().min(count)])
}

fn fru_of(bmc: &Bmc, data: &[u8]) -> Result<Vec<u8>, u8> {
    match data.first() {
        Some(0) => Ok(fru(bmc.machine().inventory())),
        Some(_) => Err(code::NOT_PRESENT),
        None => Err(code::TRUNCATED),
    }
}

/// A FRU with a product area (*Platform Management FRU Information Storage Definition*, sections 8
/// and 12).
fn fru(inventory: &Inventory) -> Vec<u8> {
    const ENGLISH: u8 = 25;
    let mut area = vec![1, 0, ENGLISH];
    for text in [
        &inventory.manufacturer,
        &inventory.model,
        "",
        &inventory.bios_version,
        &inventory.serial_number,
    ] {
        let text = &text.as_bytes()[..text.len().min(0x3f)];
        // One character alone would read as the end of the fields, so a space follows it.
        let text = if text.len() == 1 {
            &[text[0], b' ']
        } else {
            text
        };
        area.push(0xc0 | text.len() as u8);
        area.extend_from_slice(text);
    }
    area.push(0xc1);
    while area.len() % 8 != 7 {
        area.push(0);
    }
    area[1] = (area.len() / 8 + 1) as u8;
    let mut header = vec![1, 0, 0, 0, 1, 0, 0];
    for part in [&mut header, &mut area] {
        let sum = part.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        part.push(sum.wrapping_neg());
    }
    [header, area].concat()
}
