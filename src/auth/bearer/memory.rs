//! Tokens that were verified: they are not verified again before they expire or a key changes.
//!
//! A table of fixed size without locks: each token has four places, and takes the one that is
//! of least use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use super::Verified;
use crate::clock::Anchor;

/// Tokens that are remembered.
const PLACES: usize = 4_096;

/// The places that one token may take.
const WAYS: usize = 4;

/// Tokens that were verified.
#[derive(Debug)]
pub(super) struct Memory {
    places: Box<[ArcSwapOption<Remembered>]>,
    /// How often a key set has changed.
    generation: AtomicU64,
}

#[derive(Debug)]
struct Remembered {
    digest: TokenDigest,
    generation: u64,
    verified: Arc<Verified>,
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl Default for Memory {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| ArcSwapOption::empty()).collect();
        Self { places, generation: AtomicU64::new(0) }
    }
}

impl Memory {
    /// The result for a token that was verified in this generation and has not expired since.
    pub(super) fn find(
        &self,
        digest: TokenDigest,
        generation: u64,
        now: Anchor,
    ) -> Option<Arc<Verified>> {
        self.places_of(digest).iter().find_map(|place| {
            let place = place.load();
            let remembered = place.as_deref().filter(|it| it.digest == digest)?;
            remembered.is_good(generation, now).then(|| Arc::clone(&remembered.verified))
        })
    }

    /// To be read before the keys that a token is verified with.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Remembers a token that was verified in a generation.
    pub(super) fn keep(
        &self,
        digest: TokenDigest,
        generation: u64,
        verified: &Arc<Verified>,
        now: Anchor,
    ) {
        // Within the leeway it is good, but not to be found again.
        if verified.end.left(now).is_zero() {
            return;
        }
        let use_of = |place: &&ArcSwapOption<Remembered>| {
            let place = place.load();
            let good = place.as_deref().filter(|it| it.is_good(generation, now));
            good.map(|it| it.verified.end)
        };
        if let Some(place) = self.places_of(digest).iter().min_by_key(use_of) {
            let verified = Arc::clone(verified);
            place.store(Some(Arc::new(Remembered { digest, generation, verified })));
        }
    }

    /// Forgets all tokens.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn places_of(&self, TokenDigest(digest): TokenDigest) -> &[ArcSwapOption<Remembered>] {
        let [first, second, ..] = digest;
        let first = usize::from(u16::from_le_bytes([first, second])) % (PLACES / WAYS) * WAYS;
        self.places.get(first..first + WAYS).unwrap_or_default()
    }
}

impl Remembered {
    fn is_good(&self, generation: u64, now: Anchor) -> bool {
        self.generation == generation && !self.verified.end.left(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::{
        auth::{bearer::End, name::CallerName},
        clock::Clock,
    };

    static START: LazyLock<Anchor> = LazyLock::new(|| Clock::system().now());

    /// So many seconds after the start.
    fn at(second: u64) -> Anchor {
        let start = *START;
        let since = std::time::Duration::from_secs(second);
        Anchor { boot: start.boot + since, wall: start.wall + since }
    }

    fn verified(end: u64) -> Arc<Verified> {
        let Anchor { boot, wall } = at(end);
        let end = End { wall, boot };
        Arc::new(Verified { name: CallerName::Loopback, end, certificate: None })
    }

    impl Memory {
        fn find_now(&self, digest: TokenDigest, now: Anchor) -> Option<Arc<Verified>> {
            self.find(digest, self.generation(), now)
        }
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_or_a_key_changes() {
        let memory = Memory::default();
        let (one, other) = (TokenDigest::of("one"), TokenDigest::of("other"));
        memory.keep(one, memory.generation(), &verified(10), at(1));
        assert_eq!(memory.find_now(one, at(9)), Some(verified(10)));
        assert_eq!(memory.find_now(other, at(9)), None);
        assert_eq!(memory.find_now(one, at(10)), None);
        let before = memory.generation();
        memory.forget();
        assert_eq!(memory.find_now(one, at(9)), None);
        memory.keep(one, before, &verified(10), at(1));
        assert_eq!(memory.find_now(one, at(9)), None, "it was verified with keys of before");
    }

    #[test]
    fn many_tokens_take_no_more_room_and_those_that_end_first_give_way() {
        let memory = Memory::default();
        let digests: Vec<_> = (0..20_000).map(|it| TokenDigest::of(&it.to_string())).collect();
        for digest in &digests {
            memory.keep(*digest, memory.generation(), &verified(10), at(1));
        }
        let kept = digests.iter().filter(|it| memory.find_now(**it, at(1)).is_some()).count();
        assert_eq!((kept, memory.places.len()), (PLACES, PLACES));
        let (long, now) = (TokenDigest::of("long"), at(1));
        memory.keep(long, memory.generation(), &verified(1_000), now);
        for digest in &digests {
            memory.keep(*digest, memory.generation(), &verified(20), now);
        }
        assert!(memory.find_now(long, now).is_some());
    }
}
