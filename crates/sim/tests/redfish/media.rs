//! The CD drive that the controller imitates: what goes in is what the image server has.

use axum::Router;
use axum::body::Body;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use bessemer_sim::machine::{BootMode, BootTarget, Machine, MachineEvent};
use bessemer_sim::redfish::Faults;
use futures_util::stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{Rig, SYSTEM, expect_error};

const DRIVE: &str = "/redfish/v1/Systems/1/VirtualMedia/Cd";

/// An image server: `/image.iso`, `/endless.iso`, and elsewhere a redirect.
struct Images {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Images {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(uri: Uri) -> Response {
    match uri.path() {
        "/image.iso" => "an image".into_response(),
        "/endless.iso" => {
            let chunk = || Ok::<_, std::io::Error>(vec![0_u8; 1 << 20]);
            Body::from_stream(stream::repeat_with(chunk)).into_response()
        }
        _ => (StatusCode::FOUND, [("location", "/image.iso")]).into_response(),
    }
}

impl Images {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let router = Router::new().fallback(serve);
            axum::serve(listener, router).await.expect("a server");
        });
        Self {
            url: format!("http://{address}"),
            task,
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

async fn act(rig: &Rig, action: &str, body: &Value) -> reqwest::Response {
    let path = format!("{DRIVE}/Actions/VirtualMedia.{action}");
    let request = rig.request(Method::POST, &path).json(body);
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn an_image_is_fetched_shown_and_booted_once() {
    let (rig, images) = (Rig::start().await, Images::start().await);
    let mut events = rig.machine.events();
    let url = images.url("image.iso");
    let inserted = act(&rig, "InsertMedia", &json!({"Image": url})).await;
    assert_eq!(inserted.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        rig.machine.drive().medium().as_deref(),
        Some(&b"an image"[..])
    );
    let drive = rig.get(DRIVE).await;
    assert_eq!(drive["Image"], url);
    assert_eq!(drive["ImageName"], "image.iso");
    assert_eq!(
        (&drive["Inserted"], &drive["ConnectedVia"]),
        (&json!(true), &json!("URI"))
    );

    rig.set_override("Once", "Cd").await;
    rig.reset("On").await;
    rig.reset("ForceRestart").await;
    for (boot, target) in [(1, BootTarget::Cd), (2, BootTarget::None)] {
        assert_eq!(
            events.recv().await,
            Ok(MachineEvent::Booted { boot, target })
        );
    }

    for _ in 0..2 {
        let ejected = act(&rig, "EjectMedia", &json!({})).await;
        assert_eq!(ejected.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(rig.machine.drive().medium(), None);
    let drive = rig.get(DRIVE).await;
    assert_eq!(
        (&drive["Inserted"], &drive["Image"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn a_full_drive_takes_no_second_image() {
    let (rig, images) = (Rig::start().await, Images::start().await);
    let body = json!({"Image": images.url("image.iso"), "Inserted": true, "WriteProtected": true,
        "TransferMethod": "Stream", "TransferProtocolType": "HTTP"});
    assert_eq!(
        act(&rig, "InsertMedia", &body).await.status(),
        StatusCode::NO_CONTENT
    );
    let second = act(&rig, "InsertMedia", &body).await;
    expect_error(second, StatusCode::CONFLICT, "ResourceInUse").await;
}

#[tokio::test]
async fn odd_parameters_are_refused() {
    let (rig, images) = (Rig::start().await, Images::start().await);
    let url = images.url("image.iso");
    for (body, message) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"Image": url, "Speed": 9}), "ActionParameterUnknown"),
        (json!({"Image": 7}), "ActionParameterValueNotInList"),
        (
            json!({"Image": "nfs://a/b"}),
            "ActionParameterValueNotInList",
        ),
        (
            json!({"Image": url, "Inserted": false}),
            "ActionParameterValueNotInList",
        ),
        (
            json!({"Image": url, "WriteProtected": false}),
            "ActionParameterValueNotInList",
        ),
        (
            json!({"Image": url, "TransferMethod": "Upload"}),
            "ActionParameterValueNotInList",
        ),
        (
            json!({"Image": url, "TransferProtocolType": "HTTPS"}),
            "ActionParameterValueNotInList",
        ),
    ] {
        let response = act(&rig, "InsertMedia", &body).await;
        expect_error(response, StatusCode::BAD_REQUEST, message).await;
    }
    let response = act(&rig, "EjectMedia", &json!({"Force": true})).await;
    expect_error(response, StatusCode::BAD_REQUEST, "ActionParameterUnknown").await;
    assert_eq!(rig.machine.drive().medium(), None);
}

#[tokio::test]
async fn images_that_are_not_there_or_too_large_or_elsewhere_are_not_inserted() {
    let (rig, images) = (Rig::start().await, Images::start().await);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nowhere = format!(
        "http://{}/image.iso",
        closed.local_addr().expect("an address")
    );
    drop(closed);
    for url in [nowhere, images.url("moved.iso"), images.url("endless.iso")] {
        let response = act(&rig, "InsertMedia", &json!({"Image": url})).await;
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        expect_error(response, status, "CouldNotEstablishConnection").await;
    }
    assert_eq!(rig.machine.drive().medium(), None);
    assert_eq!(rig.get(DRIVE).await["Inserted"], false);
}

#[tokio::test]
async fn media_commands_can_be_ignored() {
    let (rig, images) = (Rig::start().await, Images::start().await);
    rig.bmc.faults().set(Faults {
        ignore_media_commands: true,
        ..Faults::default()
    });
    let body = json!({"Image": images.url("image.iso")});
    assert_eq!(
        act(&rig, "InsertMedia", &body).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(rig.get(DRIVE).await["Inserted"], false);
}

#[tokio::test]
async fn the_boot_mode_is_kept_and_shown() {
    let rig = Rig::start().await;
    assert_eq!(rig.machine.boot_mode(), BootMode::Uefi);
    let body = json!({"Boot": {"BootSourceOverrideMode": "Legacy"}});
    assert_eq!(rig.patch(&body).await.status(), StatusCode::OK);
    assert_eq!(rig.machine.boot_mode(), BootMode::Legacy);
    assert_eq!(
        rig.get(SYSTEM).await["Boot"]["BootSourceOverrideMode"],
        "Legacy"
    );
}
