//! Real BMCs' answers, and what must be read out of them.

use axum::http::Method;
use bessemer_bmc::{Bmc, BmcInventory, BootDevice, BootMode, PowerAction, PowerState};
use serde_json::{Value, json};

use crate::service::{Service, from_json, soon};

async fn machine(tree: &str) -> Service {
    let tree: Value = serde_json::from_str(tree).unwrap();
    Service::start(from_json(&tree)).await
}

pub(crate) async fn dell() -> Service {
    machine(include_str!("../fixtures/dell.json")).await
}

pub(crate) async fn hpe() -> Service {
    machine(include_str!("../fixtures/hpe.json")).await
}

pub(crate) async fn supermicro() -> Service {
    machine(include_str!("../fixtures/supermicro.json")).await
}

fn macs(inventory: &BmcInventory) -> Vec<String> {
    let mut macs: Vec<String> = inventory
        .nics
        .iter()
        .map(|nic| nic.mac.to_string())
        .collect();
    macs.sort();
    macs
}

/// Model, serial number and size of the first drive by serial number, and how many there are.
fn first_drive(inventory: &BmcInventory) -> (usize, &str, &str, u64) {
    let mut drives: Vec<_> = inventory.drives.iter().collect();
    drives.sort_by_key(|drive| drive.serial.clone());
    let first = drives[0];
    (
        drives.len(),
        first.model.as_deref().unwrap(),
        first.serial.as_deref().unwrap(),
        first.size_bytes.unwrap(),
    )
}

#[tokio::test]
async fn dell_identity_is_the_service_tag() {
    let service = dell().await;
    let identity = service.client().identity(soon()).await.unwrap();
    assert_eq!(identity.machine.serial, "F54P1G3");
    let uuid = identity.machine.uuid.unwrap().to_string();
    assert_eq!(uuid, "4c4c4544-0035-3410-8050-c6c04f314733");
    assert_eq!(identity.manufacturer.as_deref(), Some("Dell Inc."));
    assert_eq!(identity.model.as_deref(), Some("PowerEdge R750"));
    assert_eq!(identity.bios_version.as_deref(), Some("1.8.2"));
}

#[tokio::test]
async fn dell_inventory() {
    let service = dell().await;
    let inventory = service.client().inventory(soon()).await.unwrap();
    assert_eq!(inventory.unread, Vec::<String>::new());
    assert_eq!(inventory.memory_mib, Some(512 * 1024));
    // The GPU listed among the processors is not one.
    assert_eq!(inventory.cpus.len(), 2);
    let cpu = &inventory.cpus[0];
    assert_eq!(
        cpu.model.as_deref(),
        Some("Intel(R) Xeon(R) Gold 6354 CPU @ 3.00GHz")
    );
    assert_eq!((cpu.cores, cpu.threads), (Some(18), Some(36)));
    let expected = [
        "70:b5:e8:f0:52:dc",
        "70:b5:e8:f0:52:dd",
        "b8:3f:d2:90:97:c4",
        "e4:3d:1a:13:27:f0",
        "e4:3d:1a:13:27:f1",
    ];
    assert_eq!(macs(&inventory), expected);
    let embedded = inventory
        .nics
        .iter()
        .find(|nic| nic.id == "NIC.Embedded.1-1-1")
        .unwrap();
    assert_eq!((embedded.link_up, embedded.speed_mbps), (Some(false), None));
    let expected = (
        3,
        "Dell Ent NVMe CM6 RI 1.92TB",
        "61M0A08ZTCD8",
        1_920_383_410_176,
    );
    assert_eq!(first_drive(&inventory), expected);
}

/// Storage, model, serial number and firmware of each controller.
fn controllers(inventory: &BmcInventory) -> Vec<(&str, &str, &str, &str)> {
    let controllers = inventory.storage_controllers.iter();
    controllers
        .map(|controller| {
            (
                controller.id.as_str(),
                controller.model.as_deref().unwrap_or("-"),
                controller.serial.as_deref().unwrap_or("-"),
                controller.firmware_version.as_deref().unwrap_or("-"),
            )
        })
        .collect()
}

