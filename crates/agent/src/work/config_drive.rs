//! The config drive: an ISO 9660 image in a last, small partition of the written disk, in which
//! the tenant's operating system finds out who it is.

use std::sync::Arc;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::report::ReportWay;
use bessemer_image::gpt::{CONFIG_PARTITION_SIZE, add_config_partition};
use bessemer_image::write::{Disk, Target};
use bytes::Bytes;

use super::{Context, Job, blocking, device, patience, verify};
use crate::inventory::disks;
use crate::{Error, Result, random};

/// Where an ISO 9660 image says that it is one: in its first volume descriptor (ECMA-119, 8.1).
const ISO_MARK: (usize, &[u8]) = (32769, b"CD001");

/// Fetches the config drive and writes it: that of a system which reports in this way.
pub(super) async fn write_config_drive(
    context: Context,
    selector: DiskIdentity,
    way: &ReportWay,
    job: Arc<Job>,
) -> Result<()> {
    let disk = disks::select(&context.machine, &selector)?;
    let limit = CONFIG_PARTITION_SIZE as usize;
    let iso = patience::ask(&job, || context.client.config_drive(way, limit)).await?;
    let (at, mark) = ISO_MARK;
    if iso.get(at..at + mark.len()) != Some(mark) {
        return Err(Error::NotAConfigDrive);
    }
    blocking(move || {
        let path = context.machine.device(&disk.name);
        write(&disk.name, &Disk::open(&path)?, &iso)?;
        device::reread_partition_table(&path)
    })
    .await
}

fn write(name: &str, target: &Disk, iso: &Bytes) -> Result<()> {
    let id = uuid::Builder::from_random_bytes(random::bytes()?).into_uuid();
    let partition = add_config_partition(target, id)?;
    // All of the partition, so that nothing of what was there remains.
    let mut content = iso.to_vec();
    content.resize(partition.length as usize, 0);
    let failed = |action| {
        move |source| {
            let (offset, length) = (partition.offset, partition.length);
            Error::Image(bessemer_image::Error::Disk {
                action,
                offset,
                length,
                source,
            })
        }
    };
    target
        .write_at(partition.offset, &content)
        .map_err(failed("write"))?;
    target.flush().map_err(failed("flush"))?;
    let mut found = vec![0; content.len()];
    verify::read(target, partition.offset, &mut found)?;
    if found != content {
        return Err(Error::ReadBack {
            disk: name.to_owned(),
            offset: partition.offset,
        });
    }
    Ok(())
}
