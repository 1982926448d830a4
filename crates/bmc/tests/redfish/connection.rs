//! The connection to a BMC: kept, given up, and closed by either side.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bessemer_bmc::redfish::{Limits, RedfishBmc, Security};
use bessemer_bmc::{Bmc, PowerAction};

use crate::service::{Relay, Service, config, small_tree, soon};

/// A client of what is behind `relay`.
fn client(relay: &Relay, change: impl FnOnce(&mut Limits)) -> RedfishBmc {
    let url = format!("http://{}", relay.address);
    let mut config = config(&url, Security::UnencryptedHttp);
    change(&mut config.limits);
    RedfishBmc::new(config).unwrap()
}

#[tokio::test]
async fn a_connection_that_is_not_to_be_kept_ends_with_its_request() {
    let service = Service::start(small_tree()).await;
    let relay = Relay::before(service.address).await;
    let client = client(&relay, |_| {});
    client.power(soon()).await.unwrap();
    assert_eq!(relay.connections(), 1);

    client.keep_connection(false);
    client.power(soon()).await.unwrap();
    assert_eq!(relay.connections(), 1, "what there is is used once more");
    client.power(soon()).await.unwrap();
    client.power(soon()).await.unwrap();
    assert_eq!((relay.connections(), service.logins()), (3, 1));

    client.keep_connection(true);
    client.power(soon()).await.unwrap();
    client.power(soon()).await.unwrap();
    assert_eq!(relay.connections(), 4);
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_costs_reads_one_quiet_repeat_and_writes_none() {
    let service = Service::start(small_tree()).await;
    let relay = Relay::before(service.address).await;
    // Another way of repeating would come too late.
    let client = client(&relay, |limits| {
        limits.retry_pause = Duration::from_secs(60)
    });
    client.power(soon()).await.unwrap();
    let before = client.requests();
    relay.cut_next();
    client.power(soon()).await.unwrap();
    assert_eq!((client.requests() - before, relay.connections()), (2, 2));

    // A request that may have been heard is not sent twice: what came of it is looked for.
    let cut = Arc::new(relay);
    let (cuts, mut done) = (Arc::clone(&cut), false);
    service.rule(move |seen, _| {
        if seen.method == Method::GET && !done {
            done = true;
            cuts.cut_next();
        }
        None
    });
    let before = client.requests();
    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["On"]);
    assert_eq!(cut.connections(), 3);
    // A look, the request in vain, a look, the request, a look.
    assert_eq!(client.requests() - before, 5);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_written_to() {
    let service = Service::start(small_tree()).await;
    let relay = Relay::before(service.address).await;
    let client = client(&relay, |_| {});
    client.power(soon()).await.unwrap();
    let before = client.requests();
    relay.end().await;
    // Who has heard of something later has heard of that, too.
    service.client().power(soon()).await.unwrap();

    client.set_power(PowerAction::On, soon()).await.unwrap();
    assert_eq!(service.resets(), ["On"]);
    assert_eq!(relay.connections(), 2);
    // A look, the request, a look: none was in vain.
    assert_eq!(client.requests() - before, 3);
}

#[tokio::test]
async fn a_connection_that_nothing_is_asked_by_is_closed() {
    let service = Service::start(small_tree()).await;
    let relay = Relay::before(service.address).await;
    let client = client(&relay, |limits| limits.idle = Duration::from_millis(20));
    for connections in 1..=3 {
        client.power(soon()).await.unwrap();
        assert_eq!(relay.connections(), connections);
        relay.ended().await;
    }
    assert_eq!(service.logins(), 1);
}
