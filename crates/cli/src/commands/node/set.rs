//! `bessemer node set`: what an operator decides about a node after it was registered.

use std::path::PathBuf;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Standby;
use bessemer_core::root_disk::{HintError, RootDiskHint};
use bessemer_tls::Fingerprint;
use bessemer_wire::api::{BmcTrust, BmcUpdate, NodeUpdate};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::enroll::read_ipmi_key;
use crate::secret;

/// What leaves the choice to the conductor.
const AUTOMATIC: &str = "auto";

/// What takes a hint, or a rack, back.
const NONE: &str = "none";

/// Change a node. What is not given stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node set rack1-u07 --boot-method pxe
  bessemer node set rack1-u07 --standby always
  bessemer node set rack1-u07 --boot-method auto    choose by what its controller can make it do
  bessemer node set rack1-u07 --root-disk serial=S6CKNX0T
  bessemer node set rack1-u07 --root-disk none      leave that to its flavor, or the rule
  bessemer node set rack1-u07 --rack a07
  bessemer node set rack1-u07 --bmc-user bessemer --bmc-password-file -
  bessemer node set rack1-u07 --bmc-fingerprint b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c

A root disk hint has conditions with commas between, all of which must be true of one disk and of no
other: serial=, wwn=, model= (a part of it), name=, rotational=true or false, size>=400G, size<=2T.")]
pub(in crate::commands) struct Set {
    /// Its name or id.
    pub(super) node: String,
    /// How it is to boot the agent, from its next boot on.
    #[arg(
        long, value_name = "METHOD",
        required_unless_present_any = [
            "rack", "standby", "root_disk", "bmc", "bmc_user", "bmc_password_file", "bmc_fingerprint",
            "bmc_insecure", "bmc_ipmi_key_file", "no_bmc_ipmi_key",
        ],
        value_parser = PossibleValuesParser::new(names().chain([AUTOMATIC]))
    )]
    boot_method: Option<String>,
    /// The rack that it is in, by name or id; `none` for none.
    #[arg(long)]
    rack: Option<String>,
    /// Whether it waits for orders in the agent, so that they cost no POST.
    #[arg(long, value_name = "WHEN", value_parser = standby_parser())]
    standby: Option<Standby>,
    /// The new address of its management controller; asks for the password again.
    #[arg(long, value_name = "URL", requires = "bmc_password_file")]
    bmc: Option<String>,
    /// The account there.
    #[arg(long, value_name = "USER")]
    bmc_user: Option<String>,
    /// The file with its password; `-` reads it from standard input, or asks.
    #[arg(long, value_name = "FILE")]
    bmc_password_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the controller's new certificate.
    #[arg(long, value_name = "HEX", conflicts_with = "bmc_insecure")]
    bmc_fingerprint: Option<Fingerprint>,
    /// Believe any certificate: whoever answers there gets the password, which has to be given again.
    #[arg(long, requires = "bmc_password_file")]
    bmc_insecure: bool,
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
    /// The request, after the secrets have been read.
    pub(super) fn request(&self) -> anyhow::Result<NodeUpdate> {
        let rack = self.rack.clone();
        Ok(NodeUpdate {
            rack: rack.map(|rack| Some(rack).filter(|rack| rack != NONE)),
            boot_method: self.boot_method.as_deref().map(named),
            standby: self.standby,
            root_disk_hint: self.root_disk.as_ref().map(|hint| hint.0.clone()),
            bmc: self.bmc_update()?,
        })
    }

    fn bmc_update(&self) -> anyhow::Result<Option<BmcUpdate>> {
        let password = self.bmc_password_file.as_deref();
        let prompt = format!("Password of the management controller of {}: ", self.node);
        let update = BmcUpdate {
            url: self.bmc.clone(),
            username: self.bmc_user.clone(),
            password: password
                .map(|path| secret::read(path, &prompt))
                .transpose()?,
            trust: match (&self.bmc_fingerprint, self.bmc_insecure) {
                (Some(fingerprint), _) => Some(BmcTrust::Pinned(fingerprint.to_string())),
                (None, insecure) => insecure.then_some(BmcTrust::Insecure),
            },
            ipmi_key: match &self.bmc_ipmi_key_file {
                Some(path) => Some(Some(read_ipmi_key(path)?)),
                None => self.no_bmc_ipmi_key.then_some(None),
            },
        };
        let untouched = update.url.is_none()
            && update.username.is_none()
            && update.password.is_none()
            && update.trust.is_none()
            && update.ipmi_key.is_none();
        Ok((!untouched).then_some(update))
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
