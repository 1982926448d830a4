//! What operators learn of management controllers.

use bessemer_sim::redfish::Faults;

use crate::harness::node::PASSWORD;
use crate::harness::{Site, problem, says};

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_is_asked_what_its_machine_is_made_of() {
    let (site, node) = Site::ready().await;
    let told = site.api.node_bmc(&node.name).await.unwrap();
    assert!(!told.json().contains(PASSWORD));
    let told = told.into_value();
    assert_eq!(told.model.as_deref(), Some("Simulated Server"));
    assert_eq!(told.serial.as_deref(), Some("SIM00001"));
    assert_eq!(told.firmware_version.as_deref(), Some("1.0"));
    assert_eq!(told.memory_mib, Some(16 * 1024));
    assert_eq!((told.cpus.len(), told.cpus[0].cores), (1, Some(4)));
    assert_eq!((told.nics.len(), told.nics[0].mac), (1, node.host.mac));
    let drive = &told.drives[0];
    assert_eq!(drive.serial.as_deref(), Some("SIMNVME00001"));
    assert_eq!(drive.size_bytes, Some(8 << 30));
    let media = &told.media_drives[0];
    assert_eq!(
        (media.kinds.join(" ").as_str(), media.holds_image),
        ("CD DVD", false)
    );
    assert_eq!(told.unread, ["the BMC lists no BootOptions"]);

    node.set_faults(Faults {
        reject_credentials: true,
        ..Faults::default()
    });
    let refused = problem(site.api.node_bmc(&node.name).await);
    assert_eq!(refused.status, 502);
    says(&refused, &["password", "credentials"]);
}
