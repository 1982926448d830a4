//! One answer of a BMC, put before every reader that there is.
//!
//! On a connection each reader sees the resources that it asked for. What a BMC answers is up to the
//! BMC, so every reader must bear any answer: this is how a fuzzer has them all bear one, without a
//! connection.

use super::boot::{self, Mode, Override, Pending};
use super::client::page_of;
use super::endpoint::Endpoint;
use super::goal::Goal;
use super::media::{self, Companions, Empty, Holding};
use super::power::{self, FORCE_OFF, GRACEFUL_OFF, ON};
use super::quirks::Quirks;
use super::resource::{Resource, link, messages, parse, texts};
use super::tasks;
use super::{inventory, system};
use crate::{BmcInventory, BootMode, Identity};

/// Where the answer is taken to come from, and an image that may be asked for.
const PATH: &str = "/redfish/v1/Systems/1";
const IMAGE: &str = "http://10.0.0.1:8000/media/1.iso";

/// What was read of an answer, as far as it is kept.
#[derive(Debug)]
pub struct Reading {
    /// Which machine it is.
    pub identity: Identity,
    /// What it would add to an inventory.
    pub inventory: BmcInventory,
    /// What it says for people.
    pub messages: String,
    /// The members of a collection, and the page after it.
    pub page: Option<(Vec<String>, Option<String>)>,
    /// How many of its references lead somewhere on the BMC `at`.
    pub references: usize,
}

/// Reads `body`, an answer of the BMC `at`, as a system, a manager, a collection, a processor, a NIC,
/// a drive, a boot option, firmware settings, a media drive, a task and an error; `None` if it is no
/// JSON object. Never panics, whatever the bytes.
pub fn read(body: &[u8], at: &Endpoint) -> Option<Reading> {
    let resource = Resource::new(PATH, parse(body)?, None);
    read_goals(&resource);
    read_power(&resource);
    read_media(&resource);
    let _ = (resource.strong_etag(), resource.etag());
    for status in [200, 202, 404, 500] {
        tasks::standing(status, Some(&resource.value));
    }
    let page = page_of(&resource.value);
    let managers = system::managers(&resource).map(str::to_owned);
    let own = link(&resource.value).map(str::to_owned).into_iter();
    let listed = page
        .iter()
        .flat_map(|(members, next)| members.iter().chain(next));
    let references = managers.chain(own).chain(listed.cloned());
    Some(Reading {
        references: references.filter(|path| at.resolve(path).is_some()).count(),
        identity: system::identity(&resource),
        inventory: inventory::of_one(&resource),
        messages: messages(&resource.value),
        page,
    })
}

/// Everything that is ever brought about, judged by this resource.
fn read_goals(seen: &Resource) {
    let modes = [BootMode::Uefi, BootMode::Legacy];
    let wanted = Override {
        target: "UefiHttp",
        mode: "UEFI",
    };
    judge(&wanted, seen);
    for mode in modes {
        judge(&Mode(mode), seen);
        if let Some(attribute) = &Quirks::of(seen).boot_mode {
            judge(
                &Pending {
                    attribute,
                    mode,
                    path: PATH,
                },
                seen,
            );
        }
    }
    for power in [&ON, &FORCE_OFF, &GRACEFUL_OFF] {
        judge(power, seen);
    }
    judge(&Holding(IMAGE), seen);
    judge(&Empty, seen);
    let _ = (boot::targets(seen), boot::boot_mode(seen));
}

fn judge(goal: &impl Goal, seen: &Resource) {
    let _ = (goal.is_reached(seen), goal.may_ask(seen));
    let _ = (goal.wanted(), goal.shown(seen));
}

fn read_power(system: &Resource) {
    let action = power::reset_action(system);
    let listed = action.and_then(|action| action.get("ResetType@Redfish.AllowableValues"));
    let offered = listed.map_or_else(|| power::reset_types_in(&system.value), texts);
    let _ = GRACEFUL_OFF.reset_type(&offered);
    let _ = power::state(system);
}

fn read_media(drive: &Resource) {
    let _ = media::rank(drive);
    let form = media::companions_shown(drive);
    let objection = messages(&drive.value);
    let _ = media::other_form(&form, &objection, &[form.clone(), Companions::new()]);
}
