//! Serial over LAN (sections 15 and 24): taking the console, carrying its bytes, giving it back.
//!
//! Each side sends one packet at a time and repeats it until it is acknowledged. All of it lives in
//! one task with a session of its own, so that a console that is read for minutes and the commands
//! of the conductor do not wait for each other.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::client::{Client, Command};
use super::session::Session;
use super::wire::{MAX_DATAGRAM, Message, PayloadType, SolPacket};
use crate::{ConsoleEnd, Error, SerialConsole};

const ACTIVATE: Command = Command {
    name: "Activate Payload (Serial over LAN)",
    network_function: 0x06,
    number: 0x48,
};

const DEACTIVATE: Command = Command {
    name: "Deactivate Payload (Serial over LAN)",
    network_function: 0x06,
    number: 0x49,
};

const ACTIVATION_STATUS: Command = Command {
    name: "Get Payload Activation Status",
    network_function: 0x06,
    number: 0x4a,
};

/// Payload type SOL, instance 1, then four bytes of which the first says: encrypted,
/// authenticated, and serial alerts succeed although the console is in use (table 24-2).
const ACTIVATION: [u8; 6] = [1, 1, 0x80 | 0x40 | 0x08, 0, 0, 0];
const DEACTIVATION: [u8; 6] = [1, 1, 0, 0, 0, 0];

/// Completion codes of Activate Payload.
const ALREADY_ACTIVE: u8 = 0x80;
const DISABLED: u8 = 0x81;
const TOO_MANY: u8 = 0x82;

/// How often the console is taken away from whoever has it.
const MOST_TRIES: u32 = 4;
const TAKE_PAUSE: Duration = Duration::from_millis(300);

/// When a packet of ours is repeated, and how often before the console is taken for lost.
const REPEAT: Duration = Duration::from_millis(800);
const MOST_REPEATS: u32 = 12;

/// After this long without a packet from the BMC it is asked whether it is still there, again every
/// `ASK_AGAIN`, and after `LOST` it is not. (BMCs end idle sessions after 60 s.)
const QUIET: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(3);
const LOST: Duration = Duration::from_secs(30);

/// Characters waiting to be typed; whoever types more waits.
const MOST_PENDING: usize = 4096;

/// Characters per packet of ours, unless the BMC takes fewer.
const LONGEST_DATA: usize = 128;

/// Opens the console of the machine behind `client`.
pub(super) async fn open(client: &Client, deadline: Instant) -> Result<SerialConsole, Error> {
    let mut session = client.session(deadline).await?;
    match activate(client, &mut session, deadline).await {
        Ok(longest) => {
            let carrier = Carrier::new(client.bmc().to_owned(), session, longest);
            Ok(SerialConsole::start(|end| carrier.carry(end)))
        }
        Err(error) => {
            session.close().await;
            Err(error)
        }
    }
}

/// Takes the console, away from another session if need be, and says how many characters the BMC
/// takes at once.
async fn activate(
    client: &Client,
    session: &mut Session,
    deadline: Instant,
) -> Result<usize, Error> {
    let not_offered = |wanted: &str| Error::NotOffered {
        bmc: client.bmc().to_owned(),
        wanted: wanted.to_owned(),
        offered: Vec::new(),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let answer = ask(session, ACTIVATE, &ACTIVATION, deadline).await?;
        match answer.split_first() {
            Some((0, data)) => {
                // Four auxiliary bytes, then the longest payload that the BMC takes.
                let longest = data.get(4..6).map_or(LONGEST_DATA, |size| {
                    usize::from(u16::from_le_bytes([size[0], size[1]])).saturating_sub(4)
                });
                return Ok(longest.clamp(1, LONGEST_DATA));
            }
            Some((&ALREADY_ACTIVE, _)) if tries < MOST_TRIES => {
                ask(session, DEACTIVATE, &DEACTIVATION, deadline).await?;
                tokio::time::sleep(TAKE_PAUSE).await;
            }
            Some((&DISABLED, _)) => {
                return Err(not_offered(
                    "Serial over LAN: it is disabled, enable it on the BMC",
                ));
            }
            Some((&TOO_MANY, _)) => return Err(not_offered("further Serial over LAN session")),
            Some((0xc1, _)) => return Err(not_offered("Serial over LAN")),
            Some((code, _)) => return Err(client.refusal(ACTIVATE, *code)),
            None => return Err(client.nonsense(ACTIVATE)),
        }
    }
}

