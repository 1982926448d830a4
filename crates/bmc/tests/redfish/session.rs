//! Logins: made once, made again when forgotten, given back, and never hammered.

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use bessemer_bmc::redfish::RedfishBmc;
use bessemer_bmc::{Bmc, Credentials, Error, PowerState};
use bessemer_core::reason::FailureClass;

use crate::service::{PASSWORD, Seen, Service, refusal, small_tree, soon};

fn is_login(seen: &Seen) -> bool {
    seen.is(&Method::POST, "/redfish/v1/SessionService/Sessions")
}

#[tokio::test]
async fn one_login_serves_many_calls() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    for _ in 0..5 {
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
    }
    assert_eq!(service.logins(), 1);
    // Service root, login and the list of systems once, the system five times.
    assert_eq!(client.requests(), 8);
}

#[tokio::test]
async fn a_forgotten_session_is_made_again_once() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    client.power(soon()).await.unwrap();
    service.world(|world| world.sessions.clear());
    assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
    assert_eq!(service.logins(), 2);
}

#[tokio::test]
async fn a_bmc_that_forgets_every_session_is_not_asked_for_ever() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    client.power(soon()).await.unwrap();
    service.rule(|seen, _| {
        (!is_login(seen)).then(|| refusal(StatusCode::UNAUTHORIZED, "Who are you?"))
    });
    let error = client.power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error}");
    assert_eq!(service.logins(), 2);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_named_for_the_operator() {
    let service = Service::start(small_tree()).await;
    let mut config = service.config();
    config.credentials = Credentials::new("admin", "wrong-horse");
    let client = RedfishBmc::new(config).unwrap();
    let error = client.power(soon()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    let text = error.to_string();
    assert!(
        text.contains("\"admin\"") && text.contains(&service.address.to_string()),
        "{text}"
    );
    assert!(
        text.contains("credentials") && !text.contains("wrong-horse"),
        "{text}"
    );
    assert!(!format!("{error:?} {client:?}").contains("wrong-horse"));
    // More would lock the account.
    assert_eq!(service.logins(), 1);
}

#[tokio::test]
async fn an_account_without_rights_is_told_from_a_wrong_password() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        (seen.path == "/redfish/v1/Systems/1")
            .then(|| refusal(StatusCode::FORBIDDEN, "Insufficient privilege."))
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    let text = error.to_string();
    assert!(
        text.contains("role") && text.contains("Insufficient privilege."),
        "{text}"
    );
}

#[tokio::test]
async fn without_sessions_every_request_is_authenticated() {
    let nowhere = Service::start(small_tree()).await;
    nowhere.world(|world| {
        world.resources.get_mut("/redfish/v1").unwrap()["Links"].take();
    });
    let refused = Service::start(small_tree()).await;
    refused.rule(|seen, _| is_login(seen).then(|| StatusCode::NOT_FOUND.into_response()));
    let full = Service::start(small_tree()).await;
    full.rule(|seen, _| {
        let body = r#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"Base.1.8.SessionLimitExceeded"}]}}"#;
        is_login(seen).then(|| (StatusCode::SERVICE_UNAVAILABLE, body).into_response())
    });
    for service in [nowhere, refused, full] {
        let client = service.client();
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
        assert!(service.logins() <= 1);
    }
}

#[tokio::test]
async fn a_session_is_given_back() {
    let service = Service::start(small_tree()).await;
    let client = service.client();
    client.power(soon()).await.unwrap();
    client.close().await;
    assert!(service.world(|world| world.sessions.is_empty()));
    // And can be had again.
    client.power(soon()).await.unwrap();
    assert_eq!(service.world(|world| world.sessions.len()), 1);
    drop(client);
    let limit = soon();
    while service.world(|world| !world.sessions.is_empty()) {
        assert!(tokio::time::Instant::now() < limit);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bmc_that_quotes_the_password_does_not_make_us_repeat_it() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let message = format!("The value '{PASSWORD}' of Password is not acceptable.");
        is_login(seen).then(|| refusal(StatusCode::BAD_REQUEST, &message))
    });
    let error = service.client().power(soon()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("(password)") && !text.contains(PASSWORD),
        "{text}"
    );
    assert!(!format!("{error:?}").contains(PASSWORD));
}
