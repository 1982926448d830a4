//! Our own client against the lab's controller: what `ipmi_sim` cannot show.

use std::time::Duration;

use bessemer_bmc::{Bmc, BootDevice, BootMode, Error, PowerAction};
use bessemer_sim::machine::{BootTarget, Machine, PowerState};
use bessemer_sim::redfish::Faults;
use tokio::time::Instant;

use crate::support::{LIMIT, Lab, PASSWORD};

fn soon() -> Instant {
    Instant::now() + LIMIT
}

#[tokio::test]
async fn the_machine_is_named_started_from_the_network_and_stopped() {
    let lab = Lab::start().await;
    let client = lab.client(PASSWORD);
    let inventory = lab.machine.inventory();
    let identity = client.identity(soon()).await.unwrap();
    assert_eq!(identity.machine.serial, inventory.serial_number);
    assert_eq!(identity.machine.uuid, Some(inventory.uuid));
    assert_eq!(identity.model.as_deref(), Some("Simulated Server"));
    assert!(client.capabilities(soon()).await.unwrap().serial_over_lan);
    for mode in [BootMode::Uefi, BootMode::Legacy] {
        client
            .set_boot_once(BootDevice::Pxe, mode, soon())
            .await
            .unwrap();
        assert_eq!(lab.machine.boot_override().target, BootTarget::Pxe);
    }
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(lab.machine.power_state().await, PowerState::On);
    let sensors = client.sensors(soon()).await.unwrap();
    let power = sensors.iter().find(|sensor| sensor.name == "System Power");
    assert_eq!(power.and_then(|sensor| sensor.value), Some(180.0));
    client
        .set_power(PowerAction::ForceOff, soon())
        .await
        .unwrap();
    assert_eq!(lab.machine.power_state().await, PowerState::Off);
    client.close().await;
    assert!(client.requests() > 0);
}

#[tokio::test]
async fn a_boot_device_that_is_not_kept_is_noticed() {
    let lab = Lab::start().await;
    lab.bmc.faults().set(Faults {
        ignore_boot_override: true,
        ..Faults::default()
    });
    let deadline = Instant::now() + Duration::from_secs(1);
    let client = lab.client(PASSWORD);
    let set = client.set_boot_once(BootDevice::Pxe, BootMode::Uefi, deadline);
    let error = set.await.unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
}

#[tokio::test]
async fn a_busy_controller_is_given_time() {
    let lab = Lab::start().await;
    lab.bmc.faults().set(Faults {
        unavailable_answers: 2,
        ..Faults::default()
    });
    lab.client(PASSWORD).power(soon()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_named() {
    let lab = Lab::start().await;
    let error = lab.client("wrong").power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error}");
}

#[tokio::test]
async fn a_console_taken_by_another_says_so_and_can_be_had_again() {
    let lab = Lab::start().await;
    let (first, second) = (lab.client(PASSWORD), lab.client(PASSWORD));
    let mut lost = first.open_console(soon()).await.unwrap();
    let mut console = second.open_console(soon()).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, lost.read()).await.unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("another session"), "{error}");
    let port = lab.machine.serial();
    while !port.write("hello") {
        tokio::task::yield_now().await;
    }
    let heard = tokio::time::timeout(LIMIT, console.read()).await.unwrap();
    assert_eq!(heard.unwrap().unwrap(), b"hello");
    console.close().await;
    first.open_console(soon()).await.unwrap().close().await;
}
