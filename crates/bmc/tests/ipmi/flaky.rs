//! The same over a wire with faults, with a BMC that restarts, and with nobody there.

use std::time::Duration;

use bessemer_bmc::{Bmc, Error, PowerAction, PowerState};
use bessemer_core::reason::FailureClass;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::reference::{PASSWORD, Reference, bmc, soon};
use crate::relay::{Relay, Trouble};

const FLAKY: Trouble = Trouble {
    lost: 15,
    twice: 20,
    late: 15,
    garbage: 20,
    in_order_to_the_bmc: false,
};

#[tokio::test]
async fn lost_repeated_late_and_damaged_datagrams_are_borne() {
    let reference = Reference::start().await;
    for seed in [1, 0x5eed, 0xfeed_beef] {
        let relay = Relay::start(reference.address, FLAKY, seed).await;
        let bmc = bmc(relay.address, PASSWORD).unwrap();
        let identity = bmc.identity(soon()).await;
        let identity = identity.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(identity.machine.serial, "SN-4711");
        bmc.set_power(PowerAction::On, soon()).await.unwrap();
        assert_eq!(bmc.sensors(soon()).await.unwrap()[0].value, Some(42.0));
        bmc.set_power(PowerAction::ForceOff, soon()).await.unwrap();
        assert_eq!(reference.file("power"), "0");
    }
}

#[tokio::test]
async fn a_session_that_the_bmc_has_forgotten_is_opened_again() {
    let mut reference = Reference::start().await;
    let bmc = reference.bmc();
    assert_eq!(bmc.power(soon()).await.unwrap(), PowerState::Off);
    reference.restart().await;
    assert_eq!(bmc.power(soon()).await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn a_wire_that_is_mended_in_time_is_borne() {
    let reference = Reference::start().await;
    let relay = Relay::start(reference.address, Trouble::default(), 1).await;
    let bmc = bmc(relay.address, PASSWORD).unwrap();
    bmc.power(soon()).await.unwrap();
    relay.cut(true);
    let asking = tokio::spawn(async move { bmc.power(soon()).await });
    // Long enough for the client to notice, however busy this machine is.
    relay.lost_since_cut(3).await;
    relay.cut(false);
    assert_eq!(asking.await.unwrap().unwrap(), PowerState::Off);
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_silence_ends_by_the_deadline() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let began = Instant::now();
    let quiet = bmc(address, PASSWORD).unwrap();
    let error = quiet.power(began + Duration::from_secs(1)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(silent);
    let error = bmc(address, PASSWORD).unwrap().power(soon()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
}
