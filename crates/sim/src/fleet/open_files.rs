//! How many files this process may have open: most of a fleet's files are connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Error;

/// What is open besides connections: disks that are written, the listening socket, the runtime's.
const BESIDES: u64 = 512;

/// Open files that so many machines need when all of them have something to do: a connection to
/// the controller, and one of the agent.
pub(super) fn needed(nodes: u16) -> u64 {
    2 * u64::from(nodes) + BESIDES
}

/// Raises this process's limit to `needed`, if it is lower.
pub(super) fn allow(needed: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    let (soft, hard) = limit.map_err(|error| refused(needed, 0, error))?;
    if soft >= needed {
        return Ok(());
    }
    // Beyond the hard limit only root can go.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    raised.map_err(|error| refused(needed, hard, error))
}

fn refused(needed: u64, allowed: u64, source: nix::Error) -> Error {
    Error::OpenFiles {
        needed,
        allowed,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_told_with_its_remedy() {
        assert!(allow(16).is_ok());
        // More than the kernel ever gives (fs.nr_open), whoever asks.
        let error = allow(1 << 40).unwrap_err().to_string();
        for word in ["1099511627776", "ulimit -Hn", "--nodes"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
