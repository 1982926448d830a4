//! What the controller can be asked (appendix G), who may ask it, and the answers that are short.

use bessemer_bmc::ipmi::wire::{CipherSuite, Message};

use super::server::State;
use super::sessions::{ADMINISTRATOR, OPERATOR, USER, guid};
use super::sol::SerialOverLan;
use super::{Answer, boot, chassis, code, storage};
use crate::redfish::Bmc;

const CHASSIS: u8 = 0x00;
const SENSOR: u8 = 0x04;
const APPLICATION: u8 = 0x06;
const STORAGE: u8 = 0x0a;
const TRANSPORT: u8 = 0x0c;

const CLOSE_SESSION: u8 = 0x3c;

/// The LAN channel, and the number that means "the one this came by".
const LAN_CHANNEL: u8 = 1;
const THIS_CHANNEL: u8 = 0x0e;

/// One who asks, and all that the answer may need.
pub(super) struct Requester<'a> {
    pub(super) bmc: &'a Bmc,
    pub(super) state: &'a mut State,
    pub(super) sol: &'a mut SerialOverLan,
    /// The session it is asked in; none before there is one.
    pub(super) session: Option<u32>,
}

/// Whether the session ends with this.
pub(super) fn closes(request: &Message) -> bool {
    (request.network_function, request.command) == (APPLICATION, CLOSE_SESSION)
}

/// The privilege level that a command takes (appendix G); 0 is for those without a session.
fn needed(network_function: u8, command: u8) -> u8 {
    match (network_function, command) {
        // GUID, authentication capabilities, cipher suites.
        (APPLICATION, 0x37 | 0x38 | 0x54) => 0,
        // Chassis control, boot options; activating and deactivating payloads.
        (CHASSIS, 0x02 | 0x08 | 0x09) | (APPLICATION, 0x48 | 0x49) => OPERATOR,
        _ => USER,
    }
}

impl Requester<'_> {
    /// Completion code and data.
    pub(super) async fn answer(&mut self, request: &Message) -> Vec<u8> {
        let answer = match self.allowed(request) {
            Ok(()) => self.carry_out(request).await,
            Err(code) => Err(code),
        };
        match answer {
            Ok(data) => [&[code::OK], &data[..]].concat(),
            Err(code) => vec![code],
        }
    }

    fn allowed(&mut self, request: &Message) -> Result<(), u8> {
        let session = self.session.and_then(|id| self.state.sessions.get(id));
        let privilege = session
            .and_then(|session| session.open())
            .map_or(0, |open| open.privilege);
        if privilege < needed(request.network_function, request.command) {
            return Err(code::INSUFFICIENT_PRIVILEGE);
        }
        Ok(())
    }

    async fn carry_out(&mut self, request: &Message) -> Answer {
        let data = &request.data[..];
        match (request.network_function, request.command) {
            (CHASSIS, 0x01) => chassis::status(self.bmc).await,
            (CHASSIS, 0x02) => chassis::control(self.bmc, data).await,
            (CHASSIS, 0x08) => boot::set(self.bmc, &mut self.state.boot_options, data).await,
            (CHASSIS, 0x09) => boot::get(self.bmc, &self.state.boot_options, data),
            (SENSOR, 0x2d) => storage::reading(self.bmc, data).await,
            (STORAGE, 0x10) => storage::fru_info(self.bmc, data),
            (STORAGE, 0x11) => storage::fru_data(self.bmc, data),
            (STORAGE, 0x20) => Ok(storage::repository_info()),
            (STORAGE, 0x22) => Ok(vec![1, 0]),
            (STORAGE, 0x23) => storage::record(data),
            (TRANSPORT, 0x22) => self.sol.parameter(data),
            (APPLICATION, command) => self.application(command, data),
            _ => Err(code::INVALID_COMMAND),
        }
    }

    fn application(&mut self, command: u8, data: &[u8]) -> Answer {
        match command {
            0x01 => Ok(device_id()),
            0x37 => Ok(guid(self.bmc).to_vec()),
            0x38 => authentication_capabilities(data),
            0x3b => self.set_privilege(data),
            CLOSE_SESSION => self.close(data),
            0x42 => channel_info(data),
            0x48 => self.sol.activate(self.session, data),
            0x49 => self.sol.deactivate(self.session, data),
            0x4a => self.sol.activation_status(data),
            0x4b => self.sol.instance_info(data),
            // Payload types IPMI, SOL and those of opening sessions; no OEM ones.
            0x4e => Ok(vec![0b11, 0, 0b11_1111, 0, 0, 0, 0, 0]),
            0x54 => cipher_suites(data),
            _ => Err(code::INVALID_COMMAND),
        }
    }

    fn set_privilege(&mut self, data: &[u8]) -> Answer {
        /// Of this command: the level is above the session's or account's limit.
        const ABOVE_LIMIT: u8 = 0x81;
        let level = data.first().ok_or(code::TRUNCATED)? & 0x0f;
        let session = self.session.and_then(|id| self.state.sessions.get(id));
        let session = session.ok_or(code::INSUFFICIENT_PRIVILEGE)?;
        let now = session.set_privilege(level).ok_or(ABOVE_LIMIT)?;
        Ok(vec![now])
    }

    /// A session may close itself; only an administrator could close others, which nobody needs.
    fn close(&mut self, data: &[u8]) -> Answer {
        /// Of this command: there is no such session.
        const INVALID_SESSION: u8 = 0x87;
        let id = data.first_chunk().ok_or(code::TRUNCATED)?;
        if self.session != Some(u32::from_le_bytes(*id)) {
            return Err(INVALID_SESSION);
        }
        if let Some(session) = self.session {
            self.sol.release(session);
        }
        Ok(Vec::new())
    }
}

