//! Power, resets and boot overrides.

use bessemer_sim::machine::{BootTarget, Machine, MachineEvent};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{RESET, Rig, SYSTEM, expect_error};

#[tokio::test]
async fn a_one_shot_override_serves_one_boot() {
    let rig = Rig::start().await;
    let mut events = rig.machine.events();
    rig.set_override("Once", "UefiHttp").await;
    assert_eq!(rig.reset("On").await.status(), StatusCode::NO_CONTENT);
    let booted = |boot, target| MachineEvent::Booted { boot, target };
    assert_eq!(events.recv().await, Ok(booted(1, BootTarget::UefiHttp)));
    let system = rig.get(SYSTEM).await;
    assert_eq!(system["PowerState"], "On");
    assert_eq!(system["Boot"]["BootSourceOverrideEnabled"], "Disabled");
    assert_eq!(system["Oem"]["Bessemer"]["BootCount"], 1);
    rig.machine.reboot_from_within();
    assert_eq!(events.recv().await, Ok(booted(2, BootTarget::None)));
}

#[tokio::test]
async fn an_override_on_a_running_machine_holds_from_its_next_reset() {
    let rig = Rig::start().await;
    rig.reset("On").await;
    let mut events = rig.machine.events();
    rig.set_override("Continuous", "Pxe").await;
    assert_eq!(
        rig.reset("ForceRestart").await.status(),
        StatusCode::NO_CONTENT
    );
    rig.machine.reboot_from_within();
    for boot in [2, 3] {
        let target = BootTarget::Pxe;
        assert_eq!(
            events.recv().await,
            Ok(MachineEvent::Booted { boot, target })
        );
    }
    rig.patch(&json!({"Boot": {"BootSourceOverrideTarget": "None"}}))
        .await;
    assert_eq!(
        rig.get(SYSTEM).await["Boot"]["BootSourceOverrideEnabled"],
        "Disabled"
    );
    rig.machine.reboot_from_within();
    let target = BootTarget::None;
    assert_eq!(
        events.recv().await,
        Ok(MachineEvent::Booted { boot: 4, target })
    );
}

#[tokio::test]
async fn commands_that_make_no_sense_now_are_refused_and_change_nothing() {
    let rig = Rig::start().await;
    for kind in ["ForceOff", "GracefulShutdown", "ForceRestart"] {
        let answer = rig.reset(kind).await;
        expect_error(
            answer,
            StatusCode::CONFLICT,
            "InvalidOperationForSystemState",
        )
        .await;
    }
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "Off");
    rig.reset("On").await;
    for kind in ["On", "ForceOn"] {
        let answer = rig.reset(kind).await;
        expect_error(
            answer,
            StatusCode::CONFLICT,
            "InvalidOperationForSystemState",
        )
        .await;
    }
    assert_eq!(rig.machine.boot_count(), 1);
}

#[tokio::test]
async fn reset_types_that_do_not_exist_are_refused() {
    let rig = Rig::start().await;
    let answer = rig.reset("Explode").await;
    expect_error(answer, StatusCode::BAD_REQUEST, "PropertyValueNotInList").await;
    let answer = rig
        .request(Method::POST, RESET)
        .json(&json!({}))
        .send()
        .await;
    expect_error(
        answer.expect("an answer"),
        StatusCode::BAD_REQUEST,
        "PropertyMissing",
    )
    .await;
    assert_eq!(rig.machine.boot_count(), 0);
}

#[tokio::test]
async fn a_shutdown_is_a_request_and_power_off_is_what_follows() {
    let rig = Rig::start().await;
    rig.reset("On").await;
    let mut events = rig.machine.events();
    assert_eq!(
        rig.reset("GracefulShutdown").await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(events.recv().await, Ok(MachineEvent::ShutdownRequested));
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "On");
    rig.machine.power_off_from_within();
    assert_eq!(events.recv().await, Ok(MachineEvent::PoweredOff));
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "Off");
    assert_eq!(rig.get("/redfish/v1/Chassis/1").await["PowerState"], "Off");
}
