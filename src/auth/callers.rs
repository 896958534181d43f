//! The current `[callers]` entries and the usage of each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    cause::Cause,
    name::CallerName,
    policy::{Entries, Entry, EntryName, Mode, NO_ENTRY, Policy},
    refusal::{Denied, ENTRY_REASONS, NO_ENTRY_REASONS},
    usage::{Permit, Quota, Usage, Use},
};
use crate::telemetry::{CallerMetrics, Metrics};

/// The current policy for callers.
#[derive(Debug)]
pub struct Callers {
    policy: State,
    mode: Mode,
    changes: watch::Sender<()>,
    nobody: CallerMetrics,
    /// The log limit for callers without an entry.
    logged: Usage,
    metrics: Metrics,
}

#[derive(Debug)]
enum State {
    Open,
    Entries(ArcSwap<InForce>),
}

#[derive(Debug)]
struct InForce {
    entries: Entries,
    /// In the order of `entries`.
    callers: Vec<Arc<Caller>>,
}

/// An entry in force, with its usage and metrics.
#[derive(Debug)]
pub struct Caller {
    /// The entry's rows and limits.
    pub entry: Entry,
    /// The entry's metrics.
    pub metrics: CallerMetrics,
    usage: Arc<Usage>,
}

/// The result of matching a peer against the current policy.
#[derive(Clone, Debug)]
pub enum CallerMatch {
    /// The policy is open: any client may do everything.
    Anybody,
    /// The entry, and the index of the name that matched.
    Caller(Arc<Caller>, usize),
    /// The peer may not call.
    Nobody(Denied),
}

impl Callers {
    /// Creates the initial policy.
    #[must_use]
    pub fn new(policy: Policy, mode: Mode, metrics: &Metrics) -> Self {
        let policy = match policy {
            Policy::Open => State::Open,
            Policy::Entries(entries) => {
                let in_force = InForce::new(entries, mode, &HashMap::new(), metrics);
                State::Entries(ArcSwap::from_pointee(in_force))
            }
        };
        Self {
            policy,
            mode,
            changes: watch::Sender::new(()),
            nobody: metrics.caller(NO_ENTRY, &NO_ENTRY_REASONS, mode.outcomes()),
            logged: Usage::default(),
            metrics: metrics.clone(),
        }
    }

    /// Whether a would-be refusal of a caller without an entry may be logged now.
    #[must_use]
    pub fn is_time_to_log(&self) -> bool {
        self.logged.is_time_to_log()
    }

    /// Whether any client may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.policy, State::Open)
    }

    /// What happens to calls that are not allowed.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The metrics of callers without an entry.
    #[must_use]
    pub const fn nobody(&self) -> &CallerMetrics {
        &self.nobody
    }

    /// Counts a refused call of an unknown caller.
    pub fn count_nobody(&self, denied: &Denied) {
        self.nobody.refused(denied.reason(), Mode::Enforce.as_str());
    }

    /// Replaces the entries. Usage is kept for entries that keep their names. A server that started
    /// without entries stays open: closing it takes a restart.
    pub fn replace(&self, entries: Entries) {
        let State::Entries(in_force) = &self.policy else { return };
        let before = in_force.load();
        let before = before.callers.iter().map(|it| (&it.entry.name, it)).collect();
        in_force.store(Arc::new(InForce::new(entries, self.mode, &before, &self.metrics)));
        self.changes.send_replace(());
    }

    /// Matches a peer's names against the entries.
    pub fn find<'n>(&self, names: impl IntoIterator<Item = &'n CallerName>) -> CallerMatch {
        let State::Entries(in_force) = &self.policy else { return CallerMatch::Anybody };
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return CallerMatch::Nobody(Denied::Unauthenticated(Cause::NoCredential));
        }
        let in_force = in_force.load();
        match in_force.entries.find(names) {
            Ok(found) => match in_force.callers.get(found.entry) {
                Some(caller) => CallerMatch::Caller(Arc::clone(caller), found.name),
                None => CallerMatch::Nobody(Denied::Unknown),
            },
            Err(denied) => CallerMatch::Nobody(denied),
        }
    }

    /// A receiver that is notified when the entries change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

impl InForce {
    fn new(
        entries: Entries,
        mode: Mode,
        before: &HashMap<&EntryName, &Arc<Caller>>,
        metrics: &Metrics,
    ) -> Self {
        let caller = |entry: &Entry| {
            let usage = before.get(&entry.name).map(|before| {
                before.usage.change(&before.entry.limits, &entry.limits);
                Arc::clone(&before.usage)
            });
            Arc::new(Caller {
                entry: entry.clone(),
                metrics: metrics.caller(entry.name.as_str(), &ENTRY_REASONS, mode.outcomes()),
                usage: usage.unwrap_or_default(),
            })
        };
        let callers = entries.all().iter().map(caller).collect();
        Self { entries, callers }
    }
}

impl Caller {
    /// Takes a permit, if one is free.
    #[must_use]
    pub fn permit(&self, taken: Use) -> Option<Permit> {
        Permit::take(&self.usage, &self.entry.limits, taken)
    }

    /// Takes up to `most` tokens of `each` units from a quota, but not fewer than `least`, or the
    /// quota's burst if that is smaller. Returns `None` if there is no limit.
    ///
    /// # Errors
    ///
    /// Fewer are available; returns how long until there are enough.
    pub fn take(
        &self,
        quota: Quota,
        least: u64,
        most: u64,
        each: u32,
    ) -> Result<Option<u64>, Duration> {
        let Some(rate) = quota.rate(&self.entry.limits) else { return Ok(None) };
        // At least one token: the configuration refuses a burst that is smaller than one.
        let holds = u64::from(rate.burst / each.max(1)).max(1);
        let level = self.usage.level(quota);
        level.take(rate, self.usage.now(), least.min(holds), most, each).map(Some)
    }

    /// Returns unused units to a quota.
    pub fn give_back(&self, quota: Quota, units: u64) {
        if let Some(rate) = quota.rate(&self.entry.limits) {
            self.usage.level(quota).give_back(rate, units);
        }
    }

    /// Whether a would-be refusal may be logged now.
    #[must_use]
    pub fn is_time_to_log(&self) -> bool {
        self.usage.is_time_to_log()
    }
}

#[cfg(test)]
mod tests;
