//! What BMCs send.

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
