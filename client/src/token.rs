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

impl Validity {
    /// Counts from now by our own clock: the server's may differ.
    pub(crate) fn received(validity: proto::Validity) -> Self {
        let within = validity.use_within.and_then(|it| Duration::try_from(it).ok());
        Self {
            use_by: Instant::now() + within.unwrap_or_default(),
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
