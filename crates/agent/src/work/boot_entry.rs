//! What an image's own boot loader would start, read from the loader's configuration.
//!
//! Three kinds are understood: GRUB's `grub.cfg` as Debian's tools write it, Boot Loader
//! Specification entries (UAPI.1) as Fedora's do, and, where there is neither, the newest kernel
//! by its file name. Nothing is executed: GRUB's configuration is a script, of which only the menu
//! entries and the default are read.

use std::cmp::Ordering;

/// One operating system as a boot loader would start it. Paths are those of the loader: absolute
/// in the file system that holds its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEntry {
    /// The kernel.
    pub kernel: String,
    /// Initial RAM disks, to be put together in this order.
    pub initrds: Vec<String>,
    /// The kernel's command line.
    pub command_line: String,
}

/// The default entry of a `grub.cfg`: the one that `set default` names by number, title or id, or
/// else the first that starts a kernel.
pub fn from_grub(text: &str) -> Option<BootEntry> {
    let menu = parse_menu(text);
    let by_default = menu.default.as_ref().and_then(|wanted| {
        let number = wanted.parse().ok();
        let mut named = menu.items.iter().enumerate();
        let (_, item) =
            named.find(|(index, item)| number == Some(*index) || item.is_called(wanted))?;
        item.entry.clone()
    });
    by_default.or_else(|| menu.items.into_iter().find_map(|item| item.entry))
}

#[derive(Debug, Default)]
struct Menu {
    default: Option<String>,
    items: Vec<MenuItem>,
}

/// A top-level `menuentry` or `submenu`; the latter, counted but not entered, has no entry.
#[derive(Debug, Default)]
struct MenuItem {
    title: String,
    id: Option<String>,
    entry: Option<BootEntry>,
}

impl MenuItem {
    fn is_called(&self, name: &str) -> bool {
        self.title == name || self.id.as_deref() == Some(name)
    }
}

fn parse_menu(text: &str) -> Menu {
    let mut menu = Menu::default();
    let mut depth = 0_u32;
    for line in text.lines() {
        let words = words(line);
        let first = words.first().map(String::as_str);
        let opens = words.last().is_some_and(|word| word == "{");
        match (first, depth) {
            (Some("menuentry" | "submenu"), 0) if opens => menu.items.push(MenuItem {
                title: words.get(1).cloned().unwrap_or_default(),
                id: option_value(&words, "--id")
                    .or_else(|| option_value(&words, "$menuentry_id_option")),
                entry: None,
            }),
            (Some("linux" | "linux16" | "linuxefi"), 1) => {
                if let Some(item) = menu.items.last_mut() {
                    item.entry = kernel_of(&words);
                }
            }
            (Some("initrd" | "initrd16" | "initrdefi"), 1) => {
                let entry = menu.items.last_mut().and_then(|item| item.entry.as_mut());
                if let Some(entry) = entry {
                    entry.initrds = words[1..]
                        .iter()
                        .filter(|word| is_literal(word))
                        .cloned()
                        .collect();
                }
            }
            // Only a literal default can be known without running the script.
            (Some("set"), _) => {
                let value = words.get(1).and_then(|word| word.strip_prefix("default="));
                if let Some(value) = value.filter(|value| is_literal(value) && !value.is_empty()) {
                    menu.default = Some(value.to_owned());
                }
            }
            _ => {}
        }
        if opens {
            depth += 1;
        } else if first == Some("}") {
            depth = depth.saturating_sub(1);
        }
    }
    menu
}

fn kernel_of(words: &[String]) -> Option<BootEntry> {
    let kernel = words.get(1).filter(|word| is_literal(word))?.clone();
    let arguments: Vec<&str> = words[2..]
        .iter()
        .map(String::as_str)
        .filter(|word| is_literal(word))
        .collect();
    Some(BootEntry {
        kernel,
        initrds: Vec::new(),
        command_line: arguments.join(" "),
    })
}

/// Whether a word has no variable in it, whose value only the script would know.
fn is_literal(word: &str) -> bool {
    !word.contains('$')
}

fn option_value(words: &[String], option: &str) -> Option<String> {
    let at = words.iter().position(|word| word == option)?;
    words.get(at + 1).cloned()
}

