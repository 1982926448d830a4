//! The resources that can only be read (schemas: DSP2046).

use serde_json::{Value, json};

use super::Bmc;
use crate::machine::{Inventory, InventoryDrive, InventoryNic};

const ROOT: &str = "/redfish/v1";
pub(super) const SESSION_SERVICE: &str = "/redfish/v1/SessionService";
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
pub(super) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(super) const CHASSIS: &str = "/redfish/v1/Chassis/1";
pub(super) const MANAGER: &str = "/redfish/v1/Managers/1";

/// The resource at `path`, which has no slash at its end.
pub(super) async fn find(bmc: &Bmc, path: &str) -> Option<Value> {
    let inventory = bmc.machine().inventory();
    let within: Vec<&str> = path.strip_prefix("/redfish/v1/")?.split('/').collect();
    match within.as_slice() {
        ["SessionService"] => Some(session_service(bmc)),
        ["Systems"] => Some(systems(bmc)),
        ["Chassis"] => Some(singleton("Chassis", "ChassisCollection", CHASSIS)),
        ["Managers"] => Some(singleton("Managers", "ManagerCollection", MANAGER)),
        ["Chassis", "1"] => Some(chassis(bmc).await),
        ["Chassis", "1", "Drives"] => Some(drives(inventory)),
        ["Chassis", "1", "Drives", id] => inventory
            .drives
            .iter()
            .find(|drive| drive.id == *id)
            .map(drive),
        ["Managers", "1"] => Some(manager()),
        ["Systems", "1", rest @ ..] => system_part(inventory, rest),
        _ => None,
    }
}

fn system_part(inventory: &Inventory, path: &[&str]) -> Option<Value> {
    match path {
        ["EthernetInterfaces"] => Some(part_collection(
            "EthernetInterfaces",
            "EthernetInterfaceCollection",
            inventory.nics.iter().map(|nic| nic.id.as_str()),
        )),
        ["EthernetInterfaces", id] => inventory
            .nics
            .iter()
            .find(|nic| nic.id == *id)
            .map(ethernet_interface),
        ["Storage"] => Some(part_collection("Storage", "StorageCollection", ["1"])),
        ["Storage", "1"] => Some(storage(inventory)),
        ["Processors"] => Some(part_collection(
            "Processors",
            "ProcessorCollection",
            ["CPU1"],
        )),
        ["Processors", "CPU1"] => Some(processor(inventory)),
        ["Memory"] => Some(part_collection("Memory", "MemoryCollection", ["DIMM1"])),
        ["Memory", "DIMM1"] => Some(memory(inventory)),
        ["VirtualMedia"] => Some(part_collection(
            "VirtualMedia",
            "VirtualMediaCollection",
            ["Cd"],
        )),
        _ => None,
    }
}

pub(super) fn service_root(bmc: &Bmc) -> Value {
    json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": "1.20.0",
        "UUID": bmc.machine().inventory().uuid,
        "Vendor": "Bessemer",
        "Product": "Simulated management controller",
        "Systems": {"@odata.id": format!("{ROOT}/Systems")},
        "Chassis": {"@odata.id": format!("{ROOT}/Chassis")},
        "Managers": {"@odata.id": format!("{ROOT}/Managers")},
        "SessionService": {"@odata.id": SESSION_SERVICE},
        "Links": {"Sessions": {"@odata.id": SESSIONS}},
    })
}

/// The OData service document (DSP0266, section "OData service document").
pub(super) fn odata() -> Value {
    let services = ["Systems", "Chassis", "Managers", "SessionService"]
        .map(|name| json!({"name": name, "kind": "Singleton", "url": format!("{ROOT}/{name}")}));
    json!({"@odata.context": "/redfish/v1/$metadata", "value": services})
}

