//! The validator reads every resource and holds it against the DMTF's schemas (DSP8010). Those are
//! not fetched: a crate carries them.

use std::path::Path;
use std::sync::Arc;

use bessemer_sim::machine::SimulatedMachine;
use nv_redfish_schema::REDFISH_CSDL_DIR;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::process::Command;

use crate::image::ImageServer;
use crate::support::{PASSWORD, USERNAME, controller, run, tool};

/// The schemas where the validator may write beside them.
fn schemas(folder: &Path) {
    std::fs::create_dir(folder).expect("a new folder");
    for entry in std::fs::read_dir(REDFISH_CSDL_DIR).expect("the crate's schemas") {
        let path = entry.expect("a schema").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, folder.join(name)).expect("room for it");
    }
}

fn client() -> Client {
    let tls = bessemer_tls::client_config(&bessemer_tls::Trust::InsecureNoVerification);
    Client::builder()
        .tls_backend_preconfigured(tls.expect("a TLS configuration"))
        .build()
        .expect("a client")
}

/// A drive that holds something has more to show.
async fn insert(url: &str, image: &str) {
    let path = "/redfish/v1/Systems/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia";
    let answer = client()
        .post(format!("{url}{path}"))
        .basic_auth(USERNAME, Some(PASSWORD))
        .json(&json!({"Image": image}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

/// The schema of our own, as the controller serves it.
async fn own_schema(url: &str, folder: &Path) {
    let name = "BessemerComputerSystem_v1.xml";
    let answer = client().get(format!("{url}/redfish/v1/Schemas/{name}"));
    let schema = answer.send().await.expect("an answer").bytes().await;
    std::fs::write(folder.join(name), schema.expect("a schema")).expect("room for it");
}

/// What the validator finds, in its own words, and how many checks were passed.
struct Report {
    complaints: Vec<String>,
    passed: u32,
}

/// Runs the validator and reads its log, which names what its output only counts.
async fn validate(url: &str, folder: &Path) -> Report {
    let (schema_folder, logs) = (folder.join("schemas"), folder.join("logs"));
    schemas(&schema_folder);
    own_schema(url, &schema_folder).await;
    let mut command = Command::new(tool("rf_service_validator"));
    command
        .args(["--rhost", url, "--user", USERNAME, "--password", PASSWORD])
        .args(["--authtype", "Session", "--skipschema"])
        .arg("--schema_directory")
        .arg(schema_folder)
        .arg("--logdir")
        .arg(&logs)
        .current_dir(folder);
    let (content, said) = run(command).await;
    let complains = |line: &&str| {
        [" - WARN", " - ERROR", " - CRITICAL"]
            .iter()
            .any(|kind| line.contains(kind))
    };
    let log = log(&logs);
    let mut complaints: Vec<String> = log.lines().filter(complains).map(str::to_owned).collect();
    if !content {
        complaints.push(format!("it failed: {said}"));
    }
    let passed = log.split("Pass: ").skip(1);
    let passed = passed.filter_map(|rest| rest.split(',').next()?.parse::<u32>().ok());
    Report {
        complaints,
        passed: passed.sum(),
    }
}

/// The log that the validator leaves in the only folder below `logs`.
fn log(logs: &Path) -> String {
    let folders = std::fs::read_dir(logs).expect("a folder of logs");
    let files = folders.flat_map(|folder| {
        let folder = folder.expect("a folder").path();
        std::fs::read_dir(folder)
            .expect("a folder")
            .map(|file| file.expect("a file").path())
    });
    let mut logs = files.filter(|path| path.extension().is_some_and(|name| name == "log"));
    std::fs::read_to_string(logs.next().expect("a log")).expect("a log")
}

#[tokio::test]
async fn the_service_validator_is_content() {
    let (_bmc, server) = controller(Arc::new(SimulatedMachine::numbered(1))).await;
    let images = ImageServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    insert(&server.url(), &images.url).await;
    let report = validate(&server.url(), folder.path()).await;
    assert_eq!(report.complaints, Vec::<String>::new());
    // It did read what there is.
    assert!(report.passed > 200, "{} checks were passed", report.passed);
}
