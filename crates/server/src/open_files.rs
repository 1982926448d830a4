//! How many files the server may have open: each connection is one.
//!
//! A server that is started by hand has the soft limit of a shell, 1024, though nearly always it may have
//! far more (`getrlimit(2)`): it takes what it may. What it cannot have bounds the connections of
//! its ports, so that peers never use up what the database and the management controllers need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Below this, a site of some hundred machines may already be short.
const FEW: u64 = 16 << 10;

/// Ports at which connections come in: API, agents, boot files, boot media, phone-home.
const PORTS: u64 = 5;

/// Raises the soft limit to the hard one; how many connections each port may have then, so that all
/// of them together leave three eighths of the files for everything else.
pub(crate) fn connections_of_a_port() -> usize {
    let allowed = match raise() {
        Ok(allowed) => allowed,
        Err(error) => {
            warn!(%error, "cannot ask how many files may be open; taking it for few");
            1024
        }
    };
    if allowed < FEW {
        info!(
            "at most {allowed} files may be open (ulimit -Hn): connections are bounded by that; a site \
             of more than some hundred machines needs more"
        );
    }
    share(allowed)
}

fn raise() -> Result<u64, nix::Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return Ok(soft);
    }
    Ok(hard)
}

fn share(allowed: u64) -> usize {
    let share = (allowed / 8 * 5 / PORTS).max(8);
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ports_together_leave_files_for_the_rest() {
        for allowed in [64, 256, 1024, 4096, 65_536, 1 << 20] {
            let taken = PORTS * share(allowed) as u64;
            assert!(taken <= allowed / 8 * 5, "{taken} of {allowed}");
        }
        assert!(share(65_536) >= 8192);
        assert_eq!(share(0), 8, "never none at all");
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
