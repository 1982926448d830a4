//! Serial over LAN (sections 15, 24 and 26): one console, one session that has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bessemer_bmc::ipmi::wire::{SolFlags, SolPacket};
use tokio::time::Instant;

use super::console::Console;
use super::{Answer, code};
use crate::machine::Machine;

/// Payload type of SOL; its one instance.
const SOL: u8 = 1;
const INSTANCE: u8 = 1;

/// Completion codes of activating and deactivating.
const ALREADY_ACTIVE: u8 = 0x80;
const ALREADY_DEACTIVATED: u8 = 0x80;

/// Characters in one packet.
const LONGEST_DATA: usize = 200;
/// Characters kept for a console that does not acknowledge; the oldest go first.
const MOST_PENDING: usize = 64 << 10;
/// When a packet is repeated, and how often before the console is given up (section 26.3,
/// parameter 4).
const REPEAT: Duration = Duration::from_millis(250);
const MOST_REPEATS: u32 = 40;

/// The serial line and whoever has it.
pub(super) struct SerialOverLan {
    machine: Arc<dyn Machine>,
    port: u16,
    active: Option<Active>,
    goodbyes: Vec<(u32, SolPacket)>,
}

struct Active {
    session: u32,
    console: Console,
    pending: VecDeque<u8>,
    sequence: u8,
    outstanding: Option<Outstanding>,
    /// The last packet with characters that was taken: its number and that of the session.
    taken: u8,
    newest: u32,
}

struct Outstanding {
    sequence: u8,
    data: Vec<u8>,
    repeats: u32,
    due: Instant,
}

impl SerialOverLan {
    pub(super) fn new(machine: Arc<dyn Machine>, port: u16) -> Self {
        Self {
            machine,
            port,
            active: None,
            goodbyes: Vec::new(),
        }
    }

    /// Activate Payload (section 24.1).
    pub(super) fn activate(&mut self, session: Option<u32>, data: &[u8]) -> Answer {
        which(data)?;
        let session = session.ok_or(code::INSUFFICIENT_PRIVILEGE)?;
        if self.active.is_some() {
            return Err(ALREADY_ACTIVE);
        }
        self.active = Some(Active {
            session,
            console: Console::open(self.machine.clone()),
            pending: VecDeque::new(),
            sequence: 0,
            outstanding: None,
            taken: 0,
            newest: 0,
        });
        let [low, high] = ((LONGEST_DATA + 4) as u16).to_le_bytes();
        let port = self.port.to_le_bytes();
        Ok(vec![
            0, 0, 0, 0, low, high, low, high, port[0], port[1], 0xff, 0xff,
        ])
    }

    /// Deactivate Payload (section 24.2): the console of another session, too, which is told.
    pub(super) fn deactivate(&mut self, session: Option<u32>, data: &[u8]) -> Answer {
        which(data)?;
        let active = self.active.take().ok_or(ALREADY_DEACTIVATED)?;
        if Some(active.session) != session {
            let flags = SolFlags {
                deactivating: true,
                ..SolFlags::default()
            };
            let goodbye = SolPacket {
                flags,
                ..SolPacket::default()
            };
            self.goodbyes.push((active.session, goodbye));
        }
        Ok(Vec::new())
    }

    /// Sessions that lost the console, and what they are told.
    pub(super) fn goodbyes(&mut self) -> Vec<(u32, SolPacket)> {
        std::mem::take(&mut self.goodbyes)
    }

    /// Get Payload Activation Status (section 24.4).
    pub(super) fn activation_status(&self, data: &[u8]) -> Answer {
        match data.first() {
            Some(&SOL) => Ok(vec![INSTANCE, u8::from(self.active.is_some()), 0]),
            Some(_) => Err(code::INVALID_DATA),
            None => Err(code::TRUNCATED),
        }
    }

    /// Get Payload Instance Info (section 24.5): the session that has it, and the port.
    pub(super) fn instance_info(&self, data: &[u8]) -> Answer {
        which(data)?;
        let session = self.active.as_ref().map_or(0, |active| active.session);
        let mut info = session.to_le_bytes().to_vec();
        info.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        Ok(info)
    }