pub(super) fn collection(
    path: &str,
    schema: &str,
    name: &str,
    members: impl IntoIterator<Item = String>,
) -> Value {
    let members: Vec<_> = members
        .into_iter()
        .map(|member| json!({"@odata.id": member}))
        .collect();
    json!({
        "@odata.id": path,
        "@odata.type": format!("#{schema}.{schema}"),
        "Name": name,
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

fn singleton(name: &str, schema: &str, member: &str) -> Value {
    collection(&format!("{ROOT}/{name}"), schema, name, [member.to_owned()])
}

fn systems(bmc: &Bmc) -> Value {
    const NAME: &str = "Systems";
    let path = format!("{ROOT}/{NAME}");
    let second = bmc.faults.get().lists_two_systems;
    let second = second.then(|| format!("{path}/2"));
    let members = std::iter::once(SYSTEM.to_owned()).chain(second);
    collection(&path, "ComputerSystemCollection", NAME, members)
}

fn part_collection<'id>(
    name: &str,
    schema: &str,
    ids: impl IntoIterator<Item = &'id str>,
) -> Value {
    let path = format!("{SYSTEM}/{name}");
    let members: Vec<_> = ids.into_iter().map(|id| format!("{path}/{id}")).collect();
    collection(&path, schema, name, members)
}

fn session_service(bmc: &Bmc) -> Value {
    json!({
        "@odata.id": SESSION_SERVICE,
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": true,
        "SessionTimeout": bmc.sessions.timeout().as_secs(),
        "Sessions": {"@odata.id": SESSIONS},
    })
}

pub(super) fn session(id: &str, username: &str) -> Value {
    json!({
        "@odata.id": format!("{SESSIONS}/{id}"),
        "@odata.type": "#Session.v1_7_0.Session",
        "Id": id,
        "Name": "Session",
        "UserName": username,
    })
}

async fn chassis(bmc: &Bmc) -> Value {
    let inventory = bmc.machine().inventory();
    json!({
        "@odata.id": CHASSIS,
        "@odata.type": "#Chassis.v1_25_0.Chassis",
        "Id": "1",
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": inventory.manufacturer,
        "Model": inventory.model,
        "SerialNumber": inventory.serial_number,
        "PowerState": bmc.machine().power_state().await,
        "Status": {"State": "Enabled", "Health": "OK"},
        "Drives": {"@odata.id": format!("{CHASSIS}/Drives")},
        "Links": {
            "ComputerSystems": [{"@odata.id": SYSTEM}],
            "ManagedBy": [{"@odata.id": MANAGER}],
        },
    })
}

fn manager() -> Value {
    json!({
        "@odata.id": MANAGER,
        "@odata.type": "#Manager.v1_19_0.Manager",
        "Id": "1",
        "Name": "Manager",
        "ManagerType": "BMC",
        "Model": "Simulated management controller",
        "FirmwareVersion": env!("CARGO_PKG_VERSION"),
        "DateTime": jiff::Timestamp::now().to_string(),
        "PowerState": "On",
        "Status": {"State": "Enabled", "Health": "OK"},
        "Links": {
            "ManagerForServers": [{"@odata.id": SYSTEM}],
            "ManagerForChassis": [{"@odata.id": CHASSIS}],
        },
    })
}

fn ethernet_interface(nic: &InventoryNic) -> Value {
    json!({
        "@odata.id": format!("{SYSTEM}/EthernetInterfaces/{}", nic.id),
        "@odata.type": "#EthernetInterface.v1_12_0.EthernetInterface",
        "Id": nic.id,
        "Name": nic.id,
        "MACAddress": nic.mac,
        "PermanentMACAddress": nic.mac,
        "SpeedMbps": nic.speed_mbps,
        "FullDuplex": true,
        "InterfaceEnabled": true,
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn drive_path(drive: &InventoryDrive) -> String {
    format!("{CHASSIS}/Drives/{}", drive.id)
}

fn drives(inventory: &Inventory) -> Value {
    let path = format!("{CHASSIS}/Drives");
    let members = inventory.drives.iter().map(drive_path);
    collection(&path, "DriveCollection", "Drives", members)
}

fn storage(inventory: &Inventory) -> Value {
    let drives: Vec<_> = inventory
        .drives
        .iter()
        .map(|drive| json!({"@odata.id": drive_path(drive)}))
        .collect();
    json!({
        "@odata.id": format!("{SYSTEM}/Storage/1"),
        "@odata.type": "#Storage.v1_17_0.Storage",
        "Id": "1",
        "Name": "Storage",
        "Drives@odata.count": drives.len(),
        "Drives": drives,
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn drive(drive: &InventoryDrive) -> Value {
    json!({
        "@odata.id": drive_path(drive),
        "@odata.type": "#Drive.v1_20_0.Drive",
        "Id": drive.id,
        "Name": drive.id,
        "Model": drive.model,
        "SerialNumber": drive.serial_number,
        "CapacityBytes": drive.capacity_bytes,
        "MediaType": "SSD",
        "Protocol": "NVMe",
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn processor(inventory: &Inventory) -> Value {
    json!({
        "@odata.id": format!("{SYSTEM}/Processors/CPU1"),
        "@odata.type": "#Processor.v1_20_0.Processor",
        "Id": "CPU1",
        "Name": "Processor",
        "ProcessorType": "CPU",
        "Model": inventory.processor_model,
        "TotalCores": inventory.processor_cores,
        "TotalThreads": inventory.processor_cores,
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn memory(inventory: &Inventory) -> Value {
    json!({
        "@odata.id": format!("{SYSTEM}/Memory/DIMM1"),
        "@odata.type": "#Memory.v1_19_0.Memory",
        "Id": "DIMM1",
        "Name": "DIMM1",
        "CapacityMiB": inventory.memory_mib,
        "MemoryType": "DRAM",
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}