/// Splits a line of GRUB's language into words: quotes are taken off, a backslash takes the next
/// character as it is, `#` at the start of a word begins a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                begun = true;
                word.extend(characters.next());
            }
            ('\'' | '"', None) => {
                begun = true;
                quote = Some(character);
            }
            (_, Some(open)) if character == open => quote = None,
            ('#', None) if !begun => break,
            (_, None) if character.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                begun = true;
                word.push(character);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The newest of several Boot Loader Specification entries, each a file name and its text.
/// `variables` has `name=value` lines, as a GRUB environment block has.
pub fn from_loader_entries(entries: &[(String, String)], variables: &str) -> Option<BootEntry> {
    let mut newest: Option<(String, BootEntry)> = None;
    for (name, text) in entries.iter().filter(|(name, _)| !name.contains("rescue")) {
        let Some(entry) = parse_loader_entry(text, variables) else {
            continue;
        };
        let version = field(text, "version").unwrap_or(name).to_owned();
        if newest
            .as_ref()
            .is_none_or(|(best, _)| compare_versions(&version, best).is_gt())
        {
            newest = Some((version, entry));
        }
    }
    newest.map(|(_, entry)| entry)
}

fn parse_loader_entry(text: &str, variables: &str) -> Option<BootEntry> {
    let fields = |name: &'static str| text.lines().filter_map(move |line| field(line, name));
    let options: Vec<&str> = fields("options").flat_map(str::split_whitespace).collect();
    let expanded = options
        .iter()
        .flat_map(|option| match option.strip_prefix('$') {
            Some(variable) => variable_value(variables, variable),
            None => vec![*option],
        });
    let command_line = expanded.collect::<Vec<_>>().join(" ");
    let initrds = fields("initrd")
        .flat_map(str::split_whitespace)
        .filter(|word| is_literal(word));
    Some(BootEntry {
        kernel: fields("linux")
            .next()
            .filter(|path| is_literal(path))?
            .to_owned(),
        initrds: initrds.map(String::from).collect(),
        command_line,
    })
}

/// The value of the first line that begins with this key.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(name)?;
        Some(rest.strip_prefix([' ', '\t'])?.trim())
    })
}

fn variable_value<'a>(variables: &'a str, name: &str) -> Vec<&'a str> {
    let value = variables
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.into_iter().flat_map(str::split_whitespace).collect()
}

/// The newest kernel among the files of `/boot`, with its initial RAM disk if it has one, and a
/// command line that names the root file system by UUID.
pub fn from_file_names(folder: &str, names: &[String], root: &str) -> Option<BootEntry> {
    let versions = names
        .iter()
        .filter_map(|name| name.strip_prefix("vmlinuz-"));
    let newest = versions
        .filter(|version| !version.contains("rescue"))
        .max_by(|one, other| compare_versions(one, other))?;
    let initrd = [
        format!("initrd.img-{newest}"),
        format!("initramfs-{newest}.img"),
    ]
    .into_iter()
    .find(|name| names.contains(name));
    Some(BootEntry {
        kernel: format!("{folder}/vmlinuz-{newest}"),
        initrds: initrd
            .map(|name| format!("{folder}/{name}"))
            .into_iter()
            .collect(),
        command_line: format!("root=UUID={root} ro console=tty0 console=ttyS0,115200"),
    })
}

/// Compares versions as people do: runs of digits as numbers, the rest as text.
fn compare_versions(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    while !one.is_empty() && !other.is_empty() {
        let (number, rest) = split_number(one);
        let (other_number, other_rest) = split_number(other);
        let order = number
            .len()
            .cmp(&other_number.len())
            .then_with(|| number.cmp(other_number));
        if order.is_ne() {
            return order;
        }
        let (text, rest) = split_text(rest);
        let (other_text, other_rest) = split_text(other_rest);
        if text != other_text {
            return text.cmp(other_text);
        }
        (one, other) = (rest, other_rest);
    }
    one.len().cmp(&other.len())
}

/// Leading digits, without leading zeros, and what follows.
fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

