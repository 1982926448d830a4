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
async fn a_mode_that_may_not_be_named_is_left_out_if_it_is_right() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let named = seen.body["Boot"].get("BootSourceOverrideMode").is_some();
        (seen.method == Method::PATCH && named).then(|| {
            let message = "The property BootSourceOverrideMode is read-only.";
            refusal(StatusCode::BAD_REQUEST, message)
        })
    });
    boot_http(&service).await.unwrap();
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 2);
    let error = service
        .client()
        .set_boot_once(BootDevice::Pxe, BootMode::Legacy, soon())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 3);
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
async fn a_change_in_between_is_noticed_and_survived() {
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
}

/// The `If-Match` headers of all changes so far.
fn tags(service: &Service) -> Vec<Option<String>> {
    service.world(|world| {
        let patches = world
            .seen
            .iter()
            .filter(|seen| seen.method == Method::PATCH);
        patches
            .map(|seen| seen.header("if-match").map(str::to_owned))
            .collect()
    })
}

#[tokio::test]
async fn tags_that_never_match_are_put_another_way_but_not_for_ever() {
    // What the BMC hands out, what it then wants, and what it is sent until it has that.
    let one = || Some("\"1\"".to_owned());
    let any = || Some("*".to_owned());
    for (handed_out, wanted, sent) in [
        (Some("\"1\""), Some("*"), vec![one(), any()]),
        (Some("\"1\""), None, vec![one(), any(), None]),
        (
            Some("W/\"1\""),
            Some("W/\"1\""),
            vec![None, Some("W/\"1\"".to_owned())],
        ),
        (None, Some("*"), vec![None, any()]),
    ] {
        let service = Service::start(small_tree()).await;
        if let Some(tag) = handed_out {
            service.world(|world| world.system()["@odata.etag"] = tag.into());
        }
        service.rule(move |seen, world| {
            if seen.method != Method::PATCH {
                return None;
            }
            if seen.header("if-match") != wanted {
                let status = match seen.header("if-match") {
                    None => StatusCode::PRECONDITION_REQUIRED,
                    Some(_) => StatusCode::PRECONDITION_FAILED,
                };
                return Some(refusal(status, "Not this tag."));
            }
            world.system()["Boot"] = seen.body["Boot"].clone();
            Some(done())
        });
        boot_http(&service).await.unwrap();
        assert_eq!(tags(&service), sent, "{handed_out:?} {wanted:?}");
    }

    let service = Service::start(small_tree()).await;
    service.world(|world| world.system()["@odata.etag"] = "\"1\"".into());
    service.rule(|seen, _| {
        (seen.method == Method::PATCH)
            .then(|| refusal(StatusCode::PRECONDITION_FAILED, "It has changed."))
    });
    let error = boot_http(&service).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!(tags(&service), [one(), any(), None]);
}

#[tokio::test]
async fn a_tag_that_no_header_can_hold_is_not_sent() {
    let service = Service::start(small_tree()).await;
    let tag = "\"1\"\r\nX-Auth-Token: another";
    service.world(|world| world.system()["@odata.etag"] = tag.into());
    let error = boot_http(&service).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(error.to_string().contains("makes no request"), "{error}");
    assert_eq!(service.count(&Method::PATCH, SYSTEM), 0);
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
