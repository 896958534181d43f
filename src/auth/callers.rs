//! The entries in force, each with what its callers use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    bearer::Cause,
    name::CallerName,
    policy::{Entries, Entry, EntryName, Mode, NO_ENTRY, Policy},
    refusal::{Denied, OF_AN_ENTRY, OF_NOBODY},
    usage::{Place, Quota, Usage, Use},
};
use crate::telemetry::{CallerMetrics, Metrics};

/// Who may call, as it is in force now.
#[derive(Debug)]
pub struct Callers {
    policy: Held,
    mode: Mode,
    changes: watch::Sender<()>,
    nobody: CallerMetrics,
    /// What is logged of callers that are in no entry.
    logged: Usage,
    metrics: Metrics,
}

#[derive(Debug)]
enum Held {
    Open,
    Entries(ArcSwap<InForce>),
}

#[derive(Debug)]
struct InForce {
    entries: Entries,
    /// In the order of the entries.
    callers: Vec<Arc<Caller>>,
}

/// The callers of one entry, as they are in force.
#[derive(Debug)]
pub struct Caller {
    /// What they may.
    pub entry: Entry,
    /// What is counted of them.
    pub metrics: CallerMetrics,
    usage: Arc<Usage>,
}

/// Who a peer is, by the policy of this moment.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Anybody: everybody may do everything.
    Anybody,
    /// One of these callers, by the name in this place among its names.
    Caller(Arc<Caller>, usize),
    /// Nobody who may call.
    Nobody(Denied),
}

impl Callers {
    /// The policy that the server starts with.
    #[must_use]
    pub fn new(policy: Policy, mode: Mode, metrics: &Metrics) -> Self {
        let policy = match policy {
            Policy::Open => Held::Open,
            Policy::Entries(entries) => {
                let in_force = InForce::new(entries, mode, &HashMap::new(), metrics);
                Held::Entries(ArcSwap::from_pointee(in_force))
            }
        };
        Self {
            policy,
            mode,
            changes: watch::Sender::new(()),
            nobody: metrics.caller(NO_ENTRY, &OF_NOBODY, mode.outcomes()),
            logged: Usage::default(),
            metrics: metrics.clone(),
        }
    }

    /// Whether it is time to log that a caller in no entry would be refused.
    #[must_use]
    pub fn is_time_to_log(&self) -> bool {
        self.logged.is_time_to_log()
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.policy, Held::Open)
    }

    /// The result of calls that are not allowed.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What is counted of callers that are in no entry.
    #[must_use]
    pub const fn nobody(&self) -> &CallerMetrics {
        &self.nobody
    }

    /// A call whose caller is not known is refused.
    pub fn count_nobody(&self, denied: &Denied) {
        self.nobody.refused(denied.reason(), Mode::Enforce.as_str());
    }

    /// Puts other entries in force. What callers have used stays used where their entry keeps
    /// its name. A server that began without entries stays open: to close it takes a restart.
    pub fn replace(&self, entries: Entries) {
        let Held::Entries(in_force) = &self.policy else { return };
        let before = in_force.load();
        let before = before.callers.iter().map(|it| (&it.entry.name, it)).collect();
        in_force.store(Arc::new(InForce::new(entries, self.mode, &before, &self.metrics)));
        self.changes.send_replace(());
    }

    /// Who a peer of these names is.
    pub fn standing<'n>(&self, names: impl IntoIterator<Item = &'n CallerName>) -> Standing {
        let Held::Entries(in_force) = &self.policy else { return Standing::Anybody };
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Standing::Nobody(Denied::Unauthenticated(Cause::NoCredential));
        }
        let in_force = in_force.load();
        match in_force.entries.find(names) {
            Ok(found) => match in_force.callers.get(found.entry) {
                Some(caller) => Standing::Caller(Arc::clone(caller), found.name),
                None => Standing::Nobody(Denied::Unknown),
            },
            Err(denied) => Standing::Nobody(denied),
        }
    }

    /// Changes of the entries from now on.
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
                metrics: metrics.caller(entry.name.as_str(), &OF_AN_ENTRY, mode.outcomes()),
                usage: usage.unwrap_or_default(),
            })
        };
        let callers = entries.all().iter().map(caller).collect();
        Self { entries, callers }
    }
}

impl Caller {
    /// A place, where one is free.
    #[must_use]
    pub fn place(&self, taken: Use) -> Option<Place> {
        Place::take(&self.usage, &self.entry.limits, taken)
    }

    /// Takes `most` tokens of so many units `each` from a quota, or as many as there are, but
    /// `least` or what the quota can hold; none where there is no limit to take them from.
    ///
    /// # Errors
    ///
    /// There are not so many: how long until there are.
    pub fn take(
        &self,
        quota: Quota,
        least: u64,
        most: u64,
        each: u32,
    ) -> Result<Option<u64>, Duration> {
        let Some(rate) = quota.rate(&self.entry.limits) else { return Ok(None) };
        // One token at least: the configuration refuses a burst that does not hold one.
        let holds = u64::from(rate.burst / each.max(1)).max(1);
        let level = self.usage.level(quota);
        level.take(rate, self.usage.now(), least.min(holds), most, each).map(Some)
    }

    /// Gives so many units back that were not used.
    pub fn give_back(&self, quota: Quota, units: u64) {
        if let Some(rate) = quota.rate(&self.entry.limits) {
            self.usage.level(quota).give_back(rate, units);
        }
    }

    /// Whether it is time to log what would be refused.
    #[must_use]
    pub fn is_time_to_log(&self) -> bool {
        self.usage.is_time_to_log()
    }
}

#[cfg(test)]
mod tests;
