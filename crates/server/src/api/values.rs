//! Checks of values that several requests hold: names, VLANs, free text.

use bessemer_core::root_disk::RootDiskHint;
use bessemer_wire::api::PowerSeen;
use uuid::Uuid;

use super::problem::{Refusal, sentence};

/// Longest name, as of a DNS label (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 63;

/// Checks that `name` is a DNS label (RFC 1123, section 2.1): 1 to 63 small letters, digits and
/// dashes, no dash at either end. It becomes a host name, and those are not told apart by case.
pub(super) fn dns_label(field: &str, name: &str) -> Result<(), Refusal> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good);
    if !fits || name.starts_with('-') || name.ends_with('-') {
        return Err(
            Refusal::invalid(field, format!("{} is no DNS label.", quoted(name))).remedy(
                "Use 1 to 63 small letters, digits and dashes, with no dash at either end.",
            ),
        );
    }
    not_an_id(field, name)
}

/// Checks that `name` can be the name of something: 1 to 63 letters, digits, dashes, dots and
/// underscores, the first one a letter or digit, so that it can stand in a URL as it is.
pub(super) fn name(field: &str, name: &str) -> Result<(), Refusal> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !begins || name.len() > MAX_NAME || !name.bytes().all(good) {
        return Err(Refusal::invalid(field, format!("{} is no name.", quoted(name))).remedy(
            "Use 1 to 63 letters, digits, dashes, dots and underscores, beginning with a letter \
             or digit.",
        ));
    }
    not_an_id(field, name)
}

/// Things are asked for by name or id, so a name must never read as an id.
fn not_an_id(field: &str, name: &str) -> Result<(), Refusal> {
    if Uuid::parse_str(name).is_ok() {
        return Err(Refusal::invalid(
            field,
            "A name must not look like an id (a UUID).",
        ));
    }
    Ok(())
}

/// Checks that a root disk hint says something that a disk can be.
pub(super) fn root_disk_hint(hint: &RootDiskHint) -> Result<(), Refusal> {
    hint.check()
        .map_err(|error| Refusal::invalid("root_disk_hint", sentence(&error)))
}

/// Checks free text: 1 to `longest` characters, none of them a control character.
pub(super) fn text(field: &str, text: &str, longest: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if !(1..=longest).contains(&length) || text.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            field,
            format!("It must have 1 to {longest} characters and no control characters."),
        ));
    }
    Ok(())
}

/// Checks a VLAN id (IEEE 802.1Q: 0 and 4095 are reserved).
pub(super) fn vlan(field: &str, vlan: u16) -> Result<(), Refusal> {
    if (1..=4094).contains(&vlan) {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("{vlan} is no VLAN id: those are 1 to 4094."),
    ))
}

/// What somebody wrote where a name should be, cut short for a message.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(MAX_NAME + 1).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", short.escape_debug())
}

/// A power state as the API tells it.
pub(super) fn power_seen(power: bessemer_bmc::PowerState) -> PowerSeen {
    match power {
        bessemer_bmc::PowerState::On => PowerSeen::On,
        bessemer_bmc::PowerState::Off => PowerSeen::Off,
        bessemer_bmc::PowerState::PoweringOn => PowerSeen::PoweringOn,
        bessemer_bmc::PowerState::PoweringOff => PowerSeen::PoweringOff,
        bessemer_bmc::PowerState::Unknown => PowerSeen::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names() {
        let long = "a".repeat(63);
        for good in ["a", "rack1-07", "0", &long] {
            assert!(dns_label("name", good).is_ok(), "{good}");
            assert!(name("name", good).is_ok(), "{good}");
        }
        let mixed = "Debian_12.5";
        assert!(dns_label("name", mixed).is_err() && name("name", mixed).is_ok());
        let long = "a".repeat(64);
        let id = Uuid::nil().to_string();
        for wrong in ["", "-a", "a/b", "a b", "ä", "a\n", "a\0", "..", &long, &id] {
            assert!(dns_label("name", wrong).is_err(), "{wrong}");
            assert!(name("name", wrong).is_err(), "{wrong}");
        }
        assert!(dns_label("name", "a-").is_err() && dns_label("name", "A").is_err());
    }

    #[test]
    fn text_is_short_and_printable() {
        assert!(text("f", "an operator's words", 63).is_ok());
        for wrong in ["", "a\u{7}", "a\0b", "toolong"] {
            assert!(text("f", wrong, 6).is_err(), "{wrong}");
        }
        assert_eq!(quoted("a\n"), "`a\\n`");
    }
}
