//! What others can cause as often as they like is recorded as sums: those of each second.

use std::{collections::HashMap, mem};

use crate::listen::remote::Remote;

/// Different sums of a second; everything beyond them is one.
const MOST: usize = 256;

/// The sums of this second.
#[derive(Debug, Default)]
pub(super) struct Sums {
    refusals: HashMap<Refusal, u64>,
    refusals_beyond: u64,
    failures: HashMap<(Remote, &'static str), u64>,
    failures_beyond: u64,
}

/// Refusals that are one sum.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusal {
    pub(super) entry: Option<String>,
    pub(super) method: Option<&'static str>,
    pub(super) reason: &'static str,
}

/// A sum that is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Of refusals, beside the first.
    Refusals(Refusal),
    /// Of clients from one network that were not authenticated for a cause.
    Failures(Remote, &'static str),
    /// Of all others that were refused.
    OtherRefusals,
    /// Of all others that were not authenticated.
    OtherFailures,
}

impl Sums {
    /// Counts a refusal; whether it is the first of its sum in this second.
    pub(super) fn refused(&mut self, refusal: Refusal) -> bool {
        if self.refusals.len() >= MOST && !self.refusals.contains_key(&refusal) {
            self.refusals_beyond += 1;
            return false;
        }
        let further = self.refusals.get_mut(&refusal).map(|further| *further += 1);
        if further.is_none() {
            self.refusals.insert(refusal, 0);
        }
        further.is_none()
    }

    /// Counts a client of a network that is not authenticated.
    pub(super) fn unauthenticated(&mut self, network: Remote, cause: &'static str) {
        let key = (network, cause);
        if self.failures.len() >= MOST && !self.failures.contains_key(&key) {
            self.failures_beyond += 1;
        } else {
            *self.failures.entry(key).or_default() += 1;
        }
    }

    /// The sums of the second that is over.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Sum, u64)> + use<> {
        let Self { refusals, refusals_beyond, failures, failures_beyond } = mem::take(self);
        let refusals = refusals.into_iter().map(|(refusal, count)| (Sum::Refusals(refusal), count));
        let failures =
            failures.into_iter().map(|((from, cause), count)| (Sum::Failures(from, cause), count));
        let beyond = [(Sum::OtherRefusals, refusals_beyond), (Sum::OtherFailures, failures_beyond)];
        refusals.chain(failures).chain(beyond).filter(|(_, count)| *count > 0)
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.failures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn refusal(entry: &str, reason: &'static str) -> Refusal {
        Refusal { entry: Some(entry.to_owned()), method: Some("MintToken"), reason }
    }

    #[test]
    fn refusals_beside_the_first_are_summed_by_entry_method_and_reason() {
        let mut sums = Sums::default();
        let firsts = ["a", "a", "b", "a"].map(|entry| sums.refused(refusal(entry, "X")));
        assert_eq!(firsts, [true, false, true, false]);
        let taken: Vec<_> = sums.take().collect();
        assert_eq!(taken, [(Sum::Refusals(refusal("a", "X")), 2)]);
        assert!(sums.is_empty() && sums.refused(refusal("a", "X")), "a new second");
    }

    #[test]
    fn of_a_second_at_most_256_sums_are_kept_and_one_of_the_rest() {
        let mut sums = Sums::default();
        for number in 0..1_000_u32 {
            sums.unauthenticated(Remote::Ip(IpAddr::V4(number.into())), "expired");
            sums.unauthenticated(Remote::Ip(IpAddr::V4(0.into())), "expired");
            sums.refused(refusal(&number.to_string(), "X"));
        }
        let taken: HashMap<_, _> =
            sums.take().map(|(sum, count)| (format!("{sum:?}"), count)).collect();
        assert_eq!(taken.len(), MOST + 2);
        assert_eq!(taken.values().sum::<u64>(), 2_000 + 1_000 - MOST as u64);
        assert_eq!((taken["OtherFailures"], taken["OtherRefusals"]), (744, 744));
    }
}
