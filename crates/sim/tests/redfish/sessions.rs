//! Logging in and out.

use std::time::Duration;

use bessemer_sim::redfish::{Bmc, BmcServer, Transport};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::support::{
    ANY_PORT, PASSWORD, Rig, SESSIONS, SYSTEM, USERNAME, credentials, expect_error,
};

async fn log_in(rig: &Rig, username: &str, password: &str) -> Response {
    let body = json!({"UserName": username, "Password": password});
    rig.anonymous(Method::POST, SESSIONS)
        .json(&body)
        .send()
        .await
        .expect("an answer")
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().expect("text").to_owned()
}

async fn status_with_token(rig: &Rig, token: &str) -> StatusCode {
    let request = rig
        .anonymous(Method::GET, SYSTEM)
        .header("x-auth-token", token);
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn a_session_lasts_from_log_in_to_log_out() {
    let rig = Rig::start().await;
    let created = log_in(&rig, USERNAME, PASSWORD).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let (token, location) = (
        header(&created, "x-auth-token"),
        header(&created, "location"),
    );
    let body = created.text().await.expect("a body");
    assert!(
        !body.contains(PASSWORD) && !body.contains(&token),
        "no secret in {body}"
    );
    assert_eq!(status_with_token(&rig, &token).await, StatusCode::OK);
    assert_eq!(rig.get(&location).await["UserName"], USERNAME);
    let log_out = async || {
        rig.request(Method::DELETE, &location)
            .send()
            .await
            .expect("an answer")
            .status()
    };
    assert_eq!(log_out().await, StatusCode::NO_CONTENT);
    assert_eq!(log_out().await, StatusCode::NOT_FOUND);
    assert_eq!(
        status_with_token(&rig, &token).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn wrong_credentials_open_no_session() {
    let rig = Rig::start().await;
    for (username, password) in [(USERNAME, "wrong"), ("nobody", PASSWORD), (USERNAME, "")] {
        let answer = log_in(&rig, username, password).await;
        expect_error(
            answer,
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
        )
        .await;
        let request = rig
            .anonymous(Method::GET, SYSTEM)
            .basic_auth(username, Some(password));
        let answer = request.send().await.expect("an answer");
        expect_error(
            answer,
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
        )
        .await;
    }
    let incomplete = rig
        .anonymous(Method::POST, SESSIONS)
        .json(&json!({"UserName": USERNAME}));
    let answer = incomplete.send().await.expect("an answer");
    expect_error(answer, StatusCode::BAD_REQUEST, "PropertyMissing").await;
    assert_eq!(rig.get(SESSIONS).await["Members@odata.count"], 0);
}

#[tokio::test]
async fn sessions_run_out_and_log_outs_free_them() {
    let rig = Rig::start().await;
    let mut locations = Vec::new();
    let refused = loop {
        let answer = log_in(&rig, USERNAME, PASSWORD).await;
        if answer.status() != StatusCode::CREATED {
            break answer;
        }
        locations.push(header(&answer, "location"));
        assert!(locations.len() <= 64, "sessions never run out");
    };
    expect_error(
        refused,
        StatusCode::SERVICE_UNAVAILABLE,
        "SessionLimitExceeded",
    )
    .await;
    assert_eq!(
        rig.get(SESSIONS).await["Members@odata.count"],
        locations.len()
    );
    rig.request(Method::DELETE, &locations[0])
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        log_in(&rig, USERNAME, PASSWORD).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_restarted_controller_knows_no_sessions() {
    let rig = Rig::start().await;
    let token = header(&log_in(&rig, USERNAME, PASSWORD).await, "x-auth-token");
    rig.bmc.forget_sessions();
    assert_eq!(
        status_with_token(&rig, &token).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_expired_session_is_refused() {
    let mut rig = Rig::start().await;
    rig.bmc = Bmc::with_session_timeout(rig.machine.clone(), credentials(), Duration::ZERO);
    let server = BmcServer::start(rig.bmc.clone(), ANY_PORT, Transport::Http).await;
    rig.server = server.expect("a free port");
    let token = header(&log_in(&rig, USERNAME, PASSWORD).await, "x-auth-token");
    assert_eq!(
        status_with_token(&rig, &token).await,
        StatusCode::UNAUTHORIZED
    );
}
