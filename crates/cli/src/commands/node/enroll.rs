//! `bessemer node enroll`: registering a machine.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Standby;
use bessemer_core::net::MacAddress;
use bessemer_core::root_disk::RootDiskHint;
use bessemer_tls::Fingerprint;
use bessemer_wire::api::{BmcCreate, BmcTrust, IpmiKey, NodeCreate, NodePortCreate};
use clap::Args;

use crate::secret;

/// Register a machine. It is then checked, inspected and erased, and becomes available.
///
/// EVERYTHING ON ITS DISKS IS ERASED: a node is only rented out with clean disks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bessemer node enroll rack1-u07 --bmc https://10.0.0.7 --bmc-user root \\
      --bmc-password-file ./bmc-password --mac 52:54:00:12:34:56 --wait
  bessemer node enroll rack1-u08 --bmc https://10.0.0.8 --bmc-user root --bmc-password-file - \\
      --bmc-fingerprint b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c \\
      --mac 52:54:00:12:34:57,switch=leaf1,port=swp7 --mac 52:54:00:12:34:58,switch=leaf2,port=swp7

The fingerprint is what `openssl x509 -noout -fingerprint -sha256` prints for the controller's
certificate, with or without colons.")]
pub(in crate::commands) struct Enroll {
    /// Its name, unique: letters, digits and dashes.
    name: String,
    /// Its management controller: https://10.0.0.7 (Redfish) or ipmi://10.0.0.7 (IPMI 2.0).
    #[arg(long, value_name = "URL")]
    bmc: String,
    /// The account there.
    #[arg(long, value_name = "USER")]
    bmc_user: String,
    /// The file with its password; `-` reads it from standard input, or asks.
    #[arg(long, value_name = "FILE")]
    bmc_password_file: PathBuf,
    /// The file with its key K_g for IPMI, if one is set there: hexadecimal digits, as `ipmitool -y`
    /// takes them; `-` reads it from standard input, or asks.
    #[arg(long, value_name = "FILE")]
    bmc_ipmi_key_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the controller's certificate, if no authority vouches for it.
    #[arg(long, value_name = "HEX", conflicts_with = "bmc_insecure")]
    bmc_fingerprint: Option<Fingerprint>,
    /// Believe any certificate, or none at all (http): whoever answers there gets the password.
    #[arg(long)]
    bmc_insecure: bool,
    /// A NIC, and the switch port that it is cabled to; can be given several times, and the first
    /// one boots the agent.
    #[arg(long, value_name = "MAC[,switch=SWITCH,port=PORT]", required = true)]
    mac: Vec<Nic>,
    /// How it is to boot the agent; unless given, chosen from what its controller can make it do.
    #[arg(long, value_name = "METHOD", value_parser = super::set::boot_method_parser())]
    boot_method: Option<BootMethod>,
    /// Whether it waits for orders in the agent, so that they cost no POST.
    #[arg(
        long, value_name = "WHEN", value_parser = super::set::standby_parser(),
        default_value = Standby::ByFlavor.name()
    )]
    standby: Standby,
    /// Which of its disks is the root disk: what is true of that one alone, such as serial=S1 or
    /// 'model=PM9A3,size>=400G,rotational=false'.
    #[arg(long, value_name = "HINT")]
    root_disk: Option<RootDiskHint>,
    /// Wait until it is available.
    #[arg(long)]
    pub(super) wait: bool,
}

/// A NIC and where it is cabled to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Nic {
    mac: MacAddress,
    /// The switch and its port.
    cabling: Option<(String, String)>,
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mac = parts.next().unwrap_or_default();
        let mac = mac.parse().map_err(|error| format!("{error}"))?;
        let (mut switch, mut port) = (None, None);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let place = match key {
                "switch" => &mut switch,
                "port" => &mut port,
                _ => return Err(format!("`{key}` is neither `switch` nor `port`")),
            };
            if value.is_empty() || place.replace(value.to_owned()).is_some() {
                return Err(format!("`{key}` must be given once, as {key}=NAME"));
            }
        }
        let cabling = match (switch, port) {
            (Some(switch), Some(port)) => Some((switch, port)),
            (None, None) => None,
            _ => return Err("`switch` and `port` go together".into()),
        };
        Ok(Self { mac, cabling })
    }
}

impl Nic {
    fn request(self) -> NodePortCreate {
        let (switch, switch_port) = self.cabling.unzip();
        NodePortCreate {
            mac: self.mac,
            switch,
            switch_port,
        }
    }
}

impl Enroll {
    /// The request, after the password has been read.
    pub(super) fn request(self) -> anyhow::Result<NodeCreate> {
        let prompt = format!("Password of {} at {}: ", self.bmc_user, self.bmc);
        let password = secret::read(&self.bmc_password_file, &prompt)?;
        let ipmi_key = self.bmc_ipmi_key_file.as_deref();
        let ipmi_key = ipmi_key.map(read_ipmi_key).transpose()?;
        let trust = match (self.bmc_fingerprint, self.bmc_insecure) {
            (Some(fingerprint), _) => BmcTrust::Pinned(fingerprint.to_string()),
            (None, true) => BmcTrust::Insecure,
            (None, false) => BmcTrust::System,
        };
        Ok(NodeCreate {
            name: self.name,
            bmc: BmcCreate {
                url: self.bmc,
                username: self.bmc_user,
                password,
                trust,
                ipmi_key,
            },
            ports: self.mac.into_iter().map(Nic::request).collect(),
            boot_method: self.boot_method,
            standby: self.standby,
            root_disk_hint: self.root_disk,
        })
    }
}

/// Reads the key K_g of a management controller.
pub(super) fn read_ipmi_key(path: &Path) -> anyhow::Result<IpmiKey> {
    let key = secret::read(path, "Key K_g (hexadecimal): ")?;
    Ok(IpmiKey(key.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nics_say_where_they_are_cabled_to() {
        let mac = "52:54:00:12:34:56".parse().unwrap();
        let cabling = Some(("leaf1".to_owned(), "swp7".to_owned()));
        assert_eq!("52:54:00:12:34:56".parse(), Ok(Nic { mac, cabling: None }));
        let nic = "52-54-00-12-34-56,port=swp7,switch=leaf1".parse();
        assert_eq!(nic, Ok(Nic { mac, cabling }));
        for (wrong, named) in [
            ("x", "MAC address"),
            ("52:54:00:12:34:56,switch=a", "go together"),
            ("52:54:00:12:34:56,switch=a,switch=b", "switch"),
            ("52:54:00:12:34:56,switch=,port=b", "switch"),
            ("52:54:00:12:34:56,vlan=7", "vlan"),
        ] {
            let error = wrong.parse::<Nic>().unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }
}
