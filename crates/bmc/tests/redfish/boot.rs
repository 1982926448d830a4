//! The one-shot boot override: check, act, verify.

use axum::http::{Method, StatusCode};
use bessemer_bmc::{Bmc, BootDevice, BootMode, Error};
use bessemer_core::reason::FailureClass;

use crate::service::{Service, at_once, done, refusal, small_tree, soon};

const SYSTEM: &str = "/redfish/v1/Systems/1";

async fn boot_http(service: &Service) -> Result<(), Error> {
    service
        .client()
        .set_boot_once(BootDevice::UefiHttp, BootMode::Uefi, soon())
        .await
}

#[tokio::test]
async fn is_set_once_and_then_left_alone() {
    let service = Service::start(small_tree()).await;
    boot_http(&service).await.unwrap();
    boot_http(&service).await.unwrap();
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 1);
}

#[tokio::test]
async fn a_continuous_override_is_not_a_one_shot() {
    let service = Service::start(small_tree()).await;
    service.world(|world| {
        world.system()["Boot"]["BootSourceOverrideEnabled"] = "Continuous".into();
        world.system()["Boot"]["BootSourceOverrideTarget"] = "UefiHttp".into();
    });
    boot_http(&service).await.unwrap();
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 1);
}

#[tokio::test]
async fn a_bmc_without_boot_modes_is_not_sent_one() {
    let service = Service::start(small_tree()).await;
    service.world(|world| {
        world.system()["Boot"]
            .as_object_mut()
            .unwrap()
            .remove("BootSourceOverrideMode")
    });
    boot_http(&service).await.unwrap();
    let boot = service.world(|world| world.system()["Boot"].clone());
    assert_eq!(boot["BootSourceOverrideEnabled"], "Once");
    assert!(boot.get("BootSourceOverrideMode").is_none());
}

#[tokio::test]
async fn a_setting_that_is_not_kept_is_not_success() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| (seen.method == Method::PATCH).then(done));
    let client = service.client();
    let error = client
        .set_boot_once(BootDevice::Pxe, BootMode::Uefi, at_once())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
    let text = error.to_string();
    assert!(
        text.contains("Once Pxe UEFI") && text.contains("Disabled None UEFI"),
        "{text}"
    );
}

#[tokio::test]
async fn a_change_in_between_is_noticed_and_survived_once() {
    let service = Service::start(small_tree()).await;
    service.world(|world| world.system()["@odata.etag"] = "\"1\"".into());
    let mut changes = 1;
    service.rule(move |seen, world| {
        if seen.method == Method::PATCH && changes > 0 {
            changes -= 1;
            world.system()["@odata.etag"] = "\"2\"".into();
        }
        None
    });
    boot_http(&service).await.unwrap();
    let matches: Vec<_> = service.world(|world| {
        let patches = world
            .seen
            .iter()
            .filter(|seen| seen.method == Method::PATCH);
        patches
            .map(|seen| seen.header("if-match").unwrap().to_owned())
            .collect()
    });
    assert_eq!(matches, ["\"1\"", "\"2\""]);

    service.rule(|seen, _| {
        (seen.method == Method::PATCH)
            .then(|| refusal(StatusCode::PRECONDITION_FAILED, "It has changed."))
    });
    let client = service.client();
    let error = client
        .set_boot_once(BootDevice::Pxe, BootMode::Uefi, soon())
        .await
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 4);
}

#[tokio::test]
async fn what_is_not_offered_is_refused_before_anything_is_sent() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    for (device, mode) in [
        (BootDevice::VirtualMedia, BootMode::Uefi),
        (BootDevice::Disk, BootMode::Uefi),
        (BootDevice::UefiHttp, BootMode::Legacy),
    ] {
        let error = client
            .set_boot_once(device, mode, soon())
            .await
            .unwrap_err();
        assert_eq!(error.class(), FailureClass::Operator);
        assert!(error.to_string().contains("None, Pxe, UefiHttp"), "{error}");
    }
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 0);
}
