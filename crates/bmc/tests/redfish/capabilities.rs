//! What a BMC can be asked for, and the boot mode.

use axum::http::Method;
use axum::response::IntoResponse;
use bessemer_bmc::{Bmc, BootMode, Capabilities, Error};
use bessemer_core::reason::FailureClass;
use serde_json::{Value, json};

use crate::service::{Service, at_once, done, small_tree, soon};
use crate::trees::{dell, hpe, supermicro};

const SYSTEM: &str = "/redfish/v1/Systems/1";

async fn capabilities(service: &Service) -> Capabilities {
    service.client().capabilities(soon()).await.unwrap()
}

#[tokio::test]
async fn every_maker_can_boot_the_agent_in_every_way() {
    // By their own account the first carries no console over IPMI; the others do.
    for (service, serial_over_lan) in [
        (dell().await, false),
        (hpe().await, true),
        (supermicro().await, true),
    ] {
        let expected = Capabilities {
            uefi_http: true,
            pxe: true,
            virtual_media: true,
            boot_mode: Some(BootMode::Uefi),
            graceful_off: true,
            serial_over_lan,
        };
        assert_eq!(capabilities(&service).await, expected);
    }
}

#[tokio::test]
async fn what_is_not_said_is_not_promised() {
    let service = Service::start(small_tree()).await;
    let expected = Capabilities {
        uefi_http: true,
        pxe: true,
        boot_mode: Some(BootMode::Uefi),
        // No reset types are listed, so all are possible.
        graceful_off: true,
        ..Capabilities::default()
    };
    assert_eq!(capabilities(&service).await, expected);

    service.world(|world| world.system()["Boot"]["BootSourceOverrideMode"] = "Legacy".into());
    assert!(!capabilities(&service).await.uefi_http);

    service.world(|world| {
        world.system()["Boot"] = Value::Null;
        world.system()["Actions"] = Value::Null;
    });
    let expected = Capabilities {
        pxe: true,
        ..Capabilities::default()
    };
    assert_eq!(capabilities(&service).await, expected);
}

#[tokio::test]
async fn a_machine_that_cannot_boot_media_is_not_offered_any() {
    let service = hpe().await;
    service.world(|world| {
        world.system()["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] =
            json!(["None", "Pxe"]);
    });
    assert!(!capabilities(&service).await.virtual_media);
}

#[tokio::test]
async fn a_part_that_makes_no_sense_offers_nothing_and_spoils_nothing() {
    let service = hpe().await;
    service.rule(|seen, _| {
        let broken = seen.path.starts_with("/redfish/v1/Managers/1");
        broken.then(|| "no manager today".into_response())
    });
    let expected = Capabilities {
        uefi_http: true,
        pxe: true,
        boot_mode: Some(BootMode::Uefi),
        graceful_off: true,
        ..Capabilities::default()
    };
    assert_eq!(capabilities(&service).await, expected);
}

#[tokio::test]
async fn the_mode_is_set_once_and_then_left_alone() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    for _ in 0..2 {
        client
            .set_boot_mode(BootMode::Legacy, soon())
            .await
            .unwrap();
    }
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 1);
    assert_eq!(
        capabilities(&service).await.boot_mode,
        Some(BootMode::Legacy)
    );
}

#[tokio::test]
async fn a_mode_that_is_not_offered_or_not_kept_is_no_success() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| (seen.method == Method::PATCH).then(done));
    let client = service.client();
    let error = client
        .set_boot_mode(BootMode::Legacy, at_once())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");

    service.world(|world| {
        world.system()["Boot"]["BootSourceOverrideMode@Redfish.AllowableValues"] = json!(["UEFI"]);
    });
    let error = client
        .set_boot_mode(BootMode::Legacy, soon())
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    service.world(|world| world.system()["Boot"] = Value::Null);
    let error = client
        .set_boot_mode(BootMode::Uefi, soon())
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
}

#[tokio::test]
async fn where_the_firmware_has_a_setting_that_is_what_is_changed() {
    for (service, settings, value) in [
        (
            dell().await,
            "/redfish/v1/Systems/System.Embedded.1/Bios/Settings",
            "Bios",
        ),
        (
            hpe().await,
            "/redfish/v1/systems/1/bios/settings",
            "LegacyBios",
        ),
    ] {
        let client = service.client();
        client.set_boot_mode(BootMode::Uefi, soon()).await.unwrap();
        let changes = |service: &Service| {
            service.world(|world| {
                let changes = world
                    .seen
                    .iter()
                    .filter(|seen| seen.method == Method::PATCH);
                changes
                    .map(|seen| (seen.path.clone(), seen.body.clone()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(changes(&service), []);
        for _ in 0..2 {
            client
                .set_boot_mode(BootMode::Legacy, soon())
                .await
                .unwrap();
        }
        let body = json!({"Attributes": {"BootMode": value}});
        assert_eq!(changes(&service), [(settings.to_owned(), body)]);
        // What is pending is taken back, although it is what is in effect.
        client.set_boot_mode(BootMode::Uefi, soon()).await.unwrap();
        assert_eq!(changes(&service).len(), 2);
    }
}

#[tokio::test]
async fn reset_types_listed_elsewhere_are_asked_for_once() {
    let service = supermicro().await;
    service.rule(|seen, _| {
        (seen.path.ends_with("ResetActionInfo") && seen.method != Method::GET)
            .then(|| "".into_response())
    });
    let client = service.client();
    for _ in 0..3 {
        client.capabilities(soon()).await.unwrap();
    }
    assert_eq!(
        service.count(&Method::GET, "/redfish/v1/Systems/1/ResetActionInfo"),
        1
    );
}
