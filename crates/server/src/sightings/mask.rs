//! What on a serial console looks like a secret is not shown.
//!
//! Consoles say what nobody asked for: the kernel its command line with the agent's token, cloud-init the
//! passwords that it has made up, a careless script its keys. No rule finds all of them. These find the
//! ones that are ours and the shapes that are common; a console remains something for the eyes of those
//! whose machine or server it is.

/// What stands in a secret's place.
const MASK: &str = "***";

/// As many hexadecimal digits in a row are a token or a digest: 128 bits.
const HEX_SECRET: usize = 32;

/// As many characters of base64 alone on a line are part of a key.
const KEY_LINE: usize = 40;

/// What a value that follows is not to be seen of.
const NAMES: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "api-key",
];

/// The lines without what looks like a secret.
pub(super) fn masked(lines: Vec<String>) -> Vec<String> {
    let mut passwords_follow = false;
    let mask = |line: String| {
        // cloud-init, cc_set_passwords: a heading, and then `user:password` until something else.
        let listed = passwords_follow && is_account(&line);
        passwords_follow = listed || line.contains("following 'random' passwords");
        match listed {
            true => line
                .split_once(':')
                .map_or_else(String::new, |(user, _)| format!("{user}:{MASK}")),
            false => masked_line(&line),
        }
    };
    lines.into_iter().map(mask).collect()
}

/// Whether a line is an account with its password, and nothing else.
fn is_account(line: &str) -> bool {
    line.split_once(':').is_some_and(|(user, password)| {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        !user.is_empty() && user.chars().all(is_name) && !password.contains(char::is_whitespace)
    })
}

fn masked_line(line: &str) -> String {
    let bare = line.trim();
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    if bare.len() >= KEY_LINE && bare.chars().all(is_base64) {
        return MASK.into();
    }
    without_digits(&without_values(line))
}

/// Without what is given as a password or the like.
fn without_values(line: &str) -> String {
    let small = line.to_ascii_lowercase();
    let (mut text, mut from) = (String::with_capacity(line.len()), 0);
    while let Some((start, length)) = next_value(&small, from) {
        text.push_str(&line[from..start]);
        text.push_str(MASK);
        from = start + length;
    }
    text.push_str(&line[from..]);
    text
}

/// Where the next value of a name stands in `line`, in bytes, and how long it is.
fn next_value(line: &str, from: usize) -> Option<(usize, usize)> {
    let mut from = from;
    loop {
        let ends = NAMES.iter().filter_map(|name| {
            let at = line[from..].find(name)?;
            Some(from + at + name.len())
        });
        let end = ends.min()?;
        let rest = line[end..].trim_start_matches(['"', '\'', ' ']);
        let given = rest.strip_prefix([':', '=']);
        if let Some(given) = given {
            let value = given.trim_start_matches(['"', '\'', ' ']);
            let length = value
                .find([' ', '"', '\'', ',', ';', '&'])
                .unwrap_or(value.len());
            if length > 0 {
                return Some((line.len() - value.len(), length));
            }
        }
        from = end;
    }
}

/// Without long runs of hexadecimal digits.
fn without_digits(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for part in line.split_inclusive(|letter: char| !letter.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_hexdigit());
        match digits.len() >= HEX_SECRET {
            true => text.push_str(&part.replacen(digits, MASK, 1)),
            false => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        let token = "0123456789abcdef".repeat(4);
        for (line, shown) in [
            (
                format!("Command line: console=ttyS0 bessemer.token={token} quiet"),
                "Command line: console=ttyS0 bessemer.token=*** quiet".to_owned(),
            ),
            (
                format!(
                    "POST http://10.0.0.1/phone-home/0190a5f0-0000-7000-8000-000000000001/3/{token}"
                ),
                "POST http://10.0.0.1/phone-home/0190a5f0-0000-7000-8000-000000000001/3/***".into(),
            ),
            (
                format!("bessemer-up-{}", &token[..32]),
                "bessemer-up-***".into(),
            ),
            (
                "Root Password: hunter2 (change it)".into(),
                "Root Password: *** (change it)".into(),
            ),
            (
                "\"api_key\": \"abc\", \"x\": 1".into(),
                "\"api_key\": \"***\", \"x\": 1".into(),
            ),
            ("PASSWD=a TOKEN=b".into(), "PASSWD=*** TOKEN=***".into()),
            (
                "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW".into(),
                "***".into(),
            ),
            // What is not given, or short, stays.
            ("Enter password: ".into(), "Enter password: ".into()),
            (
                "[  1.234] usb 1-1: idVendor=0627, MAC 52:54:00:aa:bb:cc".into(),
                "[  1.234] usb 1-1: idVendor=0627, MAC 52:54:00:aa:bb:cc".into(),
            ),
            ("pässword=ü tokens".into(), "pässword=ü tokens".into()),
            ("token=ü2 x".into(), "token=*** x".into()),
        ] {
            assert_eq!(masked(vec![line.clone()]), [shown], "{line}");
        }
    }

    #[test]
    fn passwords_that_cloud_init_made_up_are_masked() {
        let lines = [
            "Set the following 'random' passwords",
            "root:Xy7#kk",
            "debian:p:q",
            "Cloud-init v. 22.4 finished at now",
            "user:shown",
        ];
        let shown = masked(lines.map(str::to_owned).to_vec());
        assert_eq!(
            shown,
            [lines[0], "root:***", "debian:***", lines[3], lines[4]]
        );
    }
}
