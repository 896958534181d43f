//! What a caller may have, as far as minting has to ask for it, and what it got.

use std::{fmt, ops::Deref, time::Duration};

use super::terms::Terms;
pub use crate::audit::Recipients;
use crate::token::id::Fingerprint;

/// What a caller may have: units to sign with, and places to wait in.
pub trait Quota: fmt::Debug + Send + Sync {
    /// Takes what tokens need: room for their record first, then their units.
    ///
    /// # Errors
    ///
    /// There is not enough, and nothing is taken.
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, Short>;

    /// Gives so many units back that were taken for what is not signed.
    fn give_back(&self, units: u64);

    /// A place to wait for a grant in, where one is free.
    fn wait_for_grant(&self) -> Option<Place>;

    /// A place to wait for units in, where one is free.
    fn wait_for_units(&self) -> Option<Place>;
}

/// What a call wants to sign.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The fewest tokens that are of use, unless the quota can never hold so many.
    pub least: u64,
    /// The most tokens.
    pub most: u64,
    /// The signing units of each.
    pub each: u32,
    /// Who gets them, where `most` are taken.
    pub recipients: Recipients<'a>,
}

/// What a call may sign.
#[derive(Debug)]
pub struct Taken {
    /// So many tokens.
    pub tokens: u64,
    /// The signing units that they were charged: none where there is no limit, fewer than they
    /// cost where the limit is not enforced.
    pub units: u64,
    /// What records them; none where nothing is recorded.
    pub record: Option<Box<dyn Record>>,
}

/// Why a call may not sign now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Of units; there are enough after this long.
    Units(Duration),
    /// What is minted must be recorded, and cannot be.
    Record,
}

/// Records what is minted, in room that was reserved for it; dropped, it gives the room back.
pub trait Record: fmt::Debug + Send + Sync {
    /// The tokens are signed, and are handed out next.
    fn record(self: Box<Self>, issued: &Issued<'_>);
}

/// Tokens that are signed and not yet handed out.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    /// Who gets them.
    pub recipients: Recipients<'a>,
    /// Their ids.
    pub ids: Ids<'a>,
    /// How long they are good for.
    pub terms: &'a Terms,
    /// What they were made with.
    pub origin: Origin<'a>,
}

/// The ids of tokens.
#[derive(Clone, Copy, Debug)]
pub enum Ids<'a> {
    /// That of the only one, or of one that all recipients get.
    One(&'a str),
    /// The first and the last of tokens whose serials follow each other.
    Range(&'a str, &'a str),
    /// Of tokens without ids, one by one.
    Each(&'a [Fingerprint]),
}

/// What tokens were made with.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// The grant of this name.
    Grant(&'a str),
    /// The key of a profile.
    Key {
        /// The profile.
        profile: &'a str,
        /// The resource; empty where the tokens are good for all.
        resource: &'a str,
    },
}

/// What was taken for tokens: given back with it, unless they were signed.
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

    /// Whether they are recorded.
    pub(super) const fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// They are signed, and are recorded here before they are handed out.
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

/// A place to wait in; free again with its end.
pub type Place = Box<dyn Send>;

/// No limit, and no record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Quota for Unlimited {
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, Short> {
        Ok(Taken { tokens: wanted.most, units: 0, record: None })
    }

    fn give_back(&self, _: u64) {}

    fn wait_for_grant(&self) -> Option<Place> {
        Some(Box::new(()))
    }

    fn wait_for_units(&self) -> Option<Place> {
        Some(Box::new(()))
    }
}