/// Reference and name of each boot option.
fn boot_options(inventory: &BmcInventory) -> Vec<(&str, &str)> {
    let options = inventory.boot_options.iter();
    options
        .map(|option| (option.reference.as_str(), option.name.as_deref().unwrap()))
        .collect()
}

fn media_drives(inventory: &BmcInventory) -> Vec<(&str, String)> {
    assert!(
        inventory
            .media_drives
            .iter()
            .all(|drive| drive.image.is_none())
    );
    let drives = inventory.media_drives.iter();
    drives
        .map(|drive| (drive.id.as_str(), drive.kinds.join(" ")))
        .collect()
}

#[tokio::test]
async fn dell_storage_and_boot() {
    let service = dell().await;
    let inventory = service.client().inventory(soon()).await.unwrap();
    let ssata = "C620 Series Chipset Family SSATA Controller [AHCI mode]";
    let sata = "C620 Series Chipset Family SATA Controller [AHCI mode]";
    let mut found = controllers(&inventory);
    found.sort();
    // The three drives hang on the processor.
    let expected = [
        ("AHCI.Embedded.1-1", ssata, "-", "-"),
        ("AHCI.Embedded.2-1", sata, "-", "-"),
    ];
    assert_eq!(found, expected);
    // In the machine's order, which is not that of the numbers.
    let expected = [
        ("Boot0000", "HTTP Device 1: NIC in Slot 5 Port 1"),
        ("Boot0001", "Unavailable: ubuntu"),
        ("Boot0003", "Unavailable: Linux Default"),
        ("Boot0004", "Unavailable: ubuntu"),
        (
            "Boot0002",
            "PCIe SSD in Slot 2 in Bay 1: EFI Fixed Disk Boot Device 1",
        ),
    ];
    assert_eq!(boot_options(&inventory), expected);
    let path = "VenHw(986D1755-B9D0-4F8D-A0DA-D1DB18672045)";
    assert_eq!(inventory.boot_options[0].device_path.as_deref(), Some(path));
    assert!(inventory.boot_options.iter().all(|option| option.enabled));
    // The system's two, not its manager's other two.
    let kinds = "CD DVD USBStick".to_owned();
    assert_eq!(
        media_drives(&inventory),
        [("1", kinds.clone()), ("2", kinds)]
    );
}

#[tokio::test]
async fn hpe_storage_and_boot() {
    let service = hpe().await;
    let inventory = service.client().inventory(soon()).await.unwrap();
    let found = controllers(&inventory);
    // Sixteen NVMe drives are their own controllers.
    assert_eq!(found.len(), 17);
    let nvme = (
        "DA000000",
        "MZXLR6T4HALA-000H3",
        "S6C1NA0TA01511",
        "MPK7625Q",
    );
    assert!(found.contains(&nvme));
    let raid = (
        "DE081000",
        "HPE Smart Array P408i-p SR Gen10",
        "PFJHD0D52H60DG",
        "5.32",
    );
    assert!(found.contains(&raid));
    assert_eq!(inventory.boot_options.len(), 30);
    let first = "Slot 5 Port 1 : Mellanox Network Adapter - B8:3F:D2:D7:F7:4A (HTTP(S) IPv6)";
    assert_eq!(boot_options(&inventory)[0], ("Boot002C", first));
    let windows = "Windows Boot Manager - sSATA port1";
    assert_eq!(boot_options(&inventory)[8], ("Boot0013", windows));
    let last = "NVMe Drive Port 2C Box 1 Bay 7 : NVM Express Controller - \
                S6C1NA0TA04201-MZXLR6T4HALA-000H3-9A382500";
    assert_eq!(boot_options(&inventory)[29], ("Boot0019", last));
    let expected = [
        ("1", "Floppy USBStick".to_owned()),
        ("2", "CD DVD".to_owned()),
    ];
    assert_eq!(media_drives(&inventory), expected);
}