async fn ask(
    session: &mut Session,
    command: Command,
    data: &[u8],
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    session
        .command(command.network_function, command.number, data, deadline)
        .await
}

/// A packet of ours that is not acknowledged yet.
struct Outstanding {
    sequence: u8,
    data: Vec<u8>,
    repeats: u32,
    due: Instant,
}

/// Carries one console.
struct Carrier {
    bmc: String,
    session: Session,
    longest: usize,
    /// Typed and not sent yet.
    pending: VecDeque<u8>,
    outstanding: Option<Outstanding>,
    our_sequence: u8,
    /// The BMC's last packet with characters: its number, how many were taken, and the number that
    /// the session gave it, by which late repetitions are told.
    their_sequence: u8,
    taken: usize,
    newest: u32,
    heard: Instant,
    ask_at: Instant,
    status_request: Option<Message>,
}

/// Why the console ends.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    Lost(&'static str),
}

impl Carrier {
    fn new(bmc: String, session: Session, longest: usize) -> Self {
        let now = Instant::now();
        Self {
            bmc,
            session,
            longest,
            pending: VecDeque::new(),
            outstanding: None,
            our_sequence: 0,
            their_sequence: 0,
            taken: 0,
            newest: 0,
            heard: now,
            ask_at: now + QUIET,
            status_request: None,
        }
    }

    async fn carry(mut self, mut end: ConsoleEnd) {
        let ended = self.run(&mut end).await;
        if let End::Lost(detail) = ended {
            let lost = Error::ConsoleLost {
                bmc: self.bmc.clone(),
                detail: detail.to_owned(),
            };
            // A reader that has gone does not need to know.
            let _ = end.incoming.try_send(Err(lost));
        }
        drop(end);
        self.give_back().await;
    }

