//! Switches, which the configuration used to hold: a file that still has them is told where they went.

use super::error::ConfigError;

/// Refuses a configuration with `[[switch]]` sections, and tells the commands that replace them.
///
/// # Errors
/// If there are any.
pub(super) fn refuse_sections(text: &str) -> Result<(), ConfigError> {
    // Text that is no TOML is told of when the whole is read.
    let table: toml::Table = toml::from_str(text).unwrap_or_default();
    let Some(sections) = table.get("switch") else {
        return Ok(());
    };
    let sections = sections.as_array().map(Vec::as_slice).unwrap_or_default();
    let commands: Vec<_> = sections.iter().map(command).collect();
    Err(ConfigError::Value {
        field: "switch".into(),
        message: format!(
            "switches are no longer in the configuration: take the sections `[[switch]]` out, start the \
             server, and make each of them once, under the same name: {}",
            commands.join("; ")
        ),
    })
}

/// The command that makes the switch of a section.
fn command(section: &toml::Value) -> String {
    let text = |key: &str| section.get(key).and_then(toml::Value::as_str);
    let mut command = format!("bessemer switch create {}", text("name").unwrap_or("NAME"));
    for (key, option) in [
        ("driver", "--driver"),
        ("address", "--address"),
        ("authority", "--authority-file"),
        ("certificate", "--certificate-file"),
        ("key", "--key-file"),
    ] {
        if let Some(value) = text(key).filter(|value| !value.is_empty()) {
            command.push_str(&format!(" {option} {value}"));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_switches_are_refused_with_what_replaces_them() {
        assert!(refuse_sections("parked_vlan = 4094").is_ok());
        assert!(refuse_sections("no toml at all").is_ok());
        let text = "[[switch]]\nname = 'leaf1'\ndriver = 'ovsdb'\naddress = 'ssl:leaf1:6640'\n\
                    authority = '/a.pem'\n[[switch]]\nname = 'leaf2'\ndriver = 'flat'";
        let error = refuse_sections(text).unwrap_err().to_string();
        for command in [
            "bessemer switch create leaf1 --driver ovsdb --address ssl:leaf1:6640 --authority-file /a.pem",
            "bessemer switch create leaf2 --driver flat",
        ] {
            assert!(error.contains(command), "{error}");
        }
        assert!(refuse_sections("switch = 7").is_err());
    }
}