/// Get Device ID (section 20.1): a chassis device with SDR repository and FRU inventory, firmware
/// 1.0, IPMI 2.0, no maker.
fn device_id() -> Vec<u8> {
    vec![0x20, 0x01, 0x01, 0x00, 0x02, 0x8a, 0, 0, 0, 0, 0]
}

/// Get Channel Authentication Capabilities (section 22.13): IPMI 2.0 sessions only, accounts with
/// names, no key K_g.
fn authentication_capabilities(data: &[u8]) -> Answer {
    let [channel, level, ..] = *data else {
        return Err(code::TRUNCATED);
    };
    if ![LAN_CHANNEL, THIS_CHANNEL].contains(&(channel & 0x0f)) || level & 0x0f > ADMINISTRATOR {
        return Err(code::INVALID_DATA);
    }
    Ok(vec![LAN_CHANNEL, 0x80, 0x04, 0x02, 0, 0, 0, 0])
}

/// Get Channel Info (section 22.24): 802.3 LAN, IPMB-1.0 messages, multi-session.
fn channel_info(data: &[u8]) -> Answer {
    let channel = data.first().ok_or(code::TRUNCATED)? & 0x0f;
    if ![LAN_CHANNEL, THIS_CHANNEL].contains(&channel) {
        return Err(code::INVALID_DATA);
    }
    Ok(vec![LAN_CHANNEL, 0x04, 0x01, 0x80, 0xf2, 0x1b, 0, 0, 0])
}

/// Get Channel Cipher Suites (section 22.15), sixteen bytes of records at a time.
fn cipher_suites(data: &[u8]) -> Answer {
    const PIECE: usize = 16;
    let [_, _, index, ..] = *data else {
        return Err(code::TRUNCATED);
    };
    let mut records = Vec::new();
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let [authentication, integrity, confidentiality] = suite.algorithms();
        records.extend([0xc0, suite.number(), authentication]);
        records.extend([0x40 | integrity, 0x80 | confidentiality]);
    }
    let piece = records.chunks(PIECE).nth(usize::from(index & 0x3f));
    Ok([&[LAN_CHANNEL], piece.unwrap_or_default()].concat())
}
