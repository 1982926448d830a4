//! sushy logs in, reads, switches, sets boot devices, inserts and ejects. What it believes to have
//! done is then looked for in the machine.

use std::path::Path;
use std::sync::Arc;

use bessemer_sim::machine::{
    BootOverride, BootTarget, Machine, OverrideEnabled, PowerState, SimulatedMachine,
};
use tokio::process::Command;

use crate::image::{IMAGE, ImageServer};
use crate::support::{PASSWORD, USERNAME, controller, run, tool};

async fn sushy(url: &str, part: &str, image: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/sushy_client.py");
    let mut command = Command::new(tool("python"));
    command
        .arg(script)
        .args([url, USERNAME, PASSWORD, part, image]);
    let (content, said) = run(command).await;
    assert!(content, "{part}: {said}");
}

#[tokio::test]
async fn sushy_is_content() {
    let machine = Arc::new(SimulatedMachine::numbered(1));
    let (_bmc, server) = controller(machine.clone()).await;
    let images = ImageServer::start().await;
    let url = server.url();

    sushy(&url, "identity", "").await;
    sushy(&url, "power", "").await;
    assert_eq!(machine.power_state().await, PowerState::On);
    assert_eq!(machine.boot_count(), 2);

    sushy(&url, "boot", "").await;
    let expected = BootOverride {
        enabled: OverrideEnabled::Once,
        target: BootTarget::Cd,
    };
    assert_eq!(machine.boot_override(), expected);

    sushy(&url, "insert", &images.url).await;
    assert_eq!(machine.drive().medium().as_deref(), Some(IMAGE.as_bytes()));
    sushy(&url, "eject", "").await;
    assert_eq!(machine.drive().medium(), None);
    sushy(&url, "wrong-password", "").await;
}
