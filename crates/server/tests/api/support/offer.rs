//! What servers are made of.

use bessemer_core::flavor::FlavorHardware;
use bessemer_core::id::ImageId;
use bessemer_store::{ImageRecord, ImportedImage};
use bessemer_wire::api::ImageStatus;
use serde_json::json;
use uuid::Uuid;

use super::{Api, PUBLIC_KEY, machine};

/// Memory in MiB and disk in GiB of the nodes of flavor `m1`.
pub(crate) const M1: (u64, u64) = (31_800, 100);

/// Offers flavor `m1`, network `web`, key `laptop` and image `os` of 2 GiB.
pub(crate) async fn offer(api: &Api) {
    let hardware = FlavorHardware::of(&machine(M1.0, M1.1));
    let flavor = json!({ "name": "m1", "hardware": hardware });
    api.post("/v1/flavors", flavor).await.expect(201);
    let network = json!({
        "name": "web", "vlan": 200, "subnets": [{ "cidr": "192.168.100.0/24",
            "pools": [{ "first": "192.168.100.10", "last": "192.168.100.11" }] }],
    });
    api.post("/v1/networks", network).await.expect(201);
    let key = json!({ "name": "laptop", "public_key": PUBLIC_KEY });
    api.post("/v1/keys", key).await.expect(201);
    image(api, "os", Ok(sized(2 << 30, 600 << 20))).await;
}

/// What came of an import of an image of this size, with so much data.
pub(crate) fn sized(virtual_size: u64, data_bytes: u64) -> ImportedImage {
    ImportedImage {
        virtual_size,
        data_bytes,
        checksum: format!("sha256:{}", "0".repeat(64)),
        format: "raw".into(),
    }
}

/// An image in the store, with its sizes or why it failed.
pub(crate) async fn image(api: &Api, name: &str, end: Result<ImportedImage, String>) {
    let record = ImageRecord {
        id: ImageId(Uuid::now_v7()),
        name: name.into(),
        status: ImageStatus::Importing,
        message: None,
        source: "/nowhere".into(),
        upload_size: None,
        checksum: String::new(),
        checksum_url: None,
        credentials_sealed: None,
        format: None,
        virtual_size: None,
        data_bytes: None,
        default_user: Some("debian".into()),
        network_configuration: Default::default(),
        created_at: api.site.now(),
    };
    api.site.store.create_image(&record).await.unwrap();
    api.site.store.finish_image(record.id, end).await.unwrap();
}
