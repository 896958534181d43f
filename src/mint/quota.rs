//! What a caller may have, as far as minting has to ask for it.

use std::{fmt, ops::Deref, time::Duration};

/// What a caller may have: units to sign with, and places to wait in.
pub trait Quota: fmt::Debug + Send + Sync {
    /// Takes `most` tokens of so many signing units `each`, or as many as there are, but at
    /// least `least` or all that can ever be held.
    ///
    /// # Errors
    ///
    /// There are not so many, and nothing is taken: how long until there are.
    fn take(&self, least: u64, most: u64, each: u32) -> Result<Taken, Duration>;

    /// Gives so many units back that were taken for what is not signed.
    fn give_back(&self, units: u64);

    /// A place to wait for a grant in, where one is free.
    fn wait_for_grant(&self) -> Option<Place>;

    /// A place to wait for units in, where one is free.
    fn wait_for_units(&self) -> Option<Place>;
}

/// What a call may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many tokens.
    pub tokens: u64,
    /// The signing units that they were charged: none where there is no limit, fewer than they
    /// cost where the limit is not enforced.
    pub units: u64,
}

/// What was taken for tokens: given back with it, unless they were signed.
#[derive(Debug)]
pub(super) struct Charge<Q: Deref<Target: Quota>> {
    quota: Q,
    units: u64,
}

impl<Q: Deref<Target: Quota>> Charge<Q> {
    pub(super) const fn new(quota: Q, taken: Taken) -> Self {
        Self { quota, units: taken.units }
    }

    /// They are signed.
    pub(super) fn spend(mut self) {
        self.units = 0;
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

/// No limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Quota for Unlimited {
    fn take(&self, _: u64, most: u64, _: u32) -> Result<Taken, Duration> {
        Ok(Taken { tokens: most, units: 0 })
    }

    fn give_back(&self, _: u64) {}

    fn wait_for_grant(&self) -> Option<Place> {
        Some(Box::new(()))
    }

    fn wait_for_units(&self) -> Option<Place> {
        Some(Box::new(()))
    }
}
