//! Placing the report unit (`bessemer_core::report`) in the root file system of a written image, so
//! that its system says that it is up whatever becomes of cloud-init.
//!
//! What cannot be done is no failure of the deployment: the reason is reported, and the report is
//! left to cloud-init.

use std::sync::Arc;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::report::{
    DROP_IN, DROP_IN_PATH, MAX_SCRIPT, ReportWay, SCRIPT_PATH, UNIT, UNIT_PATH,
};

use super::{Context, Job, blocking, patience, root_file_system};
use crate::console::{causes, printable, say};
use crate::machine::Machine;
use crate::{Error, Result};

/// Fetches the script and places it with its unit, or says why that is left to cloud-init.
pub(super) async fn place(
    context: &Context,
    selector: &DiskIdentity,
    job: &Arc<Job>,
) -> Result<ReportWay> {
    match place_on_disk(context, selector, job).await {
        Ok(partition) => {
            say(format_args!("the report unit is on {partition}"));
            Ok(ReportWay::Unit { partition })
        }
        Err(Error::Superseded) => Err(Error::Superseded),
        Err(error) => {
            let why = printable(&causes(&error));
            say(format_args!("the report is left to cloud-init: {why}"));
            Ok(ReportWay::VendorData { why })
        }
    }
}

async fn place_on_disk(
    context: &Context,
    selector: &DiskIdentity,
    job: &Arc<Job>,
) -> Result<String> {
    let script = patience::ask(job, || context.client.report_script(MAX_SCRIPT)).await?;
    let (machine, selector) = (context.machine.clone(), selector.clone());
    blocking(move || write(&machine, &selector, &script)).await
}

/// Gives the partition that the root file system is on.
fn write(machine: &Machine, selector: &DiskIdentity, script: &[u8]) -> Result<String> {
    let root = root_file_system::find(machine, selector)?;
    let files = [
        (SCRIPT_PATH, script, 0o600),
        (UNIT_PATH, UNIT.as_bytes(), 0o644),
        (DROP_IN_PATH, DROP_IN.as_bytes(), 0o644),
    ];
    root.place(machine, &files)?;
    Ok(root.partition)
}
