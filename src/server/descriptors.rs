//! File descriptors: a connection is one, and so is what keeps the grants fresh.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept free of callers' connections: for the upstream, name lookups, the operator and files.
const RESERVED: u64 = 256;

/// Raises the limit on this process to the most that the system allows it.
pub fn raise_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// How many connections there is room for beside the reserve, at most `wanted`. Where the
/// limit is lower than twice the reserve, half of it is kept free.
pub(super) fn places(wanted: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let places = wanted.min(room(limit));
    if places < wanted {
        tracing::warn!(
            limit,
            connections = places,
            wanted,
            "the limit on open files leaves room for fewer connections; raise it"
        );
    }
    places
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
}
