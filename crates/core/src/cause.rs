//! The catalogue of causes: why nodes wait for too long, or fail.
//!
//! Whoever meets a failure knows best what it is: a BMC's client that the password was refused, an
//! agent that it was the disk. So each says it there, in a [`crate::reason::Failure`], by a name of
//! this list, and it travels with the node's reason into the database, events, API and command line.
//! What nobody met, because something did not happen, [`crate::diagnosis`] concludes from traces.
//!
//! `docs/causes.md` says the same for people, with what is seen and which fault brings each about; a
//! test holds the two together, and each cause is reproduced by that fault in a test.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Who can mend something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mender {
    /// Nothing is to be mended.
    Nobody,
    /// Whoever has the machines, the network and this server.
    Operator,
    /// Whoever has the server: its image, its user data, its networks.
    Tenant,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $mender:ident, $summary:literal, $remedy:literal;)*) => {
        /// Why a node waits or has failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
        pub enum Cause {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl Cause {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that programs know it by: it never changes.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What it is, in one sentence without a full stop.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// What whoever can mend it does.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }

            /// Who can mend it.
            pub fn mender(self) -> Mender {
                match self { $(Self::$variant => Mender::$mender,)* }
            }
        }
    };
}

causes! {
    /// Nothing is wrong, and nothing is going on.
    AtRest = "at-rest", Nobody, "nothing is going on with the node", "nothing needs to be done";
    /// It works, for no longer than usual.
    InProgress = "in-progress", Nobody, "it is working; nothing is known to be wrong", "wait";
    /// An operator holds it.
    Held = "held", Operator, "an operator holds the node", "`bessemer node unhold` brings it back";
    /// An operator has retired it.
    Retired = "retired", Operator, "an operator has retired the node",
        "`bessemer node provide` brings it back";
    /// An operator has stopped it.
    Stopped = "stopped", Operator, "an operator has stopped what the node was doing",
        "`bessemer node provide` goes on with it; a server is rebuilt or deleted by its tenant";

    /// No answer from the BMC.
    BmcUnreachable = "bmc-unreachable", Operator, "the BMC does not answer",
        "check its power, cable, address and port, and that this server may reach it";
    /// The BMC answers, too late.
    BmcSlow = "bmc-slow", Operator, "the BMC did not finish in time",
        "it is busy or starts again: restart it if that goes on, or raise `timing.bmc_deadline`";
    /// The BMC does not let us in.
    BmcPasswordRefused = "bmc-password-refused", Operator,
        "the BMC refuses our user name or password",
        "correct them by `bessemer node set --bmc-user` and `--bmc-password-file`; check on the \
         BMC that the account is not locked";
    /// The BMC lets us in, and not far enough.
    BmcAccountTooWeak = "bmc-account-too-weak", Operator,
        "the BMC's account is not allowed to do what is needed",
        "give the account the operator or administrator role on the BMC";
    /// The BMC's certificate is not the one that is trusted.
    BmcNotTrusted = "bmc-not-trusted", Operator, "the BMC shows a certificate that is not trusted",
        "compare its fingerprint with the one on the BMC's own page: pin it by `bessemer node set \
         --bmc-fingerprint`, or find out who answers in the BMC's place";
    /// What is configured for the BMC cannot be used.
    BmcSettingsWrong = "bmc-settings-wrong", Operator,
        "what is set for the BMC does not fit it, or cannot be used",
        "the reason names the setting: correct it by `bessemer node set`";
    /// The BMC answers with an error.
    BmcRefuses = "bmc-refuses", Operator, "the BMC answers with an error",
        "the reason has the BMC's own words; restart the BMC if they make no sense";
    /// The BMC's answers are not what the protocol says.
    BmcAnswersNonsense = "bmc-answers-nonsense", Operator,
        "the BMC's answers are not what its protocol says",
        "restart the BMC, and update its firmware; if it is a model of its own kind, report its \
         answers: quirks of makers are known to Bessemer, this one is not";
    /// The BMC manages a machine that cannot be told from others.
    MachineNameless = "machine-nameless", Operator,
        "the BMC tells neither a serial number nor a UUID of its machine",
        "set one in the machine's firmware: without it the machine cannot be told from another";
    /// BMC or agent belong to another machine.
    WrongMachine = "wrong-machine", Operator, "it is another machine than the one that was enrolled",
        "was the board replaced, or the BMC's address or the MAC address given to another machine? \
         Correct the node by `bessemer node set`, or delete it and enroll what is there";
    /// There is no way to boot the agent.
    NoWayToBoot = "no-way-to-boot", Operator,
        "the machine and this site have no way in common to boot the agent",
        "enable UEFI HTTP or PXE boot in the machine's firmware, or set `[boot_media]` for virtual \
         media; `bessemer node set --boot-method` decides";
    /// The BMC cannot do something that is needed.
    BmcLacksFeature = "bmc-lacks-feature", Operator, "the BMC does not offer what is needed",
        "the reason names it: enable it on the BMC or in the machine's firmware (some need a \
         licence), or set another way by `bessemer node set --boot-method`";
    /// Power commands have no effect.
    PowerCommandIgnored = "power-command-ignored", Operator,
        "the BMC accepts to switch the machine, and it is not switched",
        "look at the machine and its power supply; restart the BMC";
    /// Boot overrides have no effect.
    BootOverrideIgnored = "boot-override-ignored", Operator,
        "the BMC accepts a boot device, and does not keep it",
        "restart the BMC; check that its account may change the boot order, and set another way by \
         `bessemer node set --boot-method`";
    /// Virtual media have no effect.
    MediumIgnored = "medium-ignored", Operator,
        "the BMC accepts to insert or eject the boot medium, and does not",
        "check its licence for virtual media and that nobody else uses its drive; restart the BMC, \
         or set another way by `bessemer node set --boot-method`";

    /// The machine is off.
    MachineOff = "machine-off", Operator, "the machine is off although it was switched on",
        "look at its console and power supply: it may have failed its self-test, or its agent has \
         switched it off because its switch port did not move";
    /// No DHCP from the machine.
    NoDhcpRequest = "no-dhcp-request", Operator, "the machine does not ask for an address",
        "check link, VLAN, the MAC address of its first port and network boot in its firmware; it \
         may also still be in its self-test";
    /// Something else than the agent was booted.
    WrongBootDevice = "wrong-boot-device", Operator,
        "the machine has started something else than the agent, such as a system on its disk",
        "check the boot order and the boot mode (UEFI or BIOS) in its firmware; some forget the boot \
         device that their BMC was told: set another way by `bessemer node set --boot-method`";
    /// DHCP from the machine, refused.
    DhcpRefused = "dhcp-refused", Operator,
        "the machine asks for an address in a way that is not answered",
        "the last boot request says why: a firmware that boots in another way than expected, another \
         DHCP server, or an unknown relay";
    /// No boot file fetched.
    DhcpButNoBootFile = "dhcp-but-no-boot-file", Operator,
        "the machine was told where the agent is, but did not fetch it",
        "check that the boot ports reach this server from there, and look at the machine's console";
    /// The boot file was asked for, and there is none.
    NoBootFile = "no-boot-file", Operator,
        "the machine asked for the agent, and this server could not give it",
        "the server's log says why: build the RAM disk by `ramdisk/build`, or set \
         `provisioning.ramdisk`";
    /// The medium was inserted, and nobody read it.
    MediumNotRead = "medium-not-read", Operator, "the BMC did not read the boot medium",
        "check that the BMC reaches `[boot_media]` of this server, and look at the machine's console";
    /// The agent's kernel was fetched, and nobody called.
    BootFileButNoAgent = "boot-file-but-no-agent", Operator,
        "the agent was loaded, but does not call",
        "look at the machine's console: Secure Boot, a missing network driver, or no way to the \
         agent port of this server";
    /// An agent called and was turned away.
    AgentRefused = "agent-refused", Operator, "an agent called and was turned away",
        "the last agent message says why: an old boot that still runs, or another machine";
    /// There is no address for the agent.
    NoProvisioningAddress = "no-provisioning-address", Operator,
        "no address is left for the machine to boot with",
        "make `provisioning.pool_first` to `pool_last` larger";

    /// The agent is not heard of any more.
    AgentSilent = "agent-silent", Operator, "the agent has fallen silent",
        "look at the machine's console: it has lost its power or its network, or has crashed";
    /// The agent is alive and does not finish.
    AgentSlow = "agent-slow", Operator, "the agent is alive, but did not finish in time",
        "look at the progress of the node while it works: a slow disk is to be replaced; otherwise \
         raise `timing.erase_deadline`, `write_deadline` or `inspect_deadline`";
    /// The agent says that it could not do it, for none of the reasons that have names.
    AgentFailed = "agent-failed", Operator, "the agent could not do what it was told",
        "its last message and the machine's console say why";
    /// The machine lacks a NIC that it should have.
    NicMissing = "nic-missing", Operator, "the machine has not the NICs that it was enrolled with",
        "correct the MAC addresses of its ports, or put the NIC back; the RAM disk may lack its \
         driver";
    /// A disk fails.
    DiskError = "disk-error", Operator, "a disk fails",
        "replace the disk that the reason names; the serial console has what the kernel said";
    /// A disk that should be there is not.
    DiskMissing = "disk-missing", Operator, "a disk that should be there is not",
        "put it back; after a change of disks `bessemer node hold` and `unhold` inspect the node \
         again, and `bessemer node set --root-disk` says which disk is meant";
    /// A disk lets nobody write.
    DiskLocked = "disk-locked", Operator, "a disk refuses to be written or erased",
        "take its write protection away, unlock it by its maker's tool, or replace it";
    /// The image cannot be started or written.
    ImageUnusable = "image-unusable", Tenant, "the image cannot be used on this machine",
        "the reason says what is missing in it: rebuild the server with another image, or import it \
         again";
    /// The image does not get to the machine.
    ImageNotFetched = "image-not-fetched", Operator,
        "the agent could not fetch what is to be written",
        "check the network between the machine and this server's agent and boot ports, and the image \
         by `bessemer image show`";

    /// No answer from the switch.
    SwitchUnreachable = "switch-unreachable", Operator, "a switch does not answer",
        "check that it runs and can be reached: `bessemer switch show` has its address and what it \
         said last";
    /// The switch refuses a change.
    SwitchRefuses = "switch-refuses", Operator, "a switch refuses what it is told",
        "the reason has the switch's own words";
    /// The switch takes a change and does not keep it.
    SwitchForgets = "switch-forgets", Operator,
        "a switch takes a change, and does not have it afterwards",
        "check that nobody else configures these ports, and that the switch's own daemons run";
    /// What is configured for the switch cannot be used.
    SwitchSettingsWrong = "switch-settings-wrong", Operator,
        "the switch and this server do not believe each other",
        "correct the address, authority or certificate by `bessemer switch set`";
    /// The switch has no such port, or not that one.
    WrongCabling = "wrong-cabling", Operator, "the machine is not cabled as its node says",
        "the reason names the port: correct the cable, or the node's port";
    /// What is planned cannot be.
    SwitchCannotCarry = "switch-cannot-carry", Operator,
        "the switch cannot carry what is planned for the port",
        "the reason names what stands in the way: change the network, the port group or the switch's \
         settings";

    /// The tenant's OS does not call home.
    NoPhoneHome = "no-phone-home", Tenant, "the operating system does not say that it is up",
        "look at the machine's console; check the image and the way from the tenant's network to \
         `[phone_home]`";
    /// The tenant's OS does not call home, and had nothing but cloud-init to do it with.
    CloudInitSilent = "cloud-init-silent", Tenant,
        "the operating system does not say that it is up, and only its cloud-init could have",
        "the agent's messages say why it could not give the image a unit for that; check that the \
         image has cloud-init that reads a config drive, and look at the machine's console";

    /// The tenant's OS was asked to shut down, and runs on.
    ShutdownIgnored = "shutdown-ignored", Tenant, "the operating system does not shut down",
        "force it; look in it for what keeps it up";

    /// The database did not take something.
    DatabaseUnavailable = "database-unavailable", Operator, "the database could not be used",
        "check that it runs and has room; the server's log has what it said";
    /// What is configured does not suffice.
    ConfigurationIncomplete = "configuration-incomplete", Operator,
        "this server's configuration lacks what is needed for it",
        "the reason names the key: set it and restart the server";
    /// Something newer was wanted.
    Overtaken = "overtaken", Nobody, "something newer was wanted of the node meanwhile", "wait";
    /// Our own fault.
    InternalError = "internal-error", Operator, "this is a fault of Bessemer",
        "report this as a bug, with `bessemer node show`";
}

