//! Placing the files that configure the network (`bessemer_core::network_data::files`) in the root file
//! system of a written image, for images whose own tool needs them.
//!
//! A server without them would be reached by nobody, so the deployment fails where this cannot be
//! done.

use std::sync::Arc;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::network_data::{ConfigurationFile, Content, set_variables};

use super::root_file_system::{self, Root};
use super::{Context, Job, blocking, patience};
use crate::Result;
use crate::console::say;
use crate::machine::Machine;

/// The largest answer that is read, in bytes: thousands of addresses.
const MAX_FILES: usize = 1 << 20;

/// The largest file of an image in which variables are set, in bytes.
const MAX_SETTINGS: u64 = 256 << 10;

/// Fetches the files, and places them if there are any.
pub(super) async fn place(
    context: &Context,
    selector: &DiskIdentity,
    job: &Arc<Job>,
) -> Result<()> {
    let files = patience::ask(job, || context.client.network_files(MAX_FILES)).await?;
    if files.is_empty() {
        return Ok(());
    }
    let (machine, selector) = (context.machine.clone(), selector.clone());
    let partition = blocking(move || write(&machine, &selector, &files)).await?;
    say(format_args!("the network's files are on {partition}"));
    Ok(())
}

/// Gives the partition that the root file system is on.
fn write(
    machine: &Machine,
    selector: &DiskIdentity,
    files: &[ConfigurationFile],
) -> Result<String> {
    let root = root_file_system::find(machine, selector)?;
    let contents: Result<Vec<_>> = files
        .iter()
        .map(|file| content(machine, &root, file))
        .collect();
    let contents = contents?;
    let files = files.iter().zip(&contents);
    let files: Vec<_> = files
        .map(|(file, content)| (file.path.as_str(), content.as_bytes(), file.mode))
        .collect();
    root.place(machine, &files)?;
    Ok(root.partition)
}

fn content(machine: &Machine, root: &Root, file: &ConfigurationFile) -> Result<String> {
    match &file.content {
        Content::Whole(text) => Ok(text.clone()),
        Content::Variables(variables) => {
            let text = root.text(machine, &file.path, MAX_SETTINGS)?;
            Ok(set_variables(&text, variables))
        }
    }
}