#[tokio::test]
async fn supermicro_storage_and_boot() {
    let service = supermicro().await;
    let inventory = service.client().inventory(soon()).await.unwrap();
    assert_eq!(controllers(&inventory), [("NVMeSSD", "-", "-", "03")]);
    // The shell has the lowest number and comes last.
    let found = boot_options(&inventory);
    let shell = ("Boot0018", "UEFI: Built-in EFI Shell");
    assert_eq!(found.last(), Some(&shell));
    let pxe = "(B26/D0/F0) UEFI PXE IPv4 Nvidia Network Adapter - 94:6D:AE:91:FB:22 - 946DAE91FB22";
    assert_eq!(found[0], ("Boot0019", pxe));
    assert_eq!(found.len(), 12);
    let kinds = "CD DVD Floppy USBStick".to_owned();
    let names = ["VirtualMedia1", "VirtualMedia2", "VirtualMedia3"];
    assert_eq!(
        media_drives(&inventory),
        names.map(|name| (name, kinds.clone()))
    );
}

#[tokio::test]
async fn every_makers_drive_takes_an_image_and_gives_it_back() {
    for (service, drive) in [
        (
            dell().await,
            "/redfish/v1/Systems/System.Embedded.1/VirtualMedia/1",
        ),
        (hpe().await, "/redfish/v1/Managers/1/VirtualMedia/2"),
        (
            supermicro().await,
            "/redfish/v1/Managers/1/VirtualMedia/VirtualMedia1",
        ),
    ] {
        let client = service.client();
        let url = "http://10.77.0.1/boot/b1/agent.iso";
        client.insert_media(url, soon()).await.unwrap();
        let held = service.world(|world| world.resources[drive].clone());
        assert_eq!(
            (&held["Inserted"], &held["Image"]),
            (&json!(true), &json!(url))
        );
        client.eject_media(soon()).await.unwrap();
        let held = service.world(|world| world.resources[drive].clone());
        assert_eq!(held["Inserted"], false, "{drive}");
    }
}

#[tokio::test]
async fn hpe_identity_and_inventory() {
    let service = hpe().await;
    let client = service.client();
    let identity = client.identity(soon()).await.unwrap();
    assert_eq!(identity.machine.serial, "MXQ302099S");
    let uuid = identity.machine.uuid.unwrap().to_string();
    assert_eq!(uuid, "34383350-3131-584d-5133-303230393953");
    assert_eq!(identity.manufacturer.as_deref(), Some("HPE"));
    assert_eq!(
        identity.bios_version.as_deref(),
        Some("A42 v2.60 (08/11/2022)")
    );

    let inventory = client.inventory(soon()).await.unwrap();
    assert_eq!(inventory.unread, Vec::<String>::new());
    assert_eq!(inventory.memory_mib, Some(1024 * 1024));
    assert_eq!(inventory.cpus.len(), 2);
    assert_eq!(
        inventory.cpus[0].model.as_deref(),
        Some("AMD EPYC 7763 64-Core Processor")
    );
    assert_eq!(inventory.nics.len(), 7);
    assert_eq!(macs(&inventory)[0], "50:7c:6f:11:f2:a6");
    assert!(inventory.nics.iter().all(|nic| nic.link_up.is_none()));
    let expected = (
        18,
        "MZXLR6T4HALA-000H3",
        "S6C1NA0TA00957",
        6_401_252_745_216,
    );
    assert_eq!(first_drive(&inventory), expected);
}

