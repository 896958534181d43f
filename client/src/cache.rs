//! Tokens that are returned again while they are usable.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use prost::Message;
use tokio::time::Instant;

use crate::{Token, proto::MintTokenRequest};

/// A token is replaced when less than this share of its usable time is left, as a divisor.
const LEAST_SHARE: u32 = 4;

/// Tokens by the request that minted them.
pub(crate) struct Cache {
    capacity: usize,
    tokens: Mutex<HashMap<Vec<u8>, Cached>>,
}

struct Cached {
    token: Token,
    /// From then on it is replaced.
    stale_at: Instant,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, tokens: Mutex::default() }
    }

    /// The request as it is sent. The fields of its parameters are sorted by name.
    pub(crate) fn key(request: &MintTokenRequest) -> Vec<u8> {
        request.encode_to_vec()
    }

    /// The token of this request that is usable for at least that long.
    pub(crate) fn get(&self, key: &[u8], least: Duration) -> Option<Token> {
        let mut tokens = self.lock();
        let cached = tokens.get(key)?;
        if !cached.is_fresh() {
            tokens.remove(key);
            return None;
        }
        (cached.token.usable_for() >= least).then(|| cached.token.clone())
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        self.lock().remove(key);
    }

    /// Keeps a token; a full cache drops others.
    pub(crate) fn put(&self, key: Vec<u8>, token: &Token) {
        if self.capacity == 0 {
            return;
        }
        let usable = token.usable_for();
        let fresh_for = usable / LEAST_SHARE * (LEAST_SHARE - 1);
        let Some(stale_at) = Instant::now().checked_add(fresh_for) else { return };
        let mut tokens = self.lock();
        if tokens.len() >= self.capacity && !tokens.contains_key(&key) {
            make_room(&mut tokens, self.capacity);
        }
        tokens.insert(key, Cached { token: token.clone(), stale_at });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Cached>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    /// The monotonic clock stops while the machine is suspended, so the wall clock counts too.
    #[expect(clippy::disallowed_methods, reason = "the crate has no other use of wall time")]
    fn is_fresh(&self) -> bool {
        let is_expired = self.token.validity().expiry().is_some_and(|it| it <= SystemTime::now());
        Instant::now() < self.stale_at && !is_expired
    }
}

/// Drops stale tokens, and an eighth of the others if there are too many: those that are stale
/// first.
fn make_room(tokens: &mut HashMap<Vec<u8>, Cached>, capacity: usize) {
    tokens.retain(|_, it| it.is_fresh());
    if tokens.len() >= capacity {
        let mut ends: Vec<_> = tokens.values().map(|it| it.stale_at).collect();
        let (_, last, _) = ends.select_nth_unstable(capacity / 8);
        let last = *last;
        tokens.retain(|_, it| it.stale_at > last);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::proto::{MintTokenResponse, Validity};

    fn token(id: &str, seconds: i64) -> Token {
        let within = prost_types::Duration { seconds, nanos: 0 };
        Token::received(MintTokenResponse {
            token: "secret".to_owned(),
            token_id: id.to_owned(),
            validity: Some(Validity { use_within: Some(within), ..Validity::default() }),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn token_is_returned_until_a_quarter_of_its_time_is_left() {
        let cache = Cache::new(10);
        cache.put(vec![1], &token("a", 40));
        assert!(cache.get(&[1], Duration::from_secs(40)).is_some());
        assert!(cache.get(&[1], Duration::from_secs(41)).is_none());
        advance(Duration::from_secs(29)).await;
        assert!(cache.get(&[1], Duration::ZERO).is_some());
        advance(Duration::from_secs(1)).await;
        assert!(cache.get(&[1], Duration::ZERO).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn full_cache_drops_the_token_that_is_stale_first() {
        let cache = Cache::new(2);
        cache.put(vec![1], &token("a", 40));
        cache.put(vec![2], &token("b", 20));
        cache.put(vec![3], &token("c", 30));
        let has = |key: u8| cache.get(&[key], Duration::ZERO).is_some();
        assert_eq!([has(1), has(2), has(3)], [true, false, true]);
    }
}
