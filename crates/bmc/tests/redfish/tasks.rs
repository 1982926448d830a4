//! Requests that a BMC accepts and carries out later.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bessemer_bmc::{Bmc, Error, PowerAction};
use bessemer_core::reason::FailureClass;
use serde_json::{Value, json};

use crate::service::{Seen, Service, World, at_once, refusal, small_tree, soon};

const MONITOR: &str = "/redfish/v1/TaskService/TaskMonitors/7";

fn is_reset(seen: &Seen) -> bool {
    seen.method == Method::POST && seen.path.ends_with("ComputerSystem.Reset")
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, [("Location", MONITOR)], "").into_response()
}

fn task(status: StatusCode, state: &str) -> Response {
    let messages = json!([{"Message": "The fuse is blown."}]);
    let task = json!({"TaskState": state, "Messages": messages});
    (status, task.to_string()).into_response()
}

/// A machine whose reset becomes a task that `monitor` tells of, by how often it has been asked.
async fn machine(monitor: impl Fn(u32, &mut World) -> Response + Send + 'static) -> Service {
    let service = Service::start(small_tree()).await;
    let mut asked = 0;
    service.rule(move |seen, world| {
        if is_reset(seen) {
            return Some(accepted());
        }
        (seen.path == MONITOR).then(|| {
            asked += 1;
            monitor(asked, world)
        })
    });
    service
}

fn switch_on(world: &mut World) {
    world.system()["PowerState"] = "On".into();
}

#[tokio::test]
async fn a_task_is_followed_until_it_ends() {
    // A monitor, a monitor that vanishes, and a task in place of a monitor.
    let endings: [fn() -> Response; 4] = [
        || StatusCode::NO_CONTENT.into_response(),
        || refusal(StatusCode::NOT_FOUND, "No such task."),
        || StatusCode::GONE.into_response(),
        || task(StatusCode::OK, "Completed"),
    ];
    for ending in endings {
        let service = machine(move |asked, world| match asked {
            1 => StatusCode::ACCEPTED.into_response(),
            2 => task(StatusCode::OK, "Running"),
            3 => task(StatusCode::ACCEPTED, "Pending"),
            _ => {
                switch_on(world);
                ending()
            }
        })
        .await;
        let client = service.client();
        client.set_power(PowerAction::On, soon()).await.unwrap();
        assert_eq!(service.count(&Method::GET, MONITOR), 4);
        assert_eq!(service.resets(), ["On"]);
    }
}

#[tokio::test]
async fn a_failed_task_says_why_and_is_tried_again_but_not_for_ever() {
    let service = machine(|_, _| task(StatusCode::OK, "Exception")).await;
    let error = service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TaskFailed { .. }), "{error:?}");
    assert_eq!(error.class(), FailureClass::Transient);
    let text = error.to_string();
    assert!(
        text.contains("Exception") && text.contains("The fuse is blown."),
        "{text}"
    );
    assert_eq!(service.resets().len(), 3);
}

#[tokio::test]
async fn a_monitor_that_ends_in_a_refusal_is_the_request_refused() {
    let service = machine(|_, _| refusal(StatusCode::BAD_REQUEST, "Not on a Sunday.")).await;
    let error = service
        .client()
        .set_power(PowerAction::On, soon())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("400") && text.contains("Not on a Sunday."),
        "{text}"
    );
    assert!(text.contains("ComputerSystem.Reset"), "{text}");
}

#[tokio::test]
async fn a_task_that_never_ends_is_judged_by_what_it_brings_about() {
    let service = machine(|_, _| task(StatusCode::OK, "Running")).await;
    let error = service
        .client()
        .set_power(PowerAction::On, at_once())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::NotVerified { .. } | Error::TimedOut { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), FailureClass::Transient);
}

#[tokio::test]
async fn a_task_that_cannot_be_followed_does_no_harm() {
    let elsewhere = Service::start(small_tree()).await;
    let foreign = format!("http://{}{MONITOR}", elsewhere.address);
    let locations: [Option<String>; 3] = [None, Some(foreign), Some("/nowhere".to_owned())];
    for location in locations {
        let service = Service::start(small_tree()).await;
        service.rule(move |seen, world| {
            if !is_reset(seen) {
                return None;
            }
            switch_on(world);
            let mut answer = StatusCode::ACCEPTED.into_response();
            if let Some(location) = &location {
                answer
                    .headers_mut()
                    .insert("location", location.parse().unwrap());
            }
            Some(answer)
        });
        let client = service.client();
        client.set_power(PowerAction::On, soon()).await.unwrap();
    }
    assert_eq!(elsewhere.world(|world| world.seen.len()), 0);
}

#[tokio::test]
async fn the_task_itself_may_be_the_answer() {
    let service = Service::start(small_tree()).await;
    let path = "/redfish/v1/TaskService/Tasks/7";
    service.rule(move |seen, world| {
        if is_reset(seen) {
            let task = json!({"@odata.id": path, "TaskState": "New"});
            return Some((StatusCode::ACCEPTED, task.to_string()).into_response());
        }
        (seen.path == path).then(|| {
            switch_on(world);
            let task: Value = json!({"TaskState": "Completed", "TaskStatus": "OK"});
            task.to_string().into_response()
        })
    });
    let client = service.client();
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.count(&Method::GET, path), 1);
}

#[tokio::test]
async fn a_bmc_says_when_to_come_again_and_is_believed_within_reason() {
    for status in [
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let service = Service::start(small_tree()).await;
        let mut busy = true;
        service.rule(move |seen, _| {
            // Half a day would be too long.
            (is_reset(seen) && std::mem::take(&mut busy))
                .then(|| (status, [("Retry-After", "43200")], "").into_response())
        });
        let client = service.client();
        let began = tokio::time::Instant::now();
        client.set_power(PowerAction::On, soon()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(service.resets(), ["On", "On"]);
    }
}
