//! TFTP's packets: requests and acknowledgements in, data and errors out. Pure: what comes in may be
//! anything, and is read without a socket.

use std::time::Duration;

/// The largest block that is sent: what an Ethernet packet holds without fragments, which some boot
/// ROMs cannot put together.
pub const MAX_BLOCK_SIZE: usize = 1468;

/// The most blocks that are sent before an acknowledgement (RFC 7440).
pub const MAX_WINDOW_SIZE: u16 = 16;

const DEFAULT_BLOCK_SIZE: usize = 512;

/// Before a silent client is sent the same again.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that a client may ask to wait instead, in seconds.
const MAX_TIMEOUT: u64 = 5;

/// The most options that are looked at.
const MAX_OPTIONS: usize = 16;

/// Opcodes (RFC 1350 §5, RFC 2347).
const READ: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACKNOWLEDGEMENT: u16 = 6;

/// What a client wants to read, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// The file: ASCII, not empty.
    pub name: String,
    /// How it is to be sent.
    pub terms: Terms,
}

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of a block: 8 to [`MAX_BLOCK_SIZE`].
    pub block_size: usize,
    /// Blocks before an acknowledgement: 1 to [`MAX_WINDOW_SIZE`].
    pub window: u16,
    /// Before a silent client is sent the same again: 1 to 5 s.
    pub timeout: Duration,
    /// Which of them the client has to be told.
    told: Told,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    block_size: bool,
    window: bool,
    timeout: bool,
    size: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            block_size: DEFAULT_BLOCK_SIZE,
            window: 1,
            timeout: DEFAULT_TIMEOUT,
            told: Told::default(),
        }
    }
}

/// Why a request is not one that can be answered (RFC 1350, error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing to answer: not a request at all.
    Garbage,
    /// Somebody wants to write.
    Write,
    /// Another mode than `octet`, or no names where names must be.
    Illegal,
}

/// Reads the first packet of a client. Never panics, whatever the bytes.
///
/// # Errors
/// What is wrong with it.
pub fn request(packet: &[u8]) -> Result<ReadRequest, Wrong> {
    const WRITE: u16 = 2;
    let (opcode, rest) = packet.split_first_chunk::<2>().ok_or(Wrong::Garbage)?;
    match u16::from_be_bytes(*opcode) {
        READ => {}
        WRITE => return Err(Wrong::Write),
        _ => return Err(Wrong::Garbage),
    }
    let words = words(rest).ok_or(Wrong::Illegal)?;
    let [name, mode, options @ ..] = words.as_slice() else {
        return Err(Wrong::Illegal);
    };
    if !mode.eq_ignore_ascii_case("octet") || name.is_empty() {
        return Err(Wrong::Illegal);
    }
    Ok(ReadRequest {
        name: (*name).to_owned(),
        terms: terms(options),
    })
}

/// Zero-ended ASCII words up to the end of the packet.
fn words(bytes: &[u8]) -> Option<Vec<&str>> {
    let bytes = bytes.strip_suffix(&[0])?;
    let words = bytes.split(|byte| *byte == 0).take(2 + 2 * MAX_OPTIONS);
    words
        .map(|word| {
            std::str::from_utf8(word)
                .ok()
                .filter(|word| word.is_ascii())
        })
        .collect()
}

/// What becomes of the options: unknown ones and senseless values are left out, as if they had not
/// been there (RFC 2347); block and window size may be answered with less (RFC 2348, 7440).
fn terms(options: &[&str]) -> Terms {
    let mut terms = Terms::default();
    for option in options.chunks_exact(2) {
        let Ok(value) = option[1].parse::<u64>() else {
            continue;
        };
        match option[0].to_ascii_lowercase().as_str() {
            "blksize" if (8..=65_464).contains(&value) => {
                terms.block_size = (value as usize).min(MAX_BLOCK_SIZE);
                terms.told.block_size = true;
            }
            "windowsize" if (1..=65_535).contains(&value) => {
                terms.window = (value as u16).min(MAX_WINDOW_SIZE);
                terms.told.window = true;
            }
            // May not be answered with another value (RFC 2349), so a long one is left out.
            "timeout" if (1..=MAX_TIMEOUT).contains(&value) => {
                terms.timeout = Duration::from_secs(value);
                terms.told.timeout = true;
            }
            "tsize" => terms.told.size = true,
            _ => {}
        }
    }
    terms
}

