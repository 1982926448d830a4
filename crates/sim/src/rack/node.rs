//! One node's lasting parts: identity, disk, firmware variables, certificate.

use std::fs::{self, File};
use std::path::Path;

use bessemer_tls::SelfSigned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::description::{NicDescription, NodeDescription, RackDescription, Secret};
use super::directory::{StateDirectory, remove, write_private};
use super::layout::{
    BMC_USERNAME, DISK_BYTES, FIRMWARE_CODE, FIRMWARE_VARIABLES, NS_SWITCH, Shape, bmc_address,
    mac, node_name, serial_number, switch_name,
};
use crate::Error;
use crate::ipmi::MAX_PASSWORD;
use crate::machine::{Accelerator, Inventory, InventoryDrive, InventoryNic, QemuSettings};

/// Model name of the processor that QEMU's translator imitates with `-cpu max`.
const TCG_PROCESSOR: &str = "QEMU TCG CPU version 2.5+";
/// Model name of QEMU's NVMe drive.
const DRIVE_MODEL: &str = "QEMU NVMe Ctrl";

/// What cannot be derived from a node's number, kept in its folder.
#[derive(Serialize, Deserialize)]
struct Identity {
    uuid: Uuid,
    bmc_password: Secret,
}

/// Makes what node `number` does not have yet and describes it.
pub(super) fn prepare(
    directory: &StateDirectory,
    shape: Shape,
    number: u16,
) -> Result<NodeDescription, Error> {
    let name = node_name(number);
    let folder = directory.node(&name);
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    let identity = identity(&folder.join("identity.json"))?;
    make_disk(&directory.disk(&name))?;
    for variables in [
        directory.firmware_variables(&name),
        directory.pxe_firmware_variables(&name),
    ] {
        if !variables.exists() {
            fs::copy(FIRMWARE_VARIABLES, &variables).map_err(Error::file("copy to", &variables))?;
        }
    }
    let certificate = certificate(directory, &name, number)?;
    Ok(NodeDescription {
        bmc_url: format!("https://{}", bmc_address(number)),
        bmc_fingerprint: certificate.fingerprint(),
        bmc_username: BMC_USERNAME.to_owned(),
        bmc_password: identity.bmc_password,
        nics: nics(shape, number),
        serial: serial_number(number),
        uuid: identity.uuid,
        disk: directory.disk(&name),
        serial_socket: directory.serial_socket(&name),
        serial_log: directory.serial_log(&name),
        name,
    })
}

fn nics(shape: Shape, number: u16) -> Vec<NicDescription> {
    let ports = shape.switch_ports(number).into_iter().enumerate();
    let each = ports.map(|(index, switch_port)| NicDescription {
        mac: mac(number, index),
        switch: switch_name(shape.rack_of(number), shape.racks),
        switch_port,
    });
    each.collect()
}

fn identity(path: &Path) -> Result<Identity, Error> {
    let damaged = |source| Error::Damaged {
        path: path.to_owned(),
        source,
    };
    match fs::read(path) {
        Ok(text) => {
            let mut identity: Identity = serde_json::from_slice(&text).map_err(damaged)?;
            // A rack of before its BMCs spoke IPMI.
            if identity.bmc_password.expose().len() > MAX_PASSWORD {
                identity.bmc_password = new_password();
                let text = serde_json::to_string_pretty(&identity).map_err(damaged)?;
                write_private(path, &text)?;
            }
            Ok(identity)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let identity = Identity {
                uuid: Uuid::new_v4(),
                bmc_password: new_password(),
            };
            let text = serde_json::to_string_pretty(&identity).map_err(damaged)?;
            write_private(path, &text)?;
            Ok(identity)
        }
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// As long as IPMI allows: eighty random bits.
fn new_password() -> Secret {
    let mut password = Uuid::new_v4().simple().to_string();
    password.truncate(MAX_PASSWORD);
    Secret::new(password)
}

/// A sparse file: it takes space only as it is written.
fn make_disk(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let file = File::create(path).map_err(Error::file("create", path))?;
    file.set_len(DISK_BYTES).map_err(Error::file("size", path))
}

/// The certificate of a node's BMC, made once, so that its fingerprint can be pinned.
pub(super) fn certificate(
    directory: &StateDirectory,
    name: &str,
    number: u16,
) -> Result<SelfSigned, Error> {
    let folder = directory.node(name);
    let names = [bmc_address(number).to_string()];
    Ok(SelfSigned::load_or_create(
        &folder.join("bmc.crt"),
        &folder.join("bmc.key"),
        &names,
    )?)
}

/// Forgets what a node's disk and firmware have stored.
pub(super) fn forget(directory: &StateDirectory, name: &str) -> Result<(), Error> {
    remove(&directory.disk(name))?;
    remove(&directory.pxe_script(name))?;
    remove(&directory.pxe_firmware_variables(name))?;
    remove(&directory.firmware_variables(name))
}

/// What the node's machine needs on this host.
pub(super) fn settings(
    directory: &StateDirectory,
    rack: &RackDescription,
    node: &NodeDescription,
) -> QemuSettings {
    QemuSettings {
        name: node.name.clone(),
        accelerator: rack.accelerator,
        firmware_code: FIRMWARE_CODE.into(),
        firmware_variables: directory.firmware_variables(&node.name),
        pxe_firmware_variables: directory.pxe_firmware_variables(&node.name),
        disk: node.disk.clone(),
        medium: directory.medium(&node.name),
        pxe_script: directory.pxe_script(&node.name),
        taps: node
            .nics
            .iter()
            .map(|nic| nic.switch_port.clone())
            .collect(),
        namespace: rack
            .switch_of(node)
            .map(|switch| switch.namespace.clone())
            .filter(|namespace| namespace != NS_SWITCH),
        control_socket: directory.control_socket(&node.name),
        serial_socket: node.serial_socket.clone(),
        serial_log: node.serial_log.clone(),
        qemu_log: directory.node(&node.name).join("qemu.log"),
    }
}

/// What the node is made of, as its BMC and its firmware both report it.
pub(super) fn inventory(rack: &RackDescription, node: &NodeDescription) -> Inventory {
    Inventory {
        manufacturer: "Bessemer".to_owned(),
        model: "Virtual Server".to_owned(),
        serial_number: node.serial.clone(),
        uuid: node.uuid,
        bios_version: "1.0".to_owned(),
        processor_model: match rack.accelerator {
            Accelerator::Tcg => TCG_PROCESSOR.to_owned(),
            Accelerator::Kvm => host_processor().unwrap_or_default(),
        },
        processor_cores: 1,
        memory_mib: rack.memory_mib,
        nics: (1..)
            .zip(&node.nics)
            .map(|(number, nic)| InventoryNic {
                id: format!("NIC{number}"),
                mac: nic.mac.clone(),
                speed_mbps: 10_000,
            })
            .collect(),
        drives: vec![InventoryDrive {
            id: "Drive1".to_owned(),
            model: DRIVE_MODEL.to_owned(),
            serial_number: format!("NVME-{}", node.serial),
            capacity_bytes: DISK_BYTES,
        }],
    }
}

fn host_processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}
