//! Which cipher suite to use: what the BMC lists by Get Channel Cipher Suites (section 22.15), or
//! the best one where it lists nothing; the client tries the next one when that is refused.

use std::sync::Arc;

use tokio::time::Instant;

use super::link::{Link, PATIENT};
use super::wire::{CipherSuite, Message, Packet, wrap_v15};
use crate::Error;

const APPLICATION: u8 = 0x06;
const GET_CHANNEL_CIPHER_SUITES: u8 = 0x54;
/// The channel this is asked over.
const THIS_CHANNEL: u8 = 0x0e;
/// Suites for IPMI messages.
const IPMI_PAYLOAD: u8 = 0;
/// Asks for the list by suite, not by algorithm; the low six bits count pieces of 16 bytes.
const BY_SUITE: u8 = 0x80;
const PIECE: usize = 16;
/// More pieces than any BMC has: the suites of table 22-20 take 7.
const MOST_PIECES: u8 = 16;

/// Standard record: the suite's number follows. OEM record: its number and maker follow.
const STANDARD_RECORD: u8 = 0xc0;
const OEM_RECORD: u8 = 0xc1;

/// The suite to begin with.
///
/// # Errors
/// When the BMC lists its suites and none of ours is among them, or it cannot be reached at all.
pub(super) async fn best(
    link: &Link,
    bmc: &Arc<str>,
    deadline: Instant,
) -> Result<CipherSuite, Error> {
    let Some(listed) = list(link, deadline).await? else {
        return Ok(CipherSuite::Suite17);
    };
    [CipherSuite::Suite17, CipherSuite::Suite3]
        .into_iter()
        .find(|suite| listed.contains(&suite.number()))
        .ok_or_else(|| none_in_common(bmc, listed))
}

pub(super) fn none_in_common(bmc: &str, listed: Vec<u8>) -> Error {
    Error::NotOffered {
        bmc: bmc.to_owned(),
        wanted: "cipher suite 17 or 3 over LAN (enable one of them on the BMC)".to_owned(),
        offered: listed
            .iter()
            .map(|number| format!("cipher suite {number}"))
            .collect(),
    }
}

/// The suites listed; `None` if the BMC does not know the question, or lists nothing.
async fn list(link: &Link, deadline: Instant) -> Result<Option<Vec<u8>>, Error> {
    let mut records = Vec::new();
    for piece in 0..MOST_PIECES {
        let data = [THIS_CHANNEL, IPMI_PAYLOAD, BY_SUITE | piece];
        let request = Message::request(APPLICATION, GET_CHANNEL_CIPHER_SUITES, piece, &data);
        let datagram = wrap_v15(&request.encode());
        let answered = link
            .ask(
                "asking for its cipher suites",
                PATIENT,
                deadline,
                || datagram.clone(),
                |datagram| {
                    let packet = Packet::parse(datagram)?;
                    let message = Message::decode(packet.clear()?)?;
                    message.answers(&request).then_some(message.data)
                },
            )
            .await?;
        let answer = answered.value;
        // Completion code, channel, then up to 16 bytes of records.
        let part = match answer.split_first() {
            Some((0, data)) => data.get(1..).unwrap_or_default(),
            _ => break,
        };
        records.extend_from_slice(&part[..part.len().min(PIECE)]);
        if part.len() < PIECE {
            break;
        }
    }
    let suites = numbers(&records);
    Ok((!suites.is_empty()).then_some(suites))
}

/// The numbers of the standard suites in a list of records (table 22-18), whatever its bytes.
pub fn numbers(records: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut rest = records.iter();
    while let Some(byte) = rest.next() {
        match *byte {
            STANDARD_RECORD => numbers.extend(rest.next()),
            // Suite number and a three-byte maker, nothing for us.
            OEM_RECORD => {
                rest.nth(3);
            }
            // An algorithm of the record before: its suite's number says it all.
            _ => {}
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suites_are_found_among_their_algorithms() {
        let records = [
            0xc0, 3, 0x01, 0x41, 0x81, 0xc1, 0x80, 1, 2, 3, 0x02, 0xc0, 17, 0x03, 0x44, 0x81,
        ];
        assert_eq!(numbers(&records), [3, 17]);
        assert_eq!(numbers(&[0xc0]), Vec::<u8>::new());
    }

    proptest! {
        #[test]
        fn any_list_is_read(records in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(numbers(&records).len() <= records.len());
        }
    }
}
