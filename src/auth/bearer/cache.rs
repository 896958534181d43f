//! A cache of verified tokens, valid until a token expires or a key set changes.
//!
//! A lock-free table of fixed size with 4-way set associativity. A new token replaces the entry of
//! its set that expires first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use super::Verified;
use crate::clock::Anchor;

/// The number of cached tokens.
const ENTRIES: usize = 4_096;

/// The entries per set.
const WAYS: usize = 4;

/// A cache of verified tokens.
#[derive(Debug)]
pub(super) struct TokenCache {
    entries: Box<[ArcSwapOption<Entry>]>,
    /// Counts the changes of key sets.
    generation: AtomicU64,
}

#[derive(Debug)]
struct Entry {
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

impl Default for TokenCache {
    fn default() -> Self {
        let entries = (0..ENTRIES).map(|_| ArcSwapOption::empty()).collect();
        Self { entries, generation: AtomicU64::new(0) }
    }
}

impl TokenCache {
    /// Finds a token that was verified in this generation and has not expired.
    pub(super) fn find(
        &self,
        digest: TokenDigest,
        generation: u64,
        now: Anchor,
    ) -> Option<Arc<Verified>> {
        self.set_of(digest).iter().find_map(|entry| {
            let entry = entry.load();
            let entry = entry.as_deref().filter(|it| it.digest == digest)?;
            entry.is_valid(generation, now).then(|| Arc::clone(&entry.verified))
        })
    }

    /// The current generation. Read it before the keys that a token is verified with.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Caches a token that was verified in a generation.
    pub(super) fn insert(
        &self,
        digest: TokenDigest,
        generation: u64,
        verified: &Arc<Verified>,
        now: Anchor,
    ) {
        // Within the leeway a token is accepted but not cached.
        if verified.expiry.remaining(now).is_zero() {
            return;
        }
        let expiry_of = |entry: &&ArcSwapOption<Entry>| {
            let entry = entry.load();
            let valid = entry.as_deref().filter(|it| it.is_valid(generation, now));
            valid.map(|it| it.verified.expiry)
        };
        if let Some(entry) = self.set_of(digest).iter().min_by_key(expiry_of) {
            let verified = Arc::clone(verified);
            entry.store(Some(Arc::new(Entry { digest, generation, verified })));
        }
    }

    /// Invalidates all cached tokens.
    pub(super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn set_of(&self, TokenDigest(digest): TokenDigest) -> &[ArcSwapOption<Entry>] {
        let [first, second, ..] = digest;
        let first = usize::from(u16::from_le_bytes([first, second])) % (ENTRIES / WAYS) * WAYS;
        self.entries.get(first..first + WAYS).unwrap_or_default()
    }
}

impl Entry {
    fn is_valid(&self, generation: u64, now: Anchor) -> bool {
        self.generation == generation && !self.verified.expiry.remaining(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::{
        auth::{bearer::Expiry, name::CallerName},
        clock::Clock,
    };

    static START: LazyLock<Anchor> = LazyLock::new(|| Clock::system().now());

    /// The time this many seconds after the start.
    fn at(second: u64) -> Anchor {
        let start = *START;
        let since = std::time::Duration::from_secs(second);
        Anchor { boot: start.boot + since, wall: start.wall + since }
    }

    fn verified(expiry: u64) -> Arc<Verified> {
        let Anchor { boot, wall } = at(expiry);
        let expiry = Expiry { wall, boot };
        Arc::new(Verified { name: CallerName::Loopback, expiry, certificate: None })
    }

    impl TokenCache {
        fn find_now(&self, digest: TokenDigest, now: Anchor) -> Option<Arc<Verified>> {
            self.find(digest, self.generation(), now)
        }
    }

    #[test]
    fn token_is_cached_until_it_expires_or_a_key_changes() {
        let cache = TokenCache::default();
        let (one, other) = (TokenDigest::of("one"), TokenDigest::of("other"));
        cache.insert(one, cache.generation(), &verified(10), at(1));
        assert_eq!(cache.find_now(one, at(9)), Some(verified(10)));
        assert_eq!(cache.find_now(other, at(9)), None);
        assert_eq!(cache.find_now(one, at(10)), None);
        let before = cache.generation();
        cache.clear();
        assert_eq!(cache.find_now(one, at(9)), None);
        cache.insert(one, before, &verified(10), at(1));
        assert_eq!(cache.find_now(one, at(9)), None, "verified with the previous keys");
    }

    #[test]
    fn full_cache_replaces_the_tokens_that_expire_first() {
        let cache = TokenCache::default();
        let digests: Vec<_> = (0..20_000).map(|it| TokenDigest::of(&it.to_string())).collect();
        for digest in &digests {
            cache.insert(*digest, cache.generation(), &verified(10), at(1));
        }
        let kept = digests.iter().filter(|it| cache.find_now(**it, at(1)).is_some()).count();
        assert_eq!((kept, cache.entries.len()), (ENTRIES, ENTRIES));
        let (long, now) = (TokenDigest::of("long"), at(1));
        cache.insert(long, cache.generation(), &verified(1_000), now);
        for digest in &digests {
            cache.insert(*digest, cache.generation(), &verified(20), now);
        }
        assert!(cache.find_now(long, now).is_some());
    }
}
