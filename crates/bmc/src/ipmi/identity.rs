//! Which machine a BMC manages: its GUID (section 20.8), and what its FRU storage says.

use bessemer_core::hardware::MachineIdentity;
use tokio::time::Instant;
use uuid::Uuid;

use super::IpmiBmc;
use super::client::Command;
use crate::{Error, Identity};

const GET_SYSTEM_GUID: Command = Command {
    name: "Get System GUID",
    network_function: 0x06,
    number: 0x37,
};

impl IpmiBmc {
    pub(super) async fn read_identity(&self, deadline: Instant) -> Result<Identity, Error> {
        let answer = self.client.ask(GET_SYSTEM_GUID, &[], deadline).await?;
        let guid = (answer.code == 0).then_some(answer.data);
        let guid = guid.and_then(|guid| guid.try_into().ok()).and_then(uuid);
        let fru = self.read_fru(deadline).await?;
        let serial = fru.serial().unwrap_or_default();
        // Better no UUID than a wrong one, where the serial number tells the machine.
        let uuid = guid.filter(|(_, certain)| *certain || serial.is_empty());
        Ok(Identity {
            machine: MachineIdentity {
                serial,
                uuid: uuid.map(|(uuid, _)| uuid),
            },
            manufacturer: fru.manufacturer(),
            model: fru.model(),
            bios_version: None,
        })
    }
}

/// The UUID in a GUID as BMCs give it, and whether that is certain: reversed as the specification
/// has it, or in one of the two orders of SMBIOS, which whoever compares identities takes for equal.
/// Version and variant (RFC 9562, section 4) tell which, mostly. `None` where the BMC has none.
fn uuid(guid: [u8; 16]) -> Option<(Uuid, bool)> {
    if guid == [0; 16] || guid == [0xff; 16] {
        return None;
    }
    let makes_sense = |uuid: &Uuid| {
        uuid.get_variant() == uuid::Variant::RFC4122 && (1..=8).contains(&uuid.get_version_num())
    };
    let mut reversed = guid;
    reversed.reverse();
    let reversed = Some(Uuid::from_bytes(reversed)).filter(makes_sense);
    let straight = [Uuid::from_bytes_le(guid), Uuid::from_bytes(guid)];
    let straight = straight.into_iter().find(makes_sense);
    let certain = reversed.is_some() != straight.is_some();
    let found = straight.or(reversed);
    Some((found.unwrap_or(Uuid::from_bytes_le(guid)), certain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_found_in_every_order() {
        let machine: Uuid = "4c4c4544-0042-4710-8058-b1c04f4d3233".parse().unwrap();
        let mut reversed = machine.into_bytes();
        reversed.reverse();
        let identity = |uuid| MachineIdentity {
            serial: String::new(),
            uuid: Some(uuid),
        };
        for guid in [machine.into_bytes(), machine.to_bytes_le(), reversed] {
            let (found, certain) = uuid(guid).unwrap();
            assert!(identity(machine).matches(&identity(found)), "{found}");
            assert!(certain);
        }
    }

    #[test]
    fn no_guid_is_no_uuid() {
        assert_eq!(uuid([0; 16]), None);
        assert_eq!(uuid([0xff; 16]), None);
    }
}
