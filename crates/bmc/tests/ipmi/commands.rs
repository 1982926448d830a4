//! What a BMC is asked for, over a wire without faults.

use std::time::Duration;

use bessemer_bmc::ipmi::Sensor;
use bessemer_bmc::{Bmc, BootDevice, BootMode, Error, PowerAction, PowerState};
use bessemer_core::reason::FailureClass;
use tokio::time::Instant;

use crate::reference::{PASSWORD, Reference, account, bmc, soon};

#[tokio::test]
async fn the_machine_is_named_by_its_fru_and_guid() {
    let reference = Reference::start().await;
    let bmc = reference.bmc();
    let identity = bmc.identity(soon()).await.unwrap();
    assert_eq!(identity.machine.serial, "SN-4711");
    assert_eq!(identity.manufacturer.as_deref(), Some("Foundry"));
    assert_eq!(identity.model.as_deref(), Some("Anvil 2"));
    let uuid = identity.machine.uuid.expect("a GUID");
    assert!(
        [
            "a1234567-89ab-4def-8123-456789abcdef",
            "674523a1-ab89-ef4d-8123-456789abcdef"
        ]
        .contains(&uuid.to_string().as_str()),
        "{uuid}"
    );
    let capabilities = bmc.capabilities(soon()).await.unwrap();
    assert!(capabilities.pxe && capabilities.serial_over_lan && !capabilities.uefi_http);
    bmc.close().await;
}

#[tokio::test]
async fn power_is_switched_and_seen() {
    let reference = Reference::start().await;
    let bmc = reference.bmc();
    assert_eq!(bmc.power(soon()).await.unwrap(), PowerState::Off);
    bmc.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(reference.file("power"), "1");
    let commands = reference.file("commands");
    bmc.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(reference.file("commands"), commands, "it was on already");
    bmc.set_power(PowerAction::ForceRestart, soon())
        .await
        .unwrap();
    assert_eq!(reference.file("power"), "1");
    bmc.set_power(PowerAction::GracefulOff, soon())
        .await
        .unwrap();
    assert_eq!(reference.file("power"), "0");
    bmc.set_power(PowerAction::ForceOff, soon()).await.unwrap();
    bmc.close().await;
}

#[tokio::test]
async fn power_that_does_not_come_is_not_verified() {
    let reference = Reference::start().await;
    // A chassis that accepts every command and does nothing.
    reference.set_file(
        "chassis",
        "#!/bin/sh\n[ $2 = get ] && echo power:0\nexit 0\n",
    );
    let deadline = Instant::now() + Duration::from_secs(2);
    let error = reference.bmc().set_power(PowerAction::On, deadline).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
}

/// `ipmi_sim` takes the boot device and reads back flags that are not valid: a BMC on which the
/// override would not hold. (One that keeps it is in the tests of the lab's BMC.)
#[tokio::test]
async fn a_boot_device_that_is_not_kept_is_not_verified() {
    let reference = Reference::start().await;
    let deadline = Instant::now() + Duration::from_secs(2);
    let set = reference.bmc();
    let set = set.set_boot_once(BootDevice::Pxe, BootMode::Uefi, deadline);
    let error = set.await.unwrap_err();
    assert!(error.to_string().contains("boot flags a0 04"), "{error}");
    assert_eq!(reference.file("boot"), "pxe");
}

#[tokio::test]
async fn what_ipmi_cannot_boot_is_refused() {
    let nowhere = bmc("127.0.0.1:9".parse().unwrap(), PASSWORD).unwrap();
    let set = nowhere.set_boot_once(BootDevice::UefiHttp, BootMode::Uefi, soon());
    let error = set.await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    assert!(error.to_string().contains("PXE"), "{error}");
}

#[tokio::test]
async fn sensors_are_found_and_read() {
    let reference = Reference::start().await;
    let sensors = reference.bmc().sensors(soon()).await.unwrap();
    let expected = Sensor {
        name: "Temp".into(),
        value: Some(42.0),
        unit: "°C".into(),
    };
    assert_eq!(sensors, [expected]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_are_named() {
    let reference = Reference::start().await;
    let wrong = bmc(reference.address, "wrong").unwrap();
    let unknown = account(reference.address, "nobody", PASSWORD).unwrap();
    for (bmc, name) in [(wrong, "\"admin\""), (unknown, "\"nobody\"")] {
        let error = bmc.power(soon()).await.unwrap_err();
        assert!(matches!(error, Error::WrongCredentials { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn an_operator_is_enough() {
    let reference = Reference::start().await;
    let operator = account(reference.address, "operator", "other").unwrap();
    operator.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(reference.file("power"), "1");
}

#[tokio::test]
async fn what_does_not_fit_into_ipmi_is_named() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    for (username, password, field) in [
        ("admin", "123456789012345678901", "password"),
        ("admin", "zero\0", "password"),
        ("a-name-of-17-byte", "x", "user name"),
    ] {
        let error = account(nowhere, username, password).unwrap_err();
        assert_eq!(error.class(), FailureClass::Operator);
        let text = error.to_string();
        assert!(text.contains(field) && !text.contains(password), "{text}");
    }
}
