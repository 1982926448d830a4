//! Power: check, act, verify.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use bessemer_bmc::{Bmc, BootDevice, BootMode, Error, PowerAction, PowerState};
use bessemer_core::reason::FailureClass;
use serde_json::json;

use crate::service::{Seen, Service, at_once, done, refusal, small_tree, soon};

fn is_reset(seen: &Seen) -> bool {
    seen.method == Method::POST && seen.path.ends_with("ComputerSystem.Reset")
}

fn is_look(seen: &Seen) -> bool {
    seen.is(&Method::GET, "/redfish/v1/Systems/1")
}

#[tokio::test]
async fn a_machine_already_there_is_left_alone() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    client
        .set_power(PowerAction::ForceOff, soon())
        .await
        .unwrap();
    client
        .set_power(PowerAction::GracefulOff, soon())
        .await
        .unwrap();
    assert!(service.resets().is_empty());
    client.set_power(PowerAction::On, soon()).await.unwrap();
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["On"]);
}

#[tokio::test]
async fn the_machine_that_is_meant_is_switched_and_no_other() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    let meant = client.identity(soon()).await.unwrap().machine;
    let before = client.requests();
    let switched = client.set_power_of(&meant, PowerAction::On, soon());
    switched.await.unwrap();
    // Which machine it is, and whether it is on, is one question.
    assert_eq!(client.requests() - before, 3);
    service.world(|world| world.system()["SerialNumber"] = json!("S2"));
    let switched = client.set_power_of(&meant, PowerAction::ForceOff, soon());
    let error = switched.await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    let text = error.to_string();
    assert!(
        text.contains("expected serial S1, found serial S2"),
        "{text}"
    );
    assert_eq!(service.resets(), ["On"], "another machine was switched");
}

#[tokio::test]
async fn what_was_seen_a_moment_ago_is_enough_to_ask_but_not_to_believe() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    let began = Instant::now();
    client.identity(soon()).await.unwrap();
    let before = client.requests();
    let (device, mode) = (BootDevice::Pxe, BootMode::Uefi);
    client.set_boot_once(device, mode, soon()).await.unwrap();
    client.set_power(PowerAction::On, soon()).await.unwrap();
    let requests = client.requests() - before;
    // On a machine that stands still meanwhile, it is not a moment ago.
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(requests, 4, "each is asked for, and then looked at");
    }
    // Somebody pulls the plug. That it is on was seen a moment ago, and is looked at all the same.
    service.world(|world| world.system()["PowerState"] = "Off".into());
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["On", "On"]);
    // What was seen before we asked for a change says nothing after it, however that ended.
    let off = client.set_power(PowerAction::ForceOff, soon());
    off.await.unwrap();
    let blind = Arc::new(AtomicBool::new(true));
    let is_blind = blind.clone();
    service.rule(move |seen, _| {
        let blind = is_blind.load(Ordering::Relaxed) && is_look(seen);
        blind.then(|| refusal(StatusCode::BAD_GATEWAY, "restarting"))
    });
    let on = client.set_power(PowerAction::On, at_once());
    on.await.unwrap_err();
    blind.store(false, Ordering::Relaxed);
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["On", "On", "ForceOff", "On"]);
}

#[tokio::test]
async fn each_action_ends_where_it_should() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    client
        .set_power(PowerAction::ForceRestart, soon())
        .await
        .unwrap();
    assert_eq!(service.resets(), ["On"]);
    client
        .set_power(PowerAction::ForceRestart, soon())
        .await
        .unwrap();
    assert_eq!(service.resets(), ["On", "ForceOff", "On"]);
    client
        .set_power(PowerAction::GracefulOff, soon())
        .await
        .unwrap();
    assert_eq!(service.resets().last().unwrap(), "GracefulShutdown");
    assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn an_accepted_request_without_effect_is_not_success() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| is_reset(seen).then(done));
    let error = service
        .client()
        .set_power(PowerAction::On, at_once())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
    let text = error.to_string();
    assert!(
        text.contains("power on") && text.contains("power off"),
        "{text}"
    );
    // Asked once, however often it was looked at.
    assert_eq!(service.resets(), ["On"]);
}

#[tokio::test]
async fn a_machine_on_its_way_is_waited_for() {
    let service = Service::start(small_tree()).await;
    service.world(|world| world.system()["PowerState"] = "PoweringOff".into());
    let mut looks = 0;
    service.rule(move |seen, world| {
        if is_reset(seen) {
            world.system()["PowerState"] = "PoweringOn".into();
            return Some(done());
        }
        looks += usize::from(is_look(seen));
        match looks {
            2 => world.system()["PowerState"] = "Off".into(),
            4 => world.system()["PowerState"] = "On".into(),
            _ => {}
        }
        None
    });
    service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap();
    assert_eq!(service.resets(), ["On"]);
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again_but_not_for_ever() {
    let service = Service::start(small_tree()).await;
    let mut refusals = 1;
    service.rule(move |seen, _| {
        if !is_reset(seen) || refusals == 0 {
            return None;
        }
        refusals -= 1;
        Some(refusal(StatusCode::CONFLICT, "A reset is going on."))
    });
    service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap();
    assert_eq!(service.resets(), ["On", "On"]);

    service.rule(|seen, _| {
        is_reset(seen).then(|| refusal(StatusCode::SERVICE_UNAVAILABLE, "Still going on."))
    });
    let error = service
        .client()
        .set_power(PowerAction::ForceOff, soon())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Still going on."), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!(service.resets().len(), 2 + 3);
}

#[tokio::test]
async fn a_refusal_counts_only_if_the_machine_is_not_there() {
    let service = Service::start(small_tree()).await;
    let mut first = true;
    service.rule(move |seen, world| {
        if !is_reset(seen) {
            return None;
        }
        if std::mem::take(&mut first) {
            world.system()["PowerState"] = "On".into();
        }
        Some(refusal(
            StatusCode::BAD_REQUEST,
            "Invalid for this power state.",
        ))
    });
    service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap();
    let error = service
        .client()
        .set_power(PowerAction::ForceOff, soon())
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(
        error.to_string().contains("Invalid for this power state."),
        "{error}"
    );
}

#[tokio::test]
async fn only_what_is_offered_is_asked_for() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    let offer = |values| {
        service.world(|world| {
            world.system()["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] =
                values;
        });
    };
    offer(json!(["ForceOn", "ForceOff"]));
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["ForceOn"]);
    let error = client
        .set_power(PowerAction::GracefulOff, soon())
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    let text = error.to_string();
    assert!(
        text.contains("GracefulShutdown") && text.contains("ForceOn, ForceOff"),
        "{text}"
    );
    assert_eq!(service.resets(), ["ForceOn"]);
}

#[tokio::test]
async fn power_states_beyond_the_standard_are_unknown() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    for value in [json!("Paused"), json!(null), json!(7), json!({"On": true})] {
        service.world(|world| world.system()["PowerState"] = value);
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Unknown);
    }
    service.world(|world| world.system()["Actions"].take());
    let error = client.set_power(PowerAction::On, soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn force_does_not_wait_for_a_machine_that_never_arrives() {
    for stuck in ["PoweringOn", "PoweringOff"] {
        let service = Service::start(small_tree()).await;
        let client = service.client();
        service.world(|world| world.system()["PowerState"] = stuck.into());
        let error = client
            .set_power(PowerAction::GracefulOff, at_once())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotVerified { .. }), "{error}");
        assert!(service.resets().is_empty());
        client
            .set_power(PowerAction::ForceOff, soon())
            .await
            .unwrap();
        assert_eq!(service.resets(), ["ForceOff"]);
    }
}
