//! Peers that are slow, broken, endless or not BMCs at all.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use bessemer_bmc::redfish::{RedfishBmc, Security};
use bessemer_bmc::{Bmc, Error, PowerAction, PowerState};
use bessemer_core::reason::FailureClass;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::service::{Service, config, raw_peer, refusal, small_tree, soon};

fn plain(address: impl std::fmt::Display) -> RedfishBmc {
    RedfishBmc::new(config(
        &format!("http://{address}"),
        Security::UnencryptedHttp,
    ))
    .unwrap()
}

#[tokio::test]
async fn nobody_there_is_transient_after_bounded_tries() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = plain(address);
    let error = client.power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(client.requests(), 3);
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let (address, _peer) = raw_peer(|_, stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let mut config = config(&format!("http://{address}"), Security::UnencryptedHttp);
    config.limits.request = Duration::from_millis(80);
    let error = RedfishBmc::new(config)
        .unwrap()
        .power(soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");

    // The caller's deadline comes first if it is earlier.
    let deadline = tokio::time::Instant::now() + Duration::from_millis(80);
    let error = plain(address).power(deadline).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
}

#[tokio::test]
async fn a_connection_closed_in_the_middle_is_tried_again() {
    let answer = json!({"Links": {}, "Systems": {"@odata.id": "/redfish/v1/Systems"}}).to_string();
    let (address, _peer) = raw_peer(move |number, mut stream| {
        let answer = answer.clone();
        async move {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await?;
            let promised = answer.len() + if number == 0 { 1 } else { 0 };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(answer.as_bytes()).await
        }
    })
    .await;
    let client = plain(address);
    // The list of systems is answered by the service root: nonsense, but the second request.
    let error = client.power(soon()).await.unwrap_err();
    assert!(error.to_string().contains("Members"), "{error}");
    assert_eq!(client.requests(), 3);
}

#[tokio::test]
async fn no_http_and_no_json_are_permanent() {
    let (address, _peer) = raw_peer(|_, mut stream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await?;
        stream.shutdown().await
    })
    .await;
    let error = plain(address).power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Permanent);

    for body in ["<html>Sign in</html>", "[]", "", "{\"a\":"] {
        let service = Service::start(small_tree()).await;
        service.rule(move |_, _| Some(body.into_response()));
        let error = service.client().power(soon()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{body}: {error:?}");
    }
    let service = Service::start(small_tree()).await;
    service.rule(|_, _| Some(StatusCode::NOT_FOUND.into_response()));
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(error.to_string().contains("no Redfish service"), "{error}");
}

#[tokio::test]
async fn deep_nesting_does_not_overflow() {
    let service = Service::start(small_tree()).await;
    service.rule(|_, _| Some(format!("{{\"a\":{}", "[".repeat(1 << 20)).into_response()));
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn long_answers_are_not_read_to_the_end() {
    let service = Service::start(small_tree()).await;
    service.rule(|_, _| Some("x".repeat(65).into_response()));
    let mut config = service.config();
    config.limits.body_bytes = 64;
    let error = RedfishBmc::new(config)
        .unwrap()
        .power(soon())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("longer than 64 bytes"),
        "{error}"
    );
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[tokio::test]
async fn reading_is_repeated_when_the_bmc_is_busy_and_writing_is_not() {
    let service = Service::start(small_tree()).await;
    let mut left = 2;
    service.rule(move |seen, _| {
        if seen.method != Method::GET || left == 0 {
            return None;
        }
        left -= 1;
        let answer = (StatusCode::SERVICE_UNAVAILABLE, [("Retry-After", "0")], "");
        Some(answer.into_response())
    });
    assert_eq!(
        service.client().power(soon()).await.unwrap(),
        PowerState::Off
    );

    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let login = seen.path.ends_with("/Sessions");
        login.then(|| refusal(StatusCode::SERVICE_UNAVAILABLE, "Later."))
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
    assert_eq!(service.logins(), 1);

    let service = Service::start(small_tree()).await;
    service.rule(|_, _| Some(refusal(StatusCode::SERVICE_UNAVAILABLE, "Later.")));
    let client = service.client();
    let error = client.power(soon()).await.unwrap_err();
    assert!(error.to_string().contains("Later."), "{error}");
    assert_eq!(client.requests(), 3);
}

#[tokio::test]
async fn redirects_are_followed_on_the_bmc_and_nowhere_else() {
    let elsewhere = Service::start(small_tree()).await;
    let service = Service::start(small_tree()).await;
    let foreign = format!("http://{}/redfish/v1/Systems/1", elsewhere.address);
    service.rule(move |seen, _| {
        let target = match seen.path.as_str() {
            "/redfish/v1/Systems" => "/redfish/v1/moved",
            "/redfish/v1/moved" => {
                let members = json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]});
                return Some(members.to_string().into_response());
            }
            "/redfish/v1/Systems/1" => &foreign,
            _ => return None,
        };
        let answer = (
            StatusCode::TEMPORARY_REDIRECT,
            [("Location", target.to_owned())],
        );
        Some(answer.into_response())
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&elsewhere.address.to_string()),
        "{error}"
    );
    assert_eq!(elsewhere.world(|world| world.seen.len()), 0);
}

