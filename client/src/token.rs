//! A minted token.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::proto;

/// A minted token: a bearer secret. Its `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    id: String,
    validity: Validity,
}

/// How long tokens are good for, and which grant they were made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    use_by: Instant,
    use_by_time: Option<SystemTime>,
    expiry: Option<SystemTime>,
    grant: String,
    generation: i64,
}

impl Token {
    pub(crate) fn received(response: proto::MintTokenResponse) -> Self {
        let validity = Validity::received(response.validity.unwrap_or_default());
        Self { secret: response.token, id: response.token_id, validity }
    }

    /// The credential to give to the client.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The token, which is no longer protected from being printed.
    #[must_use]
    pub fn into_secret(self) -> String {
        self.secret
    }

    /// Its unique id, which is safe to log.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long it is good for.
    #[must_use]
    pub fn validity(&self) -> &Validity {
        &self.validity
    }

    /// For how long it still makes sense to give it to a client.
    #[must_use]
    pub fn usable_for(&self) -> Duration {
        self.validity.usable_for()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// An instant this much later; one that cannot be represented is cut to the earlier one.
fn after(instant: Instant, time: Duration) -> Instant {
    instant.checked_add(time).unwrap_or(instant)
}

/// When the responses of a stream were sent, by our clock. Chunks may wait unread, so `use_within`
/// does not count from the moment at which one is read.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    /// The instant and the server's time of the response that waited least.
    fastest: Option<(Instant, Duration)>,
}

impl Arrival {
    /// The validity of a response that is read now.
    pub(crate) fn validity(&mut self, message: proto::Validity) -> Validity {
        let within = message.use_within.and_then(|it| Duration::try_from(it).ok());
        let mut validity = Validity::received(message);
        let end = validity.use_by_time;
        let end = end.and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let (Some(within), Some(end)) = (within, end) {
            let (now, sent) = (Instant::now(), end.saturating_sub(within));
            let (instant, server) = match self.fastest {
                Some((instant, server))
                    if after(instant, sent.saturating_sub(server)) <= now && sent >= server =>
                {
                    (instant, server)
                }
                _ => *self.fastest.insert((now, sent)),
            };
            validity.use_by = after(instant, end.saturating_sub(server)).min(validity.use_by);
        }
        validity
    }
}

impl Validity {
    /// Counts from now by our own clock: the server's may differ.
    pub(crate) fn received(validity: proto::Validity) -> Self {
        let within = validity.use_within.and_then(|it| Duration::try_from(it).ok());
        Self {
            use_by: after(Instant::now(), within.unwrap_or_default()),
            use_by_time: validity.use_by_time.and_then(|it| SystemTime::try_from(it).ok()),
            expiry: validity.expire_time.and_then(|it| SystemTime::try_from(it).ok()),
            grant: validity.grant,
            generation: validity.generation,
        }
    }

    /// The last moment at which giving the token to a client makes sense.
    #[must_use]
    pub fn use_by(&self) -> Instant {
        self.use_by
    }

    /// The time until [`use_by`](Self::use_by); zero after it.
    #[must_use]
    pub fn usable_for(&self) -> Duration {
        self.use_by.saturating_duration_since(Instant::now())
    }

    /// The last moment at which giving the token to a client makes sense, by the server's clock:
    /// for passing it on.
    #[must_use]
    pub fn use_by_time(&self) -> Option<SystemTime> {
        self.use_by_time
    }

    /// When the token expires by the server's clock.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.expiry
    }

    /// The name of the grant, `profiles/{profile}/grants/{resource}`; empty where the profile
    /// signs with a key alone.
    #[must_use]
    pub fn grant(&self) -> &str {
        &self.grant
    }

    /// The grant's generation, for [`Options::after_generation`](crate::Options::after_generation);
    /// 0 without a grant.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn chunk_that_waited_unread_is_usable_for_less() {
        let message = |use_by: i64| proto::Validity {
            use_by_time: Some(prost_types::Timestamp { seconds: use_by, nanos: 0 }),
            use_within: Some(prost_types::Duration { seconds: 50, nanos: 0 }),
            ..proto::Validity::default()
        };
        let mut arrival = Arrival::default();
        let first = arrival.validity(message(1_000));
        assert_eq!(first.usable_for(), Duration::from_secs(50));
        // The second was sent one second later and is read after 30 s.
        advance(Duration::from_secs(30)).await;
        let second = arrival.validity(message(1_001));
        assert_eq!(second.usable_for(), Duration::from_secs(21));
        // One that was sent when it is read has all of its time.
        let third = arrival.validity(message(1_030));
        assert_eq!(third.usable_for(), Duration::from_secs(50));
    }
}