impl Terms {
    /// What tells the client these terms; `None` if it asked for none.
    pub fn acknowledgement(&self, size: usize) -> Option<Vec<u8>> {
        let mut packet = OPTION_ACKNOWLEDGEMENT.to_be_bytes().to_vec();
        let told = self.told;
        for (told, name, value) in [
            (told.block_size, "blksize", self.block_size as u64),
            (told.window, "windowsize", self.window.into()),
            (told.timeout, "timeout", self.timeout.as_secs()),
            (told.size, "tsize", size as u64),
        ] {
            if told {
                packet.extend(format!("{name}\0{value}\0").into_bytes());
            }
        }
        (packet.len() > 2).then_some(packet)
    }
}

/// A block; `number` counts from 1, and wraps in the packet as clients expect.
pub(super) fn data(number: u64, content: &[u8]) -> Vec<u8> {
    let mut packet = DATA.to_be_bytes().to_vec();
    packet.extend((number as u16).to_be_bytes());
    packet.extend_from_slice(content);
    packet
}

/// An error with its code (RFC 1350) and a few words.
pub(super) fn error(code: u16, message: &str) -> Vec<u8> {
    let mut packet = ERROR.to_be_bytes().to_vec();
    packet.extend(code.to_be_bytes());
    packet.extend_from_slice(message.as_bytes());
    packet.push(0);
    packet
}

/// What a client says in the middle of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It has everything up to this block, modulo 65,536.
    Acknowledged(u16),
    /// It has ended the transfer.
    Error,
    /// Something else; not listened to.
    Other,
}

/// Reads a later packet of a client.
pub fn word(packet: &[u8]) -> Word {
    let Some((opcode, rest)) = packet.split_first_chunk::<2>() else {
        return Word::Other;
    };
    match (u16::from_be_bytes(*opcode), rest.first_chunk::<2>()) {
        (ACKNOWLEDGEMENT, Some(number)) => Word::Acknowledged(u16::from_be_bytes(*number)),
        (ERROR, _) => Word::Error,
        _ => Word::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> Result<ReadRequest, Wrong> {
        let mut packet = vec![0, 1];
        packet.extend_from_slice(words.as_bytes());
        request(&packet)
    }

    #[test]
    fn options_are_taken_cut_down_or_left_out() {
        let wanted =
            "f\0octet\0blksize\x0065464\0windowsize\x0064\0tsize\x000\0timeout\x002\0odd\x001\0";
        let terms = asked(wanted).unwrap().terms;
        assert_eq!(
            (terms.block_size, terms.window),
            (MAX_BLOCK_SIZE, MAX_WINDOW_SIZE)
        );
        assert_eq!(terms.timeout, Duration::from_secs(2));
        let told = terms.acknowledgement(777).unwrap();
        let expected = b"\0\x06blksize\x001468\0windowsize\x0016\0timeout\x002\0tsize\x00777\0";
        assert_eq!(told, expected);
        for odd in [
            "blksize\x007\0",
            "blksize\x0065465\0",
            "blksize\0-1\0",
            "blksize\0\0",
            "windowsize\x000\0",
            "timeout\x000\0",
            "timeout\x00255\0",
            "timeout\x0099999999999999999999\0",
            "blksize\0",
        ] {
            let terms = asked(&format!("f\0OCTET\0{odd}")).unwrap().terms;
            assert_eq!(terms, Terms::default(), "{odd:?}");
            assert_eq!(terms.acknowledgement(1), None);
        }
    }

    #[test]
    fn what_is_no_request_to_read_is_refused() {
        assert_eq!(asked("f\0netascii\0"), Err(Wrong::Illegal));
        assert_eq!(asked("f\0octet"), Err(Wrong::Illegal));
        assert_eq!(asked("\0octet\0"), Err(Wrong::Illegal));
        assert_eq!(asked("f\0"), Err(Wrong::Illegal));
        assert_eq!(request(b"\0\x02f\0octet\0"), Err(Wrong::Write));
        for garbage in [&b""[..], b"\0", b"\0\x03\0\x01x", b"\xff\xfff\0octet\0"] {
            assert_eq!(request(garbage), Err(Wrong::Garbage));
        }
        assert_eq!(request(b"\0\x01\xff\0octet\0"), Err(Wrong::Illegal));
    }

    #[test]
    fn options_without_end_are_cut_off() {
        let many = "blksize\x001024\0".repeat(10_000);
        assert_eq!(
            asked(&format!("f\0octet\0{many}"))
                .unwrap()
                .terms
                .block_size,
            1024
        );
    }
}
