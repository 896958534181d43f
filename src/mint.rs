//! The read side: selects a usable grant, computes a token's times, and mints, one token at a time
//! or in bulk.

pub mod bulk;
mod candidate;
mod draft;
pub mod minter;
pub mod options;
mod plan;
pub mod profile;
pub mod quota;
mod resolve;
mod sign;
pub mod terms;
mod validate;
mod wait;

use std::time::Duration;

use self::profile::Signing;
use crate::{
    grant::table::Table,
    token::{Signer, Speed},
};

/// The grants that tokens are minted with.
pub type Grants = Table<Box<dyn Signer>>;

/// Time kept free before a call's deadline for sending the response.
pub const RESPONSE_ALLOWANCE: Duration = Duration::from_millis(50);

/// Limits on one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Identities in one list.
    pub identities: usize,
    /// Indices in one bulk call.
    pub indices: i64,
    /// Indices in one bulk call where signatures are slow.
    pub slow_indices: i64,
    /// Tokens in one chunk.
    pub chunk_tokens: usize,
    /// Calls that wait for a grant at once.
    pub waiting_calls: usize,
}

impl Limits {
    /// The maximum indices in one bulk call with this way of signing.
    #[must_use]
    pub fn max_indices(&self, signing: Signing) -> i64 {
        match signing {
            Signing::Own(Speed::Slow) => self.indices.min(self.slow_indices),
            Signing::Own(Speed::Fast) | Signing::Shared(_) => self.indices,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            identities: 10_000,
            indices: 1_000_000,
            slow_indices: 100_000,
            chunk_tokens: 512,
            waiting_calls: 4_096,
        }
    }
}
