//! What minting requests from a caller's quota and receives from it.

use std::{fmt, ops::Deref, time::Duration};

use super::terms::Terms;
pub use crate::audit::Recipients;
use crate::token::id::Fingerprint;

/// A caller's quota: signing units, and permits to wait.
pub trait Quota: fmt::Debug + Send + Sync {
    /// Takes what tokens need: room for their record first, then their units.
    ///
    /// # Errors
    ///
    /// There is not enough. Nothing is taken.
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, QuotaError>;

    /// Returns units taken for tokens that are not signed.
    fn give_back(&self, units: u64);

    /// A permit to wait for a grant, if one is free.
    fn wait_for_grant(&self) -> Option<WaitPermit>;

    /// A permit to wait for units, if one is free.
    fn wait_for_units(&self) -> Option<WaitPermit>;
}

/// What a call wants to sign.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The smallest useful number of tokens, unless the quota can never hold that many.
    pub min: u64,
    /// The maximum number of tokens.
    pub max: u64,
    /// The signing units of each token.
    pub units_each: u32,
    /// The recipients if `max` tokens are taken.
    pub recipients: Recipients<'a>,
}

/// What a call may sign.
#[derive(Debug)]
pub struct Taken {
    /// The number of tokens.
    pub tokens: u64,
    /// The signing units charged: none without a limit, fewer than the cost where the limit is not
    /// enforced.
    pub units: u64,
    /// Records the tokens; none where nothing is recorded.
    pub record: Option<Box<dyn Record>>,
}

/// Why a call may not sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// Too few units; there are enough after this long.
    Units(Duration),
    /// The tokens must be recorded and cannot be.
    Record,
}

/// Records tokens in space reserved for them. Dropping it releases the space.
pub trait Record: fmt::Debug + Send + Sync {
    /// Records the tokens, which are signed and are returned next.
    fn record(self: Box<Self>, issued: &Issued<'_>);
}

/// Tokens that are signed and not yet returned.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    /// Who receives them.
    pub recipients: Recipients<'a>,
    /// Their ids.
    pub ids: Ids<'a>,
    /// Their validity.
    pub terms: &'a Terms,
    /// What they were made with.
    pub origin: Origin<'a>,
}

/// The ids of tokens.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// The id of the only token, or of one that all recipients share.
    One(&'a str),
    /// The ids of the first and the last of tokens with consecutive serials.
    Range(&'a str, &'a str),
    /// The fingerprints of tokens without ids.
    Each(&'a [Fingerprint]),
}

/// What tokens were made with.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// The grant of this name.
    Grant(&'a str),
    /// A profile's key.
    Key {
        /// The profile.
        profile: &'a str,
        /// The resource; empty where the tokens are valid for all.
        resource: &'a str,
    },
}

/// What was taken for tokens. Returned on drop unless the tokens were signed.
#[derive(Debug)]
pub(super) struct Charge<Q: Deref<Target: Quota>> {
    quota: Q,
    units: u64,
    record: Option<Box<dyn Record>>,
}

impl<Q: Deref<Target: Quota>> Charge<Q> {
    pub(super) fn new(quota: Q, taken: Taken) -> Self {
        let Taken { units, record, .. } = taken;
        Self { quota, units, record }
    }

    /// Whether the tokens are recorded.
    pub(super) const fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// Keeps the charge and records the tokens, which are signed and not yet returned.
    pub(super) fn spend<'a>(mut self, issued: impl FnOnce() -> Issued<'a>) {
        self.units = 0;
        if let Some(record) = self.record.take() {
            record.record(&issued());
        }
    }
}

impl<Q: Deref<Target: Quota>> Drop for Charge<Q> {
    fn drop(&mut self) {
        if self.units > 0 {
            self.quota.give_back(self.units);
        }
    }
}

/// A permit to wait, released on drop.
pub type WaitPermit = Box<dyn Send>;

/// No limit and no record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Quota for Unlimited {
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, QuotaError> {
        Ok(Taken { tokens: wanted.max, units: 0, record: None })
    }

    fn give_back(&self, _: u64) {}

    fn wait_for_grant(&self) -> Option<WaitPermit> {
        Some(Box::new(()))
    }

    fn wait_for_units(&self) -> Option<WaitPermit> {
        Some(Box::new(()))
    }
}
