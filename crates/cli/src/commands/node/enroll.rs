//! `bessemer node enroll`: registering a machine.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bessemer_core::boot_method::BootMethod;
use bessemer_core::lifecycle::Standby;
use bessemer_core::port_plan::GroupMode;
use bessemer_core::root_disk::RootDiskHint;
use bessemer_tls::Fingerprint;
use bessemer_wire::api::{
    BmcCreate, BmcTrust, IpmiKey, NodeCreate, NodePortCreate, PortGroupCreate,
};
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
      --mac 52:54:00:12:34:57,switch=leaf1,port=swp7,group=bond0 \\
      --mac 52:54:00:12:34:58,switch=leaf1,port=swp8,group=bond0

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
    /// A NIC, the switch port that it is cabled to, the port group that it is bonded in, and the
    /// physical network that its cable leads to; can be given several times. The first one boots the
    /// agent, unless another one says `boots`.
    #[arg(
        long,
        required = true,
        value_name = "MAC[,switch=SWITCH,port=PORT][,group=GROUP][,physical-network=NAME][,boots]"
    )]
    mac: Vec<Nic>,
    /// How the ports of a group are bonded, unless by LACP: lacp, active_backup or none.
    #[arg(long, value_name = "GROUP=MODE")]
    port_group: Vec<GroupArgument>,
    /// The rack that it is in, by name or id.
    #[arg(long)]
    rack: Option<String>,
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

/// A NIC and how it is wired.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Nic {
    request: NodePortCreate,
    /// The group that it is in.
    group: Option<String>,
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let mac = parts.next().unwrap_or_default();
        let mut request = NodePortCreate {
            mac: mac.parse().map_err(|error| format!("{error}"))?,
            switch: None,
            switch_port: None,
            physical_network: None,
            boots: false,
        };
        let mut group = None;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let place = match key {
                "boots" if part == key => {
                    request.boots = true;
                    continue;
                }
                "switch" => &mut request.switch,
                "port" => &mut request.switch_port,
                "group" => &mut group,
                "physical-network" => &mut request.physical_network,
                _ => {
                    return Err(format!(
                        "`{key}` is none of `switch`, `port`, `group`, `physical-network`, `boots`"
                    ));
                }
            };
            if value.is_empty() || place.replace(value.to_owned()).is_some() {
                return Err(format!("`{key}` must be given once, as {key}=NAME"));
            }
        }
        if request.switch.is_some() != request.switch_port.is_some() {
            return Err("`switch` and `port` go together".into());
        }
        Ok(Self { request, group })
    }
}

/// How the ports of a group are bonded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupArgument {
    name: String,
    mode: GroupMode,
}

impl FromStr for GroupArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').and_then(|(name, mode)| {
            let mode = super::port_group::named(mode)?;
            Some(Self {
                name: name.to_owned(),
                mode,
            })
        });
        named.ok_or_else(|| {
            format!(
                "`{text}` is not understood: write bond0=lacp, bond0=active_backup or bond0=none"
            )
        })
    }
}

/// The groups that NICs are said to be in, with their modes.
fn groups(nics: &[Nic], modes: &[GroupArgument]) -> anyhow::Result<Vec<PortGroupCreate>> {
    let mut groups: Vec<PortGroupCreate> = Vec::new();
    for nic in nics {
        let Some(name) = &nic.group else { continue };
        match groups.iter_mut().find(|group| group.name == *name) {
            Some(group) => group.members.push(nic.request.mac),
            None => groups.push(PortGroupCreate {
                name: name.clone(),
                mode: GroupMode::default(),
                members: vec![nic.request.mac],
            }),
        }
    }
    for GroupArgument { name, mode } in modes {
        match groups.iter_mut().find(|group| group.name == *name) {
            Some(group) => group.mode = *mode,
            None => anyhow::bail!("no --mac has group={name}, whose mode is given"),
        }
    }
    Ok(groups)
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
            rack: self.rack,
            bmc: BmcCreate {
                url: self.bmc,
                username: self.bmc_user,
                password,
                trust,
                ipmi_key,
            },
            port_groups: groups(&self.mac, &self.port_group)?,
            ports: self.mac.into_iter().map(|nic| nic.request).collect(),
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
    fn nics_say_how_they_are_wired() {
        let nic = |text: &str| text.parse::<Nic>().unwrap();
        let bare = nic("52:54:00:12:34:56");
        assert_eq!(bare.request.mac.to_string(), "52:54:00:12:34:56");
        assert_eq!((&bare.request.switch, &bare.group), (&None, &None));
        let all = nic("52-54-00-12-34-56,port=swp7,switch=leaf1,group=b,physical-network=x,boots");
        assert_eq!(all.request.switch.as_deref(), Some("leaf1"));
        assert_eq!(all.request.switch_port.as_deref(), Some("swp7"));
        assert_eq!(all.request.physical_network.as_deref(), Some("x"));
        assert!(all.request.boots && !bare.request.boots);
        assert_eq!(all.group.as_deref(), Some("b"));
        for (wrong, named) in [
            ("x", "MAC address"),
            ("52:54:00:12:34:56,switch=a", "go together"),
            ("52:54:00:12:34:56,switch=a,switch=b", "switch"),
            ("52:54:00:12:34:56,switch=,port=b", "switch"),
            ("52:54:00:12:34:56,vlan=7", "vlan"),
            ("52:54:00:12:34:56,boots=no", "boots"),
        ] {
            let error = wrong.parse::<Nic>().unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }

    #[test]
    fn nics_with_one_group_are_bonded() {
        let nic = |text: &str| text.parse::<Nic>().unwrap();
        let nics = [
            nic("52:54:00:00:00:01,group=bond0"),
            nic("52:54:00:00:00:02"),
            nic("52:54:00:00:00:03,group=bond0"),
        ];
        let found = groups(&nics, &[]).unwrap();
        assert_eq!(
            (found[0].name.as_str(), found[0].mode),
            ("bond0", GroupMode::Lacp)
        );
        assert_eq!(found[0].members, [nics[0].request.mac, nics[2].request.mac]);
        let mode = |text: &str| text.parse::<GroupArgument>();
        let found = groups(&nics, &[mode("bond0=active_backup").unwrap()]).unwrap();
        assert_eq!(found[0].mode, GroupMode::ActiveBackup);
        assert!(groups(&nics, &[mode("bond1=none").unwrap()]).is_err());
        assert!(mode("bond0=lag").is_err() && mode("bond0").is_err());
    }
}
