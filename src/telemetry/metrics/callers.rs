//! Callers and the audit log.

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics,
    definitions::Definitions,
    labels::{Counters, Resolved, with},
    numbers::CallerNumbers,
};
use crate::telemetry::sampled::Sampled;

pub(super) struct Families {
    tokens: Counters,
    refusals: Counters,
    audit_records: Counters,
    audit_failing: Sampled,
    entries: Resolved<CallerMetrics>,
}

impl Families {
    pub(super) fn define(define: &mut Definitions) -> Self {
        Self {
            tokens: define.plain(
                "grantmint_caller_tokens",
                "Tokens minted, by caller entry and method",
            ),
            refusals: define.plain(
                "grantmint_caller_refusals",
                "Calls denied or over a limit of their caller, by caller entry, reason and mode",
            ),
            audit_records: define.plain(
                "grantmint_audit_records",
                "Audit records, by outcome: written, dropped (the queue was full), or refused (nothing was minted, since it could not be recorded)",
            ),
            audit_failing: define.plain(
                "grantmint_audit_failing",
                "Whether audit records cannot be written: 1, else 0",
            ),
            entries: Resolved::default(),
        }
    }

    /// The numbers of all entries.
    pub(super) fn entries(&self) -> Vec<CallerNumbers> {
        let numbers = |(caller, handles): (String, CallerMetrics)| {
            let refusals = handles.refusals.iter().map(|it| (it.0, it.1, it.2.get()));
            CallerNumbers {
                caller,
                tokens: handles.one.get() + handles.many.get(),
                refusals: refusals.filter(|(_, _, count)| *count > 0).collect(),
            }
        };
        self.entries.all().into_iter().map(numbers).collect()
    }
}

impl Metrics {
    /// The handles of one entry's callers. `reasons` and `modes` are all possible reasons and modes
    /// of a refusal.
    #[must_use]
    pub fn caller(
        &self,
        entry: &str,
        reasons: &[&'static str],
        modes: &[&'static str],
    ) -> CallerMetrics {
        let Families { tokens, refusals, entries, .. } = &self.0.callers;
        let labels = vec![("caller", entry.to_owned())];
        let minted = |method| tokens.get_or_create_owned(&with(&labels, "method", method));
        let each = modes.iter().flat_map(|mode| reasons.iter().map(move |it| (*it, *mode)));
        let refusals = each.map(|(reason, mode)| {
            let labels = with(&with(&labels, "reason", reason), "mode", mode);
            (reason, mode, refusals.get_or_create_owned(&labels))
        });
        let handles = CallerMetrics {
            one: minted("MintToken"),
            many: minted("MintTokens"),
            refusals: refusals.collect(),
        };
        entries.add(entry, handles)
    }

    /// The handles of the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditMetrics {
        let count = |outcome: &str| {
            self.0.callers.audit_records.get_or_create_owned(&vec![("outcome", outcome.to_owned())])
        };
        AuditMetrics {
            written: count("written"),
            dropped: count("dropped"),
            refused: count("refused"),
        }
    }

    /// Sets where it is read whether audit records cannot be written.
    pub fn audit_failing(&self, read: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.callers.audit_failing.read_from(move || Some(f64::from(u8::from(read()))));
    }
}

/// What is recorded of one entry's callers.
#[derive(Clone, Debug)]
pub struct CallerMetrics {
    one: Counter,
    many: Counter,
    refusals: Vec<(&'static str, &'static str, Counter)>,
}

impl CallerMetrics {
    /// A single token was minted.
    pub fn minted_one(&self) {
        self.one.inc();
    }

    /// Tokens were minted in bulk.
    pub fn minted_many(&self, tokens: u64) {
        self.many.inc_by(tokens);
    }

    /// A call was refused, or would be, for this reason in this mode: both are among those that the
    /// handles were resolved for.
    pub fn refused(&self, reason: &str, mode: &str) {
        let mut refusals = self.refusals.iter();
        if let Some((_, _, count)) = refusals.find(|it| (it.0, it.1) == (reason, mode)) {
            count.inc();
        }
    }
}

/// The counts of audit records.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    written: Counter,
    dropped: Counter,
    refused: Counter,
}

impl AuditMetrics {
    /// This many records were written.
    pub fn written(&self, records: u64) {
        self.written.inc_by(records);
    }

    /// The queue had no room for a record.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// Nothing was minted: the queue had no room for its record, or writing failed.
    pub fn refused(&self) {
        self.refused.inc();
    }
}
