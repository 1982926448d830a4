//! A BMC that does not answer, or refuses the password, is left alone, and asked gently otherwise.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::http::StatusCode;
use bessemer_bmc::redfish::{RedfishBmc, Security};
use bessemer_bmc::{Bmc, Error, Patience};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::service::{Service, config, refusal, small_tree, soon};

/// Left alone for longer than any test takes.
fn patience() -> Patience {
    Patience {
        requests: 2,
        first: Duration::from_secs(600),
        ..Patience::default()
    }
}

#[tokio::test]
async fn a_silent_bmc_is_left_alone_and_then_probed_by_one_request() {
    // Bound and not listening: connections are refused, and nobody else can have the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut config = config(&format!("http://{address}"), Security::UnencryptedHttp);
    config.limits.patience = patience();
    let client = RedfishBmc::new(config).unwrap();
    for call in 1..=2 {
        let error = client.power(soon()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert_eq!(client.requests(), call * 3, "each is repeated twice");
    }
    let left_alone = client.power(soon()).await.unwrap_err();
    assert!(
        matches!(left_alone, Error::LeftAlone { .. }),
        "{left_alone}"
    );
    assert_eq!(client.requests(), 6);
    client.insist();
    let error = client.power(soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(client.requests(), 7, "a probe is one request");
    assert!(client.left_alone().is_some());
    client.insist();
    let _service = Service::serve(address, socket.listen(16).unwrap(), small_tree());
    client.power(soon()).await.unwrap();
    assert_eq!(client.left_alone(), None);
}

#[tokio::test]
async fn a_bmc_that_refuses_the_password_is_left_alone_at_once() {
    let service = Service::start(small_tree()).await;
    service.rule(|seen, _| {
        let is_login = seen.path.ends_with("/Sessions");
        is_login.then(|| refusal(StatusCode::UNAUTHORIZED, "Who are you?"))
    });
    let client = service.client();
    client.power(soon()).await.unwrap_err();
    assert_eq!(service.logins(), 1);
    let left_alone = client.power(soon()).await.unwrap_err();
    assert!(
        matches!(left_alone, Error::LeftAlone { .. }),
        "{left_alone}"
    );
    assert_eq!(service.logins(), 1);
}

/// Dell's: ten a second, after forty.
#[tokio::test]
async fn a_model_that_bears_less_is_asked_more_slowly() {
    let service = Service::start(small_tree()).await;
    service.world(|world| world.system()["Manufacturer"] = "Dell Inc.".into());
    let client = service.client();
    let began = Instant::now();
    for _ in 0..60 {
        client.power(soon()).await.unwrap();
    }
    assert!(began.elapsed() > Duration::from_secs(1));
}
