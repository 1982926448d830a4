//! BMCs that leave out, garble, drag out or break off their answers, in the middle of what they
//! are asked to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use bessemer_bmc::redfish::{RedfishBmc, Security};
use bessemer_bmc::{Bmc, BootDevice, BootMode, Error, PowerAction, PowerState};
use bessemer_core::reason::FailureClass;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use crate::service::{Service, config, raw_peer, small_tree, soon};

const SYSTEM: &str = "/redfish/v1/Systems/1";

/// Every call there is, and how it ended. None may panic or hang.
async fn all_calls(client: &RedfishBmc) -> Vec<Result<(), Error>> {
    let deadline = || tokio::time::Instant::now() + Duration::from_millis(250);
    vec![
        client.identity(deadline()).await.map(drop),
        client.power(deadline()).await.map(drop),
        client.set_power(PowerAction::On, deadline()).await,
        client.set_power(PowerAction::GracefulOff, deadline()).await,
        client
            .set_boot_once(BootDevice::VirtualMedia, BootMode::Uefi, deadline())
            .await,
        client.set_boot_mode(BootMode::Legacy, deadline()).await,
        client.capabilities(deadline()).await.map(drop),
        client
            .insert_media("http://10.0.0.1/a.iso", deadline())
            .await,
        client.eject_media(deadline()).await,
        client.inventory(deadline()).await.map(drop),
    ]
}

#[tokio::test]
async fn any_key_may_be_missing_null_or_of_another_type() {
    let tree: Value = serde_json::from_str(include_str!("../fixtures/supermicro.json")).unwrap();
    let system = tree[SYSTEM].as_object().unwrap().clone();
    let odd = [
        Value::Null,
        json!(7),
        json!("x"),
        json!([[]]),
        json!({"@odata.id": 7}),
        json!({}),
    ];
    let service = Service::start(crate::service::from_json(&tree)).await;
    for (number, name) in system.keys().enumerate() {
        service.world(|world| {
            let system = world.resources.get_mut(SYSTEM).unwrap();
            *system = Value::Object(system_without(&tree, name));
            if let Some(value) = odd.get(number % (odd.len() + 1)) {
                system[name] = value.clone();
            }
        });
        let client = service.client();
        let identity = client.identity(soon()).await.unwrap();
        assert!(name == "Manufacturer" || identity.manufacturer.is_some());
        client.power(soon()).await.unwrap();
        client.capabilities(soon()).await.unwrap();
        client.inventory(soon()).await.unwrap();
    }
}

fn system_without(tree: &Value, name: &str) -> serde_json::Map<String, Value> {
    let mut system = tree[SYSTEM].as_object().unwrap().clone();
    system.remove(name);
    system
}

#[tokio::test]
async fn nothing_useful_at_all_is_an_error_of_every_call() {
    let deep = format!("{}{}", "{\"a\":".repeat(5000), "1");
    let bodies = [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        deep,
        "\u{feff}{}".to_owned(),
    ];
    for body in bodies {
        let service = Service::start(small_tree()).await;
        let shown: String = body.chars().take(20).collect();
        service.rule(move |seen, _| {
            let login = seen.path.ends_with("/Sessions") || seen.path == "/redfish/v1";
            (!login).then(|| body.clone().into_response())
        });
        for result in all_calls(&service.client()).await {
            let error = result.expect_err(&shown);
            assert_eq!(error.class(), FailureClass::Permanent, "{shown}: {error}");
        }
    }
}

#[tokio::test]
async fn ten_megabytes_are_refused_whatever_they_answer() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let long = || format!("{{\"a\":\"{}\"}}", "x".repeat(10 << 20));
        (seen.path == SYSTEM || seen.method == Method::POST && !seen.path.ends_with("/Sessions"))
            .then(|| long().into_response())
    });
    let error = service.client().power(soon()).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_in_time() {
    let (address, _peer) = raw_peer(|_, mut stream: TcpStream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            .await?;
        // Never silent for long, and never done.
        loop {
            stream.write_all(b" ").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut config = config(&format!("http://{address}"), Security::UnencryptedHttp);
    config.limits.request = Duration::from_millis(150);
    let client = RedfishBmc::new(config).unwrap();
    let began = tokio::time::Instant::now();
    let error = client.power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn empty_answers_to_changes_are_fine() {
    for status in [
        StatusCode::OK,
        StatusCode::CREATED,
        StatusCode::ACCEPTED,
        StatusCode::NO_CONTENT,
    ] {
        let service = Service::start(small_tree()).await;
        service.rule(move |seen, world| {
            let reset = seen.path.ends_with("ComputerSystem.Reset");
            reset.then(|| {
                world.system()["PowerState"] = "On".into();
                status.into_response()
            })
        });
        service
            .client()
            .set_power(PowerAction::On, soon())
            .await
            .unwrap();
    }
}

/// Carries connections to `service`, except those that `breaks` says to break off.
async fn unsteady(
    service: &Service,
    breaks: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (RedfishBmc, Arc<AtomicUsize>) {
    let target = service.address;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let breaks = Arc::new(breaks);
    let (address, peer) = raw_peer(move |number, mut stream: TcpStream| {
        let broken = breaks(number);
        counted.store(number + 1, Ordering::SeqCst);
        tokio::spawn(async move {
            if !broken {
                let mut onward = TcpStream::connect(target).await?;
                copy_bidirectional(&mut stream, &mut onward).await?;
            }
            std::io::Result::Ok(())
        });
        std::future::ready(Ok(()))
    })
    .await;
    // Ends with the test's runtime.
    drop(peer);
    let mut config = config(&format!("http://{address}"), Security::UnencryptedHttp);
    config.limits.retry_pause = Duration::from_millis(20);
    (RedfishBmc::new(config).unwrap(), count)
}

#[tokio::test]
async fn a_bmc_that_restarts_in_the_middle_of_a_call_is_waited_for() {
    let service = Service::start(small_tree()).await;
    // As a restart does: the command's answer is lost, connections fail for a while, and all
    // sessions are forgotten.
    service.rule(|seen, world| {
        if !seen.path.ends_with("ComputerSystem.Reset") {
            return None;
        }
        world.system()["PowerState"] = "On".into();
        world.sessions.clear();
        let mut answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
        answer
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
        Some(answer)
    });
    let (client, connections) = unsteady(&service, |number| (1..12).contains(&number)).await;
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(client.power(soon()).await.unwrap(), PowerState::On);
    assert!(connections.load(Ordering::SeqCst) > 12);
    assert_eq!(service.resets(), ["On"]);
    assert_eq!(service.logins(), 2);
}

#[tokio::test]
async fn a_bmc_that_does_not_come_back_is_transient() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let mut answer = StatusCode::NO_CONTENT.into_response();
        answer
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
        seen.path
            .ends_with("ComputerSystem.Reset")
            .then_some(answer)
    });
    let (client, _) = unsteady(&service, |number| number > 0).await;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(800);
    let error = client
        .set_power(PowerAction::On, deadline)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. } | Error::TimedOut { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), FailureClass::Transient);
}
