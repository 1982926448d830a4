//! `bessemer node set`: what an operator decides about a node after it was registered.

use std::path::PathBuf;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Standby;
use bessemer_core::root_disk::{HintError, RootDiskHint};
use bessemer_wire::api::NodeUpdate;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::enroll::read_ipmi_key;

/// What leaves the choice to the conductor.
const AUTOMATIC: &str = "auto";

/// What takes a hint back.
const NONE: &str = "none";

/// Change a node. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node set rack1-u07 --boot-method pxe
  bessemer node set rack1-u07 --standby always
  bessemer node set rack1-u07 --boot-method auto    choose by what its controller can make it do
  bessemer node set rack1-u07 --root-disk serial=S6CKNX0T
  bessemer node set rack1-u07 --root-disk none      leave that to its flavor, or the rule

A root disk hint has conditions with commas between, all of which must be true of one disk and of no
other: serial=, wwn=, model= (a part of it), name=, rotational=true or false, size>=400G, size<=2T.")]
pub(in crate::commands) struct Set {
    /// Its name or id.
    pub(super) node: String,
    /// How it is to boot the agent, from its next boot on.
    #[arg(
        long, value_name = "METHOD",
        required_unless_present_any = ["standby", "root_disk", "bmc_ipmi_key_file", "no_bmc_ipmi_key"],
        value_parser = PossibleValuesParser::new(names().chain([AUTOMATIC]))
    )]
    boot_method: Option<String>,
    /// Whether it waits for orders in the agent, so that they cost no POST.
    #[arg(long, value_name = "WHEN", value_parser = standby_parser())]
    standby: Option<Standby>,
    /// The file with its controller's key K_g for IPMI: hexadecimal digits, as `ipmitool -y` takes
    /// them; `-` reads it from standard input, or asks.
    #[arg(long, value_name = "FILE", conflicts_with = "no_bmc_ipmi_key")]
    bmc_ipmi_key_file: Option<PathBuf>,
    /// Its controller has no key K_g any more.
    #[arg(long)]
    no_bmc_ipmi_key: bool,
    /// Which of its disks is the root disk, from the next order on.
    #[arg(long, value_name = "HINT", value_parser = hint_or_none)]
    root_disk: Option<Hint>,
}

/// A hint, or what takes one back. (A type of its own, as two `Option`s mean something else to clap.)
#[derive(Clone, Debug)]
struct Hint(Option<RootDiskHint>);

fn hint_or_none(text: &str) -> Result<Hint, HintError> {
    match text {
        NONE => Ok(Hint(None)),
        text => text.parse().map(|hint| Hint(Some(hint))),
    }
}

impl Set {
    /// The request, after the key has been read.
    pub(super) fn request(&self) -> anyhow::Result<NodeUpdate> {
        let ipmi_key = match &self.bmc_ipmi_key_file {
            Some(path) => Some(Some(read_ipmi_key(path)?)),
            None => self.no_bmc_ipmi_key.then_some(None),
        };
        Ok(NodeUpdate {
            boot_method: self.boot_method.as_deref().map(named),
            standby: self.standby,
            ipmi_key,
            root_disk_hint: self.root_disk.as_ref().map(|hint| hint.0.clone()),
        })
    }
}

/// Reads a boot method by its name.
pub(super) fn boot_method_parser() -> impl TypedValueParser<Value = BootMethod> {
    PossibleValuesParser::new(names())
        .try_map(|name| named(&name).ok_or("there is no such boot method"))
}

/// Reads whether a node waits in the agent, by its name.
pub(super) fn standby_parser() -> impl TypedValueParser<Value = Standby> {
    let names = Standby::ALL.iter().map(|standby| standby.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut all = Standby::ALL.iter().copied();
        all.find(|standby| standby.name() == name)
            .ok_or("there is no such setting")
    })
}

fn names() -> impl Iterator<Item = &'static str> {
    BootMethod::ALL.into_iter().map(BootMethod::name)
}

fn named(name: &str) -> Option<BootMethod> {
    BootMethod::ALL
        .into_iter()
        .find(|method| method.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_given_or_taken_back() {
        assert_eq!(hint_or_none("none").unwrap().0, None);
        let hint = hint_or_none("model=PM9A3,size>=400G,rotational=false").unwrap();
        assert_eq!(
            hint.0.unwrap().to_string(),
            "model=PM9A3,size>=400G,rotational=false"
        );
        let error = hint_or_none("disk=1").unwrap_err().to_string();
        assert!(error.contains("`disk=1` is no property"), "{error}");
    }
}
