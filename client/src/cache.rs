//! Tokens that are returned again while they are usable.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
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
        let tokens = self.lock();
        let cached = tokens.get(key).filter(|it| Instant::now() < it.stale_at)?;
        (cached.token.usable_for() >= least).then(|| cached.token.clone())
    }

    /// Keeps a token; where there is no room, stale ones make room, else the one that is stale
    /// first.
    pub(crate) fn put(&self, key: Vec<u8>, token: &Token) {
        if self.capacity == 0 {
            return;
        }
        let usable = token.usable_for();
        let stale_at = Instant::now() + usable / LEAST_SHARE * (LEAST_SHARE - 1);
        let mut tokens = self.lock();
        if tokens.len() >= self.capacity && !tokens.contains_key(&key) {
            make_room(&mut tokens);
        }
        tokens.insert(key, Cached { token: token.clone(), stale_at });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Cached>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(tokens: &mut HashMap<Vec<u8>, Cached>) {
    let (now, before) = (Instant::now(), tokens.len());
    tokens.retain(|_, it| now < it.stale_at);
    if tokens.len() == before {
        let first = tokens.iter().min_by_key(|(_, it)| it.stale_at).map(|(key, _)| key.clone());
        first.and_then(|key| tokens.remove(&key));
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
