//! What can be switched on to go wrong.

use std::time::Duration;

use bessemer_sim::machine::Machine;
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use crate::support::{Rig, SYSTEM, expect_error};

/// Asks until the answer is as `wanted`, within a deadline no healthy machine needs.
async fn eventually(
    rig: &Rig,
    what: &str,
    wanted: fn(&reqwest::Result<reqwest::Response>) -> bool,
) {
    let ask = async {
        while !wanted(&rig.request(Method::GET, SYSTEM).send().await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), ask)
        .await
        .unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test]
async fn connections_are_refused_and_taken_again_on_the_same_port() {
    let rig = Rig::start().await;
    rig.get(SYSTEM).await;
    rig.bmc
        .faults()
        .update(|faults| faults.refuse_connections = true);
    eventually(&rig, "refused", |answer| {
        answer.as_ref().is_err_and(reqwest::Error::is_connect)
    })
    .await;
    rig.bmc
        .faults()
        .update(|faults| faults.refuse_connections = false);
    eventually(&rig, "taken again", Result::is_ok).await;
}

#[tokio::test]
async fn a_changed_password_locks_everybody_out() {
    let rig = Rig::start().await;
    rig.bmc
        .faults()
        .update(|faults| faults.reject_credentials = true);
    let answer = rig
        .request(Method::GET, SYSTEM)
        .send()
        .await
        .expect("an answer");
    expect_error(
        answer,
        StatusCode::UNAUTHORIZED,
        "ResourceAtUriUnauthorized",
    )
    .await;
}

#[tokio::test]
async fn a_restarting_controller_is_unavailable_for_a_while() {
    let rig = Rig::start().await;
    rig.bmc
        .faults()
        .update(|faults| faults.unavailable_answers = 2);
    for _ in 0..2 {
        let answer = rig
            .request(Method::GET, SYSTEM)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.headers()["retry-after"], "1");
        expect_error(
            answer,
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceTemporarilyUnavailable",
        )
        .await;
    }
    rig.get(SYSTEM).await;
}

#[tokio::test]
async fn a_lying_controller_acknowledges_and_does_nothing() {
    let rig = Rig::start().await;
    rig.bmc.faults().update(|faults| {
        faults.ignore_power_commands = true;
        faults.ignore_boot_override = true;
    });
    rig.set_override("Once", "UefiHttp").await;
    assert_eq!(rig.reset("On").await.status(), StatusCode::NO_CONTENT);
    let system = rig.get(SYSTEM).await;
    assert_eq!(system["PowerState"], "Off");
    assert_eq!(system["Boot"]["BootSourceOverrideEnabled"], "Disabled");
}

#[tokio::test]
async fn a_slow_controller_answers_late() {
    let rig = Rig::start().await;
    let delay = Duration::from_secs(3600);
    rig.bmc
        .faults()
        .update(|faults| faults.answer_delay = delay);
    let limit = Duration::from_millis(100);
    let request = rig.request(Method::GET, SYSTEM).timeout(limit).send().await;
    assert!(request.expect_err("no answer within the hour").is_timeout());
}

#[tokio::test]
async fn a_machine_stuck_in_its_firmware_is_on_and_never_boots() {
    let rig = Rig::start().await;
    let mut events = rig.machine.events();
    rig.machine.set_stuck_in_firmware(true);
    assert_eq!(rig.reset("On").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(rig.get(SYSTEM).await["PowerState"], "On");
    assert!(events.try_recv().is_err(), "it has not booted");
    rig.machine.set_stuck_in_firmware(false);
    rig.reset("ForceRestart").await;
    assert!(events.try_recv().is_ok(), "a reset has helped");
    assert_eq!(rig.machine.boot_count(), 2);
}
