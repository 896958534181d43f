//! File descriptors: a connection is one, and so is what keeps the grants fresh.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits::Limits;

/// Kept free of callers' connections: for the upstream, name lookups, the operator and files.
const RESERVED: u64 = 256;

/// Raises the limit on this process to the most that the system allows it.
pub fn raise_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The limits with as many connections and handshakes as there is room for beside the reserve.
/// Where the limit on open files is lower than twice the reserve, half of it is kept free.
pub(super) fn within(limits: Limits) -> Limits {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return limits };
    let fitting = fit(limits, room(limit));
    if fitting != limits {
        tracing::warn!(
            limit,
            connections = fitting.connections,
            wanted = limits.connections,
            "the limit on open files leaves room for fewer connections; raise it"
        );
    }
    fitting
}

/// The limits within that many descriptors, shared as the limits are.
fn fit(limits: Limits, room: usize) -> Limits {
    let Limits { connections, handshakes, .. } = limits;
    let wanted = connections + handshakes;
    if room >= wanted {
        return limits;
    }
    let handshakes = (handshakes * room / wanted).max(1);
    let connections = room.saturating_sub(handshakes).max(1);
    Limits { connections, handshakes, ..limits }
}

fn room(limit: u64) -> usize {
    usize::try_from(limit - RESERVED.min(limit / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_free_or_half_of_a_low_limit() {
        for (limit, left) in [(20_000, 19_744), (1_024, 768), (512, 256), (96, 48), (1, 1)] {
            assert_eq!(room(limit), left, "{limit}");
        }
    }

    #[test]
    fn connections_and_handshakes_share_the_room() {
        let fit = |room| {
            let Limits { connections, handshakes, .. } = fit(Limits::default(), room);
            (connections, handshakes)
        };
        assert_eq!(fit(10_000), (1_024, 256));
        assert_eq!(fit(1_280), (1_024, 256));
        assert_eq!(fit(640), (512, 128));
        assert_eq!(fit(48), (39, 9));
        assert_eq!(fit(1), (1, 1));
    }
}