    /// Get SOL Configuration Parameters (section 26.3): enabled, for operators, always encrypted,
    /// 115200 bit/s.
    pub(super) fn parameter(&self, data: &[u8]) -> Answer {
        const REVISION: u8 = 0x11;
        const BIT_RATE_115200: u8 = 0x0a;
        let parameter = *data.get(1).ok_or(code::TRUNCATED)?;
        let value = match parameter {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0xc0 | super::sessions::OPERATOR],
            3 => vec![10, LONGEST_DATA as u8],
            4 => vec![7, 25],
            5 | 6 => vec![BIT_RATE_115200],
            7 => vec![1],
            8 => self.port.to_le_bytes().to_vec(),
            _ => return Err(code::NO_SUCH_PARAMETER),
        };
        Ok([&[REVISION], &value[..]].concat())
    }

    /// Which session has the console.
    pub(super) fn holder(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.session)
    }

    /// Takes the console from a session that ends.
    pub(super) fn release(&mut self, session: u32) {
        if self.holder() == Some(session) {
            self.active = None;
        }
    }

    /// Waits until the machine writes something. Cancel-safe; never ends without a console.
    pub(super) async fn listen(&mut self) {
        let Some(active) = &mut self.active else {
            return std::future::pending().await;
        };
        let written = active.console.read().await;
        active.pending.extend(written);
        let excess = active.pending.len().saturating_sub(MOST_PENDING);
        active.pending.drain(..excess);
    }

    /// When there is something to repeat.
    pub(super) fn due(&self) -> Option<Instant> {
        let outstanding = self.active.as_ref()?.outstanding.as_ref()?;
        Some(outstanding.due)
    }

    /// The next packet for the console's holder, or the last one again, if it is time.
    pub(super) fn next_packet(&mut self) -> Option<SolPacket> {
        let active = self.active.as_mut()?;
        let now = Instant::now();
        if active.outstanding.is_none() && !active.pending.is_empty() {
            active.sequence = SolPacket::next(active.sequence);
            let count = active.pending.len().min(LONGEST_DATA);
            active.outstanding = Some(Outstanding {
                sequence: active.sequence,
                data: active.pending.drain(..count).collect(),
                repeats: 0,
                due: now,
            });
        }
        let outstanding = active.outstanding.as_mut().filter(|each| each.due <= now)?;
        outstanding.repeats += 1;
        outstanding.due = now + REPEAT;
        if outstanding.repeats > MOST_REPEATS {
            self.active = None;
            return None;
        }
        Some(SolPacket {
            sequence: outstanding.sequence,
            data: outstanding.data.clone(),
            ..SolPacket::default()
        })
    }

    /// Takes a packet of `session` in, the `number`th of it; the answer, if it carried characters.
    pub(super) async fn take(
        &mut self,
        session: u32,
        number: u32,
        packet: &SolPacket,
    ) -> Option<SolPacket> {
        let active = self.active.as_mut()?;
        if active.session != session {
            return None;
        }
        if let Some(outstanding) = &mut active.outstanding
            && packet.acknowledged == outstanding.sequence
        {
            let accepted = usize::from(packet.accepted).min(outstanding.data.len());
            for byte in outstanding.data.drain(accepted..).rev() {
                active.pending.push_front(byte);
            }
            active.outstanding = None;
        }
        if packet.sequence == 0 || number < active.newest {
            return None;
        }
        active.newest = number;
        if packet.sequence != active.taken {
            active.taken = packet.sequence;
            active.console.write(&packet.data).await;
        }
        Some(SolPacket::acknowledge(packet.sequence, packet.data.len()))
    }
}

/// Payload type and instance that a command names.
fn which(data: &[u8]) -> Result<(), u8> {
    match *data {
        [SOL, INSTANCE, ..] => Ok(()),
        [_, _, ..] => Err(code::INVALID_DATA),
        _ => Err(code::TRUNCATED),
    }
}