#[tokio::test]
async fn redirects_end_and_never_carry_a_change() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let around = seen.path == "/redfish/v1/Systems" || seen.method == Method::POST;
        let answer = (
            StatusCode::PERMANENT_REDIRECT,
            [("Location", seen.path.clone())],
        );
        (around && !seen.path.ends_with("Sessions")).then(|| answer.into_response())
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(service.count(&Method::GET, "/redfish/v1/Systems"), 4);

    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let answer = (StatusCode::FOUND, [("Location", "/redfish/v1/Systems/1")]);
        seen.path.ends_with("Reset").then(|| answer.into_response())
    });
    let error = service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn references_to_other_hosts_are_not_followed() {
    let elsewhere = Service::start(small_tree()).await;
    let service = Service::start(small_tree()).await;
    let foreign = format!("//{}/redfish/v1/Systems/1", elsewhere.address);
    service.world(|world| {
        let members = json!({"Members": [{"@odata.id": foreign}]});
        world
            .resources
            .insert("/redfish/v1/Systems".to_owned(), members);
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(elsewhere.world(|world| world.seen.len()), 0);
}

#[tokio::test]
async fn several_systems_need_a_name() {
    let service = Service::start(small_tree()).await;
    service.world(|world| {
        let pages = json!({
            "Members": [{"@odata.id": "/redfish/v1/Systems/0"}],
            "Members@odata.nextLink": "/redfish/v1/Systems/page2",
        });
        let second = world
            .resources
            .insert("/redfish/v1/Systems".to_owned(), pages)
            .unwrap();
        world
            .resources
            .insert("/redfish/v1/Systems/page2".to_owned(), second);
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    assert!(error.to_string().contains("0, 1"), "{error}");
    for (name, found) in [("1", true), ("7", false)] {
        let mut config = service.config();
        config.system = Some(name.to_owned());
        let result = RedfishBmc::new(config).unwrap().power(soon()).await;
        match result {
            Ok(state) => assert!(found && state == PowerState::Off),
            Err(error) => assert!(!found && error.to_string().contains("\"7\""), "{error}"),
        }
    }
}

#[tokio::test]
async fn pages_end() {
    let service = Service::start(small_tree()).await;
    service.world(|world| {
        world.resources.get_mut("/redfish/v1/Systems").unwrap()["Members@odata.nextLink"] =
            "/redfish/v1/Systems".into();
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(error.to_string().contains("32 pages"), "{error}");
    assert_eq!(service.count(&Method::GET, "/redfish/v1/Systems"), 32);
}

#[tokio::test]
async fn one_request_is_in_flight_at_a_time() {
    let service = Service::start(small_tree()).await;
    let client = Arc::new(service.client());
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.power(soon()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(service.most_in_flight(), 1);
    assert_eq!(service.logins(), 1);
}
