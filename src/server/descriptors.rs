//! Limits connections to the available file descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits::Limits;

/// Descriptors reserved for upstreams, name lookups, the admin listener and files.
const RESERVED: u64 = 256;

/// Raises this process's limit to the maximum that the system allows.
pub fn raise_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The maximum of open files that the system allows this process; `None`: unlimited.
#[must_use]
pub fn maximum() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// The limits on connections and handshakes that fit into this many open files.
#[must_use]
pub fn fitting(limits: Limits, open_files: u64) -> Limits {
    fit(limits, room(open_files))
}

/// Reduces connections and handshakes to the descriptors outside the reserve. If the open file
/// limit is lower than twice the reserve, half of it is reserved.
pub(super) fn within(limits: Limits) -> Limits {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return limits };
    let fitting = fitting(limits, limit);
    if fitting != limits {
        tracing::warn!(
            limit,
            connections = fitting.connections,
            wanted = limits.connections,
            "the open file limit allows fewer connections than configured; raise it"
        );
    }
    fitting
}

/// Scales the limits to `room` descriptors, keeping their ratio.
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
    fn reserve_is_at_most_half_of_the_limit() {
        for (limit, left) in [(20_000, 19_744), (1_024, 768), (512, 256), (96, 48), (1, 1)] {
            assert_eq!(room(limit), left, "{limit}");
        }
    }

    #[test]
    fn connections_and_handshakes_are_scaled_together() {
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
