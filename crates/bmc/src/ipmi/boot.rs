//! The one-shot boot device (sections 28.12 to 28.14).

use std::time::Duration;

use tokio::time::Instant;

use super::IpmiBmc;
use super::client::Command;
use super::power::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::{BootDevice, BootMode, Effect, Error};

const SET_BOOT_OPTIONS: Command = Command {
    name: "Set System Boot Options",
    network_function: 0x00,
    number: 0x08,
};

const GET_BOOT_OPTIONS: Command = Command {
    name: "Get System Boot Options",
    network_function: 0x00,
    number: 0x09,
};

/// Parameters of the boot options (table 28-14).
const SET_IN_PROGRESS: u8 = 0;
const VALID_BIT_CLEARING: u8 = 3;
const BOOT_FLAGS: u8 = 5;

/// Values of "set in progress".
const COMPLETE: u8 = 0;
const IN_PROGRESS: u8 = 1;
/// Completion code: somebody else is setting boot options.
const ALREADY_IN_PROGRESS: u8 = 0x81;

/// Do not forget the flags if the machine is not started within 60 s: a switch port may have to be
/// changed in between.
const KEEP_AFTER_TIMEOUT: u8 = 0x08;

/// Boot flags, first byte: they hold; they hold for UEFI.
const VALID: u8 = 0x80;
const EFI: u8 = 0x20;
/// All of the first byte that says what will happen: valid, persistent, EFI.
const FIRST_MASK: u8 = 0xe0;
/// The boot device in the second byte.
const DEVICE_MASK: u8 = 0x3c;

/// How often somebody else's setting is waited for.
const MOST_TRIES: u32 = 4;
const OTHERS_PAUSE: Duration = Duration::from_millis(500);

impl IpmiBmc {
    pub(super) async fn override_boot(
        &self,
        device: BootDevice,
        mode: BootMode,
        deadline: Instant,
    ) -> Result<(), Error> {
        let wanted = [
            match mode {
                BootMode::Uefi => VALID | EFI,
                BootMode::Legacy => VALID,
            },
            self.selector(device)? << 2,
        ];
        if self.boot_flags(deadline).await? == wanted {
            return Ok(());
        }
        self.begin_setting(deadline).await?;
        // BMCs without this parameter forget the flags after a minute, which is usually enough.
        let keep = [VALID_BIT_CLEARING, KEEP_AFTER_TIMEOUT];
        self.client.ask(SET_BOOT_OPTIONS, &keep, deadline).await?;
        let flags = [BOOT_FLAGS, wanted[0], wanted[1], 0, 0, 0];
        let set = self
            .client
            .command(SET_BOOT_OPTIONS, &flags, deadline)
            .await;
        let end = [SET_IN_PROGRESS, COMPLETE];
        self.client.ask(SET_BOOT_OPTIONS, &end, deadline).await?;
        set?;
        self.see_boot_flags(wanted, deadline).await
    }

    /// The number of a boot device (table 28-14, parameter 5, second byte).
    fn selector(&self, device: BootDevice) -> Result<u8, Error> {
        Ok(match device {
            BootDevice::Pxe => 1,
            BootDevice::Disk => 2,
            BootDevice::FirmwareSetup => 6,
            BootDevice::VirtualMedia => 8,
            BootDevice::UefiHttp => {
                return Err(Error::NotOffered {
                    bmc: self.client.bmc().to_owned(),
                    wanted: "boot over UEFI HTTP by IPMI".to_owned(),
                    offered: ["PXE", "disk", "virtual media", "firmware setup"]
                        .map(str::to_owned)
                        .to_vec(),
                });
            }
        })
    }

    /// Takes the lock that the parameters have, where they have one. One that is never given back
    /// is taken over: whoever had it is gone.
    async fn begin_setting(&self, deadline: Instant) -> Result<(), Error> {
        let begin = [SET_IN_PROGRESS, IN_PROGRESS];
        for _ in 0..MOST_TRIES {
            let answer = self.client.ask(SET_BOOT_OPTIONS, &begin, deadline).await?;
            if answer.code != ALREADY_IN_PROGRESS || Instant::now() + OTHERS_PAUSE >= deadline {
                break;
            }
            tokio::time::sleep(OTHERS_PAUSE).await;
        }
        Ok(())
    }

    /// What the flags say of mode and device.
    async fn boot_flags(&self, deadline: Instant) -> Result<[u8; 2], Error> {
        let which = [BOOT_FLAGS, 0, 0];
        let answer = self.client.ask(GET_BOOT_OPTIONS, &which, deadline).await?;
        if answer.code != 0 {
            return Err(self.client.refusal(GET_BOOT_OPTIONS, answer.code));
        }
        // Parameter version, parameter, then its data.
        match answer.data.get(1..4) {
            Some([parameter, first, second]) if parameter & 0x7f == BOOT_FLAGS => {
                Ok([first & FIRST_MASK, second & DEVICE_MASK])
            }
            _ => Err(self.client.nonsense(GET_BOOT_OPTIONS)),
        }
    }

    async fn see_boot_flags(&self, wanted: [u8; 2], deadline: Instant) -> Result<(), Error> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = self.boot_flags(deadline).await?;
            if seen == wanted {
                return Ok(());
            }
            if Instant::now() + pause >= deadline {
                let shown =
                    |flags: [u8; 2]| format!("boot flags {:02x} {:02x}", flags[0], flags[1]);
                return Err(Error::NotVerified {
                    of: Effect::Boot,
                    bmc: self.client.bmc().to_owned(),
                    wanted: shown(wanted),
                    seen: shown(seen),
                    waited: began.elapsed(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