fn split_text(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEBIAN: &str = r#"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="0"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	search --no-floppy --fs-uuid --set=root 5f2c
	echo	'Loading Linux 6.1.0-28-cloud-amd64 ...'
	linux	/boot/vmlinuz-6.1.0-28-cloud-amd64 root=UUID=5f2c ro  console=tty0 console=ttyS0,115200 $vt_handoff
	initrd	/boot/intel-ucode.img /boot/initrd.img-6.1.0-28-cloud-amd64
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-27' --class debian $menuentry_id_option 'old' {
		linux	/boot/vmlinuz-6.1.0-27-cloud-amd64 root=UUID=5f2c ro single
	}
}
menuentry "Another \"one\"" --id another {
	linux /boot/other a="b c"
}
"#;

    #[test]
    fn debians_default_entry_is_found() {
        let entry = from_grub(DEBIAN).unwrap();
        assert_eq!(entry.kernel, "/boot/vmlinuz-6.1.0-28-cloud-amd64");
        assert_eq!(
            entry.initrds,
            [
                "/boot/intel-ucode.img",
                "/boot/initrd.img-6.1.0-28-cloud-amd64"
            ]
        );
        assert_eq!(
            entry.command_line,
            "root=UUID=5f2c ro console=tty0 console=ttyS0,115200"
        );
    }

    #[test]
    fn other_defaults_are_followed() {
        for default in ["2", "another", r#"Another \"one\""#] {
            let text = DEBIAN.replace(r#"default="0""#, &format!("default=\"{default}\""));
            assert_eq!(from_grub(&text).unwrap().kernel, "/boot/other", "{default}");
        }
        // A submenu, or nothing: what starts a kernel is better than nothing.
        for default in ["1", "7", "gone"] {
            let text = DEBIAN.replace(r#"default="0""#, &format!("default=\"{default}\""));
            assert!(
                from_grub(&text).unwrap().kernel.contains("6.1.0-28"),
                "{default}"
            );
        }
        assert_eq!(from_grub("set default=0\n"), None);
    }

    #[test]
    fn the_newest_loader_entry_wins() {
        let entry = |version: &str| {
            (
                format!("x-{version}.conf"),
                format!(
                    "title Fedora\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img $tuned_initrd\noptions $kernelopts rw $tuned_params\n"
                ),
            )
        };
        let rescue = (
            "x-0-rescue.conf".to_owned(),
            "version 9-rescue\nlinux /rescue\n".to_owned(),
        );
        let entries = [entry("6.9.1-2"), entry("6.10.0-1"), rescue];
        let found = from_loader_entries(&entries, "# GRUB\nkernelopts=root=/dev/x ro\n").unwrap();
        assert_eq!(found.kernel, "/vmlinuz-6.10.0-1");
        assert_eq!(found.initrds, ["/initramfs-6.10.0-1.img"]);
        assert_eq!(found.command_line, "root=/dev/x ro rw");
        assert_eq!(from_loader_entries(&[], ""), None);
    }

    #[test]
    fn the_newest_kernel_is_the_last_resort() {
        let names = [
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-28-amd64",
            "initrd.img-6.1.0-28-amd64",
            "vmlinuz",
        ];
        let names: Vec<String> = names.map(String::from).into();
        let entry = from_file_names("/boot", &names, "abc").unwrap();
        assert_eq!(entry.kernel, "/boot/vmlinuz-6.1.0-28-amd64");
        assert_eq!(entry.initrds, ["/boot/initrd.img-6.1.0-28-amd64"]);
        assert!(entry.command_line.starts_with("root=UUID=abc ro"));
        assert_eq!(from_file_names("/boot", &[], "abc"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9 \t\n{}'\"#\\\\$=-]{0,300}", menu in any::<bool>()) {
            let text = if menu { format!("menuentry 'a' {{\nlinux {text}\n}}") } else { text };
            from_grub(&text);
            from_loader_entries(&[("a".into(), text.clone())], &text);
        }

        #[test]
        fn versions_are_ordered(one in "[0-9a.-]{0,12}", other in "[0-9a.-]{0,12}") {
            prop_assert_eq!(compare_versions(&one, &other), compare_versions(&other, &one).reverse());
        }
    }
}
