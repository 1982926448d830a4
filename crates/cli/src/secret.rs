//! Secrets, which come from files, pipes and the keyboard; never from arguments, which everybody
//! on the machine can see.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use console::Term;

/// The longest secret that is read, in bytes: more is a wrong file.
const MOST_BYTES: u64 = 4096;

/// Reads a secret from `path`, or for `-` from standard input: from a terminal without showing it,
/// after asking with `prompt`. One line break at its end does not belong to it.
pub(crate) fn read(path: &Path, prompt: &str) -> anyhow::Result<String> {
    if path != Path::new("-") {
        return from_file(path);
    }
    if !io::stdin().is_terminal() {
        return bounded(io::stdin().lock()).context("cannot read from standard input");
    }
    let term = Term::stderr();
    term.write_str(prompt)?;
    let secret = term.read_secure_line()?;
    if secret.is_empty() {
        bail!("nothing was typed");
    }
    Ok(secret)
}

/// Reads a secret from a file, with a warning if others can, too.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read `{shown}`"))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot read `{shown}`"))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        eprintln!("warning: others can read `{shown}`, which holds a secret: chmod 600 {shown}");
    }
    bounded(file).with_context(|| format!("cannot use `{shown}`"))
}

fn bounded(source: impl Read) -> anyhow::Result<String> {
    let mut secret = String::new();
    source.take(MOST_BYTES + 1).read_to_string(&mut secret)?;
    if secret.len() as u64 > MOST_BYTES {
        bail!("it has more than {MOST_BYTES} bytes, which no secret has");
    }
    let line = secret.strip_suffix('\n').unwrap_or(&secret);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        bail!("it is empty");
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_a_secret() {
        for (text, secret) in [
            ("a b", "a b"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a \n\n", "a \n"),
        ] {
            assert_eq!(bounded(text.as_bytes()).unwrap(), secret);
        }
        assert!(bounded("\n".as_bytes()).is_err());
        assert!(bounded(io::repeat(b'x')).is_err());
    }
}
