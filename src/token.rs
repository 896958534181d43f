//! Tokens: what a provider's token format gives us once a grant, and we sign with many times.

mod hmac;
pub mod id;
pub mod template;

use std::{fmt, sync::Arc};

use self::id::Serial;
use crate::{
    clock::{Anchor, Clock},
    grant::{Grant, cell::Prepare},
};

/// When a token was issued and when it ends, in whole Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Issued (`iat`).
    pub issue: i64,
    /// Ends (`exp`).
    pub expire: i64,
}

/// Why a token format could not make a grant ready to sign with. It never holds either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The key does not sign.
    #[error("the signing key cannot be used")]
    KeyUnusable,
    /// The prepared template does not mint what was meant.
    #[error("a token minted from the new grant does not verify: {0}")]
    Unverified(&'static str),
}

/// A provider's token format: makes a grant ready to sign with.
pub trait TokenFormat: fmt::Debug + Send + Sync {
    /// Prepares `grant`, mints one token from it and verifies that.
    fn prepare(&self, grant: &Grant, now: Anchor) -> Result<Box<dyn Signer>, PrepareError>;
}

/// Makes grants ready with one token format.
#[derive(Debug)]
pub struct Preparer {
    format: Arc<dyn TokenFormat>,
    clock: Clock,
}

impl Preparer {
    /// Of this format, by this clock.
    #[must_use]
    pub fn new(format: Arc<dyn TokenFormat>, clock: Clock) -> Self {
        Self { format, clock }
    }
}

impl Prepare for Preparer {
    type Ready = Box<dyn Signer>;
    type Error = PrepareError;

    fn prepare(&self, grant: &Grant) -> Result<Self::Ready, PrepareError> {
        self.format.prepare(grant, self.clock.now())
    }
}

/// Signs tokens around one grant.
pub trait Signer: fmt::Debug + Send + Sync {
    /// What signs tokens of these times; cheap for times of the same second that were asked for
    /// before.
    fn at(&self, times: Times) -> Arc<dyn Stamped>;
}

/// Signs tokens around one grant, all of the same times.
pub trait Stamped: fmt::Debug + Send + Sync {
    /// A token for this identity, as text.
    fn sign(&self, identity: &str, serial: Serial) -> String;

    /// The unique id of the token with this serial.
    fn token_id(&self, serial: Serial) -> String;
}
