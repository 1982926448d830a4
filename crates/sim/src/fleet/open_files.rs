//! How many files this process may have open: most of a fleet's files are connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Error;

/// What is open besides connections: disks that are written, the listening socket, the runtime's.
const BESIDES: u64 = 512;

/// Raises this process's limit to what so many machines need when all of them have something to do at once: a
/// connection to the controller, and one of the agent. Where the limit may not be raised that far,
/// it has to be enough for the controllers: agents that find no place ask again.
pub(super) fn allow(nodes: u16) -> Result<(), Error> {
    let nodes = u64::from(nodes);
    raise(2 * nodes + BESIDES, nodes + BESIDES)
}

/// Raises the limit to `wanted`, or to what it may be if that is `needed` at least.
fn raise(wanted: u64, needed: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    let (soft, hard) = limit.map_err(|error| refused(needed, 0, error))?;
    if soft >= wanted {
        return Ok(());
    }
    // Beyond the hard limit only root can go, and not everywhere.
    let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)) else {
        return Ok(());
    };
    if hard < needed {
        return Err(refused(needed, hard, error));
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| refused(needed, hard, error))
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
        assert!(raise(16, 8).is_ok());
        // More than the kernel ever gives (fs.nr_open), whoever asks.
        assert!(raise(1 << 40, 16).is_ok(), "as many as there may be");
        let error = raise(1 << 41, 1 << 40).unwrap_err().to_string();
        for word in ["1099511627776", "ulimit -Hn", "--nodes"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