#[tokio::test]
async fn supermicro_identity_and_inventory() {
    let service = supermicro().await;
    let client = service.client();
    let identity = client.identity(soon()).await.unwrap();
    assert_eq!(identity.machine.serial, "S889914X3710910");
    assert_eq!(identity.model.as_deref(), Some("SYS-821GE-TNHR"));

    let inventory = client.inventory(soon()).await.unwrap();
    assert_eq!(inventory.unread, Vec::<String>::new());
    assert_eq!(inventory.memory_mib, Some(2048 * 1024));
    assert_eq!(
        inventory.cpus[1].model.as_deref(),
        Some("Intel(R) Xeon(R) Platinum 8462Y+")
    );
    // Twelve are listed; one is the link to the BMC itself.
    assert_eq!(inventory.nics.len(), 11);
    assert!(!macs(&inventory).contains(&"be:3a:f2:b6:05:9f".to_owned()));
    let expected = (8, "MZQL27T6HBLA-00A07", "S6CKNN0W501980", 7_681_501_126_656);
    assert_eq!(first_drive(&inventory), expected);
}

#[tokio::test]
async fn every_maker_is_switched_off_and_on() {
    for service in [dell().await, hpe().await, supermicro().await] {
        let client = service.client();
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::On);
        client
            .set_power(PowerAction::ForceOff, soon())
            .await
            .unwrap();
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::Off);
        client.set_power(PowerAction::On, soon()).await.unwrap();
        assert_eq!(client.power(soon()).await.unwrap(), PowerState::On);
        assert_eq!(service.resets(), ["ForceOff", "On"]);
    }
}

#[tokio::test]
async fn every_maker_boots_once_over_http() {
    for service in [dell().await, hpe().await, supermicro().await] {
        let client = service.client();
        client
            .set_boot_once(BootDevice::UefiHttp, BootMode::Uefi, soon())
            .await
            .unwrap();
        let boot = service.world(|world| world.system()["Boot"].clone());
        assert_eq!(boot["BootSourceOverrideEnabled"], "Once");
        assert_eq!(boot["BootSourceOverrideTarget"], "UefiHttp");
        assert_eq!(boot["BootSourceOverrideMode"], "UEFI");
    }
}

#[tokio::test]
async fn virtual_media_has_a_name_of_its_own_at_one_maker() {
    for (service, target) in [(hpe().await, "Cd"), (supermicro().await, "UsbCd")] {
        let client = service.client();
        client
            .set_boot_once(BootDevice::VirtualMedia, BootMode::Uefi, soon())
            .await
            .unwrap();
        let patched = service.world(|world| {
            world
                .seen
                .iter()
                .find(|seen| seen.method == Method::PATCH)
                .unwrap()
                .clone()
        });
        assert_eq!(patched.body["Boot"]["BootSourceOverrideTarget"], target);
        // Only a strong ETag is of use in If-Match: one maker's is weak.
        assert_eq!(patched.header("if-match").is_some(), target == "UsbCd");
    }
}

#[tokio::test]
async fn inventory_reports_what_it_could_not_read() {
    let service = dell().await;
    let base = "/redfish/v1/Systems/System.Embedded.1";
    service.world(|world| {
        world
            .resources
            .remove(&format!("{base}/EthernetInterfaces/NIC.Slot.5-1"));
        let nic = format!("{base}/EthernetInterfaces/NIC.Embedded.1-1-1");
        *world.resources.get_mut(&nic).unwrap() = json!({"MACAddress": 7, "LinkStatus": {}});
        world
            .resources
            .insert(format!("{base}/Storage"), json!({"Members": "none"}));
        let system = world.system();
        system.as_object_mut().unwrap().remove("Processors");
        system["MemorySummary"] = Value::Null;
    });
    let inventory = service.client().inventory(soon()).await.unwrap();
    assert_eq!(inventory.nics.len(), 3);
    assert_eq!(
        (
            inventory.memory_mib,
            inventory.cpus.len(),
            inventory.drives.len()
        ),
        (None, 0, 0)
    );
    // The three things that are missing altogether, and two members that are.
    assert_eq!(inventory.unread.len(), 5);
    for part in [
        "memory",
        "Processors",
        "NIC.Slot.5-1",
        "NIC.Embedded.1-1-1",
        "Storage",
    ] {
        assert!(
            inventory.unread.iter().any(|line| line.contains(part)),
            "{part}"
        );
    }
}
