//! What BMCs send.

use bessemer_bmc::ipmi::wire::{
    CipherSuite, Exchange, Message, OpenSession, OpenedSession, Packet, Rakp1, Rakp2, Rakp3, Rakp4,
    SolPacket, Window, presence_ping,
};
use bessemer_bmc::ipmi::{Fru, SensorRecord, cipher_suites};
use bessemer_bmc::redfish::{Endpoint, Security, read};

/// Characters of a text that are kept, several times over: an inventory has a handful of an answer.
const LONGEST_MESSAGES: usize = 4 * 4 * 301;

/// The body of any answer by Redfish, before every reader.
pub(crate) fn redfish_answer(body: &[u8]) {
    let Ok(at) = Endpoint::new("http://127.0.0.1:8000", Security::UnencryptedHttp) else {
        return;
    };
    let Some(reading) = read(body, &at) else {
        return;
    };
    assert!(reading.messages.len() <= LONGEST_MESSAGES);
    assert!(reading.identity.machine.serial.chars().count() <= 512);
    assert!(reading.inventory.storage_controllers.len() <= 512);
    if let Some((members, _)) = reading.page {
        assert!(members.iter().all(|path| path.chars().count() <= 2049));
    }
}

/// A datagram of IPMI over LAN, of either end, outside of a session and within one; and its payload as
/// everything that a payload can be.
pub(crate) fn ipmi_datagram(datagram: &[u8]) {
    let _ = presence_ping(datagram);
    read_payload(datagram);
    let Some(packet) = Packet::parse(datagram) else {
        return;
    };
    let _ = Window::default().accept(packet.sequence);
    packet.clear().into_iter().for_each(read_payload);
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let (keys, _) = exchange(suite).keys(b"key");
        packet
            .open(&keys)
            .iter()
            .for_each(|payload| read_payload(payload));
    }
}

/// The exchange whose keys the seeds are sealed with.
fn exchange(suite: CipherSuite) -> Exchange {
    Exchange {
        suite,
        console_session: 1,
        bmc_session: 2,
        console_random: [3; 16],
        bmc_random: [4; 16],
        guid: [5; 16],
        role: 4,
        username: b"admin".to_vec(),
    }
}

fn read_payload(payload: &[u8]) {
    if let Some(message) = Message::decode(payload) {
        assert_eq!(message.encode(), payload);
    }
    if let Some(packet) = SolPacket::decode(payload) {
        assert!(packet.sequence < 16 && packet.acknowledged < 16);
    }
    let tag = payload.first().copied().unwrap_or_default();
    let _ = (
        OpenSession::decode(payload),
        OpenedSession::decode(payload, tag),
    );
    let _ = (Rakp1::decode(payload), Rakp2::decode(payload, tag));
    let _ = (Rakp3::decode(payload), Rakp4::decode(payload, tag));
}

/// What a BMC keeps and gives in pieces: FRU data, a sensor's record, the list of cipher suites.
pub(crate) fn ipmi_storage(bytes: &[u8]) {
    let fru = Fru::parse(bytes);
    let texts = [fru.serial(), fru.manufacturer(), fru.model()];
    // A field has 63 bytes at most, of which six-bit text makes four characters of three.
    assert!(
        texts
            .iter()
            .flatten()
            .all(|text| text.chars().count() <= 126)
    );
    if let Some(record) = SensorRecord::parse(bytes) {
        for raw in [0, 1, 0x7f, 0x80, 0xff] {
            assert!(record.convert(raw).is_none_or(f64::is_finite));
        }
    }
    assert!(cipher_suites(bytes).len() <= bytes.len());
}
