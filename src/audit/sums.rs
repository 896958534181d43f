//! Per-second sums of events that clients can cause at any rate.

use std::{collections::HashMap, mem};

use crate::listen::remote::Remote;

/// The maximum number of different sums per second. All further events are counted in one more.
const MAX_SUMS: usize = 256;

/// The sums of the current second.
#[derive(Debug, Default)]
pub(super) struct Sums {
    refusals: HashMap<Refusal, u64>,
    other_refusals: u64,
    failures: HashMap<(Remote, &'static str), u64>,
    other_failures: u64,
}

/// The key by which refusals are summed.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusal {
    pub(super) entry: Option<String>,
    pub(super) method: Option<&'static str>,
    pub(super) reason: &'static str,
}

/// A completed sum.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Refusals after the first.
    Refusals(Refusal),
    /// Unauthenticated clients, by network and cause.
    Failures(Remote, &'static str),
    /// Refusals beyond the maximum number of sums.
    OtherRefusals,
    /// Unauthenticated clients beyond the maximum number of sums.
    OtherFailures,
}

impl Sums {
    /// Counts a refusal and returns whether it is the first of its sum in this second.
    pub(super) fn refused(&mut self, refusal: Refusal) -> bool {
        if self.refusals.len() >= MAX_SUMS && !self.refusals.contains_key(&refusal) {
            self.other_refusals += 1;
            return false;
        }
        let further = self.refusals.get_mut(&refusal).map(|further| *further += 1);
        if further.is_none() {
            self.refusals.insert(refusal, 0);
        }
        further.is_none()
    }

    /// Counts an unauthenticated client.
    pub(super) fn unauthenticated(&mut self, network: Remote, cause: &'static str) {
        let key = (network, cause);
        if self.failures.len() >= MAX_SUMS && !self.failures.contains_key(&key) {
            self.other_failures += 1;
        } else {
            *self.failures.entry(key).or_default() += 1;
        }
    }

    /// Takes the sums of the completed second.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Sum, u64)> + use<> {
        let Self { refusals, other_refusals, failures, other_failures } = mem::take(self);
        let refusals = refusals.into_iter().map(|(refusal, count)| (Sum::Refusals(refusal), count));
        let failures =
            failures.into_iter().map(|((from, cause), count)| (Sum::Failures(from, cause), count));
        let others = [(Sum::OtherRefusals, other_refusals), (Sum::OtherFailures, other_failures)];
        refusals.chain(failures).chain(others).filter(|(_, count)| *count > 0)
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
    fn refusals_are_summed_by_entry_method_and_reason() {
        let mut sums = Sums::default();
        let firsts = ["a", "a", "b", "a"].map(|entry| sums.refused(refusal(entry, "X")));
        assert_eq!(firsts, [true, false, true, false]);
        let taken: Vec<_> = sums.take().collect();
        assert_eq!(taken, [(Sum::Refusals(refusal("a", "X")), 2)]);
        assert!(sums.is_empty() && sums.refused(refusal("a", "X")), "next second");
    }

    #[test]
    fn each_second_keeps_up_to_256_sums_and_one_of_the_rest() {
        let mut sums = Sums::default();
        for number in 0..1_000_u32 {
            sums.unauthenticated(Remote::Ip(IpAddr::V4(number.into())), "expired");
            sums.unauthenticated(Remote::Ip(IpAddr::V4(0.into())), "expired");
            sums.refused(refusal(&number.to_string(), "X"));
        }
        let taken: HashMap<_, _> =
            sums.take().map(|(sum, count)| (format!("{sum:?}"), count)).collect();
        assert_eq!(taken.len(), MAX_SUMS + 2);
        assert_eq!(taken.values().sum::<u64>(), 2_000 + 1_000 - MAX_SUMS as u64);
        assert_eq!((taken["OtherFailures"], taken["OtherRefusals"]), (744, 744));
    }
}