    async fn run(&mut self, end: &mut ConsoleEnd) -> End {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let wake = self.send_what_is_due().await;
            let wake = match wake {
                Ok(wake) => wake,
                Err(lost) => return End::Lost(lost),
            };
            tokio::select! {
                typed = end.outgoing.recv(), if self.pending.len() < MOST_PENDING => match typed {
                    Some(bytes) => self.pending.extend(bytes),
                    None => return End::Unwanted,
                },
                () = end.incoming.closed() => return End::Unwanted,
                received = self.session.link().receive(&mut buffer) => {
                    // What the network says of earlier packets is found out by their repetition.
                    let Ok(length) = received else {
                        tokio::time::sleep(TAKE_PAUSE).await;
                        continue;
                    };
                    if let Err(ended) = self.take(&buffer[..length], end).await {
                        return ended;
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Sends the next characters, repeats what is not acknowledged, asks a BMC that has been quiet;
    /// gives the time of the next of these.
    async fn send_what_is_due(&mut self) -> Result<Instant, &'static str> {
        let now = Instant::now();
        if now >= self.heard + LOST {
            return Err("the BMC does not answer any more");
        }
        if now >= self.ask_at {
            self.ask_at = now + ASK_AGAIN;
            let Command {
                network_function,
                number,
                ..
            } = ACTIVATION_STATUS;
            let request = self.session.request(network_function, number, &[1]);
            self.session
                .send(PayloadType::Ipmi, &request.encode())
                .await;
            self.status_request = Some(request);
        }
        if self.outstanding.is_none() && !self.pending.is_empty() {
            self.our_sequence = SolPacket::next(self.our_sequence);
            let count = self.pending.len().min(self.longest);
            self.outstanding = Some(Outstanding {
                sequence: self.our_sequence,
                data: self.pending.drain(..count).collect(),
                repeats: 0,
                due: now,
            });
        }
        let Some(outstanding) = &mut self.outstanding else {
            return Ok(self.ask_at);
        };
        if now >= outstanding.due {
            if outstanding.repeats > MOST_REPEATS {
                return Err("the BMC does not take what is typed");
            }
            outstanding.repeats += 1;
            outstanding.due = now + REPEAT;
            let packet = SolPacket {
                sequence: outstanding.sequence,
                data: outstanding.data.clone(),
                ..SolPacket::default()
            };
            self.session.send(PayloadType::Sol, &packet.encode()).await;
        }
        Ok(self
            .outstanding
            .as_ref()
            .map_or(now, |each| each.due)
            .min(self.ask_at))
    }

    /// Takes a datagram in.
    async fn take(&mut self, datagram: &[u8], end: &ConsoleEnd) -> Result<(), End> {
        let Some(received) = self.session.accept(datagram) else {
            return Ok(());
        };
        self.heard = Instant::now();
        self.ask_at = self.heard + QUIET;
        match received.payload_type {
            PayloadType::Sol => {
                let Some(packet) = SolPacket::decode(&received.payload) else {
                    return Ok(());
                };
                self.take_acknowledgement(&packet);
                if packet.sequence != 0 {
                    self.take_characters(&packet, received.sequence, end)
                        .await?;
                }
                if packet.flags.deactivating {
                    return Err(End::Lost(
                        "the BMC takes it away: another session may have it now",
                    ));
                }
                Ok(())
            }
            PayloadType::Ipmi => self.take_status(&received.payload),
            _ => Ok(()),
        }
    }

    fn take_acknowledgement(&mut self, packet: &SolPacket) {
        let Some(outstanding) = &mut self.outstanding else {
            return;
        };
        if packet.acknowledged != outstanding.sequence {
            return;
        }
        let accepted = usize::from(packet.accepted).min(outstanding.data.len());
        // What was not accepted goes first in the next packet, after a pause if the machine cannot
        // take anything now.
        let left: Vec<u8> = outstanding.data.split_off(accepted);
        if left.is_empty() {
            self.outstanding = None;
            return;
        }
        let repeats = outstanding.repeats + u32::from(accepted == 0);
        self.our_sequence = SolPacket::next(self.our_sequence);
        self.outstanding = Some(Outstanding {
            sequence: self.our_sequence,
            data: left,
            repeats: if packet.flags.unavailable { 0 } else { repeats },
            due: Instant::now() + REPEAT,
        });
    }

    /// Passes new characters on, and then acknowledges them: a slow reader slows the BMC.
    async fn take_characters(
        &mut self,
        packet: &SolPacket,
        number: u32,
        end: &ConsoleEnd,
    ) -> Result<(), End> {
        // The session's numbers rise: a lower one is the late repetition of what was taken.
        if number < self.newest {
            return Ok(());
        }
        self.newest = number;
        // The same packet again, because our acknowledgement was lost, may have grown meanwhile.
        let known = match packet.sequence == self.their_sequence {
            true => self.taken.min(packet.data.len()),
            false => 0,
        };
        let fresh = &packet.data[known..];
        if !fresh.is_empty() && end.incoming.send(Ok(fresh.to_vec())).await.is_err() {
            return Err(End::Unwanted);
        }
        self.their_sequence = packet.sequence;
        self.taken = packet.data.len();
        let answer = SolPacket::acknowledge(packet.sequence, packet.data.len());
        self.session.send(PayloadType::Sol, &answer.encode()).await;
        Ok(())
    }

    /// The answer to our question: a console that is not active any more has been taken away
    /// without a word. A BMC that does not know the question is at least there.
    fn take_status(&mut self, payload: &[u8]) -> Result<(), End> {
        let message = Message::decode(payload);
        let asked = self.status_request.take();
        match (message, asked) {
            (Some(message), Some(asked)) if message.answers(&asked) => match message.data[..] {
                [0, _, active, ..] if active & 1 == 0 => {
                    Err(End::Lost("the BMC has deactivated it"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    async fn give_back(mut self) {
        let until = Instant::now() + Duration::from_secs(2);
        let given = ask(&mut self.session, DEACTIVATE, &DEACTIVATION, until).await;
        if let Err(error) = given {
            tracing::debug!(bmc = self.bmc, %error, "console not given back; it times out");
        }
        self.session.close().await;
    }
}