impl Cause {
    /// The cause of this name, if there is one.
    pub fn named(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.code() == code)
    }

    /// Whether an agent can know it. Of anything else an agent is not believed.
    pub fn may_come_from_an_agent(self) -> bool {
        matches!(
            self,
            Self::AgentFailed
                | Self::DiskError
                | Self::DiskMissing
                | Self::DiskLocked
                | Self::ImageUnusable
                | Self::ImageNotFetched
                | Self::NicMissing
                | Self::Overtaken
                | Self::WrongMachine
                | Self::InternalError
        )
    }

    /// What a tenant can do about it. What only operators can mend is told them as that.
    pub fn remedy_for_tenants(self) -> &'static str {
        match self.mender() {
            Mender::Nobody | Mender::Tenant => self.remedy(),
            Mender::Operator => {
                "this is the operators' to mend: tell them the server's name and this cause, or delete \
                 the server and order another one"
            }
        }
    }
}

/// Reads a cause from what an older or newer program wrote: a name that is not known is none.
///
/// # Errors
/// If it is no text.
pub fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cause>, D::Error> {
    let code = Option::<String>::deserialize(deserializer)?;
    Ok(code.as_deref().and_then(Cause::named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Failure;

    /// Causes are stored and sent: their names are a promise (invariant 7).
    #[test]
    fn names_are_pinned() {
        let codes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(
            codes.join(" "),
            "at-rest in-progress held retired stopped bmc-unreachable bmc-slow \
             bmc-password-refused bmc-account-too-weak bmc-not-trusted bmc-settings-wrong \
             bmc-refuses bmc-answers-nonsense machine-nameless wrong-machine no-way-to-boot \
             bmc-lacks-feature power-command-ignored boot-override-ignored medium-ignored machine-off \
             no-dhcp-request wrong-boot-device dhcp-refused dhcp-but-no-boot-file no-boot-file \
             medium-not-read boot-file-but-no-agent agent-refused no-provisioning-address \
             agent-silent agent-slow agent-failed nic-missing disk-error disk-missing disk-locked \
             image-unusable image-not-fetched switch-unreachable switch-refuses switch-forgets \
             switch-settings-wrong wrong-cabling switch-cannot-carry no-phone-home \
             cloud-init-silent shutdown-ignored database-unavailable configuration-incomplete overtaken \
             internal-error"
        );
        for cause in Cause::ALL {
            let text = serde_json::to_string(cause).unwrap();
            assert_eq!(text, format!("\"{}\"", cause.code()));
            assert_eq!(Cause::named(cause.code()), Some(*cause));
        }
    }

    #[test]
    fn what_another_version_calls_by_another_name_is_still_a_failure() {
        let read = |text: &str| serde_json::from_str::<Failure>(text);
        let failure = Failure::transient(Cause::DiskError, "sectors");
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(
            text,
            r#"{"class":"transient","message":"sectors","cause":"disk-error"}"#
        );
        assert_eq!(read(&text).unwrap(), failure);
        let newer = text.replace("disk-error", "disk-on-fire");
        assert_eq!(read(&newer).unwrap().cause, None);
        let older = r#"{"class":"transient","message":"sectors"}"#;
        assert_eq!(read(older).unwrap().cause, None);
        assert!(read(&text.replace("\"disk-error\"", "7")).is_err());
    }

    #[test]
    fn tenants_are_not_sent_to_machines() {
        for cause in Cause::ALL {
            let told = cause.remedy_for_tenants();
            assert!(!told.contains("bessemer node"), "{cause:?}: {told}");
            assert!(!cause.summary().ends_with('.'), "{cause:?}");
        }
    }
}
