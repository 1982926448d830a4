//! HTTPS with a certificate nobody signed.

use std::path::Path;

use bessemer_sim::redfish::{Bmc, BmcServer, Transport};
use bessemer_tls::{Fingerprint, SelfSigned, Trust, client_config};
use reqwest::Client;

use crate::support::{ANY_PORT, PASSWORD, Rig, SYSTEM, USERNAME, credentials};

fn certificate(folder: &Path) -> SelfSigned {
    let names = ["127.0.0.1".to_owned()];
    SelfSigned::load_or_create(&folder.join("bmc.crt"), &folder.join("bmc.key"), &names)
        .expect("a certificate")
}

async fn ask(server: &BmcServer, pin: Fingerprint) -> reqwest::Result<reqwest::Response> {
    let tls = client_config(&Trust::Pinned(pin)).expect("a TLS configuration");
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .expect("a client");
    let request = client.get(format!("{}{SYSTEM}", server.url()));
    request.basic_auth(USERNAME, Some(PASSWORD)).send().await
}

#[tokio::test]
async fn the_certificate_can_be_pinned_and_is_kept() {
    let machine = Rig::start().await.machine;
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        let bmc = Bmc::new(machine.clone(), credentials());
        let transport = Transport::Https(certificate(folder.path()));
        BmcServer::start(bmc, ANY_PORT, transport)
            .await
            .expect("a free port")
    };
    let server = start().await;
    let pin = server.fingerprint().expect("a certificate");
    assert!(
        ask(&server, pin)
            .await
            .expect("an answer")
            .status()
            .is_success()
    );

    let other = tempfile::tempdir().expect("a folder");
    let wrong_pin = certificate(other.path()).fingerprint();
    assert!(
        ask(&server, wrong_pin).await.is_err(),
        "another certificate is no good"
    );

    drop(server);
    assert_eq!(
        start().await.fingerprint(),
        Some(pin),
        "a restart keeps the certificate"
    );
}
