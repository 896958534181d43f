//! The status that the status page shows, as JSON.

mod grants;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Uri;
use serde::Serialize;

use self::grants::Grants;
use crate::{
    clock::{Clock, WallTime},
    grant::{FaultClass, table::Roster},
    name::ProfileName,
    ready::Ready,
    telemetry::{Metrics, Numbers, RecentProblems, ResourceNames},
};

/// What the status page shows in addition to readiness and metrics.
#[derive(Debug)]
pub struct Sources {
    /// All grants.
    pub roster: Roster,
    /// The clock.
    pub clock: Clock,
    /// The profiles with their kinds.
    pub profiles: Vec<(ProfileName, &'static str)>,
    /// Limits that are shown with the load.
    pub limits: Limits,
    /// The accounts at upstreams.
    pub accounts: Vec<Account>,
}

/// Limits that are shown with the load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Calls that wait for a grant.
    pub waiting_calls: usize,
    /// Signing threads; none if no profile has slow signatures.
    pub signing_threads: Option<usize>,
    /// Tokens that wait for a signing thread.
    pub signing_queue: usize,
}

/// The request budget of an account.
pub struct Account {
    /// The profiles that share it.
    pub profiles: Vec<ProfileName>,
    /// Reads what is left.
    pub usage: Box<dyn Fn() -> Usage + Send + Sync>,
}

/// What an account's budget has left.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Requests per second.
    pub rate: u32,
    /// Requests that may be sent at once, and how many of these are left.
    pub burst: u32,
    /// See `burst`.
    pub available: u32,
    /// Concurrent requests, and how many are in flight.
    pub concurrent: u32,
    /// See `concurrent`.
    pub in_flight: u32,
    /// Why the account is held, and for how long.
    pub hold: Option<(FaultClass, Duration)>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("profiles", &self.profiles).finish_non_exhaustive()
    }
}

/// The rows of a snapshot that is sent to all viewers.
const EVENT_ROWS: usize = 50;

/// The maximum number of rows in a response.
const MAX_ROWS: usize = 200;

/// Which grants are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Words that must all occur in a grant's name, health or fault, in lower case.
    words: Vec<String>,
    limit: usize,
}

impl Selection {
    /// The worst grants, for events.
    pub(super) fn of_events() -> Self {
        Self { words: Vec::new(), limit: EVENT_ROWS }
    }

    /// Reads `search` and `limit` from a query. Other parameters and malformed values have no
    /// effect.
    pub(super) fn read(uri: &Uri) -> Self {
        let mut selection = Self { words: Vec::new(), limit: MAX_ROWS };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "search" => {
                    selection.words = value.split_whitespace().map(str::to_lowercase).collect();
                }
                "limit" => selection.limit = value.parse().unwrap_or(MAX_ROWS).min(MAX_ROWS),
                _ => {}
            }
        }
        selection
    }
}

/// Reads the status.
#[derive(Debug)]
pub(super) struct Status {
    ready: Arc<Ready>,
    metrics: Metrics,
    names: ResourceNames,
    sources: Sources,
    problems: RecentProblems,
}

#[derive(Serialize)]
struct Snapshot {
    version: &'static str,
    /// Seconds since the Unix epoch.
    time: f64,
    ready: bool,
    phase: &'static str,
    /// Whether resources and callers are named.
    details: bool,
    notes: Vec<String>,
    grants: Grants,
    profiles: Vec<ProfileRow>,
    numbers: Numbers,
    limits: Limits,
    accounts: Vec<AccountRow>,
    problems: Vec<ProblemRow>,
}

#[derive(Serialize)]
struct ProfileRow {
    profile: String,
    kind: &'static str,
    tokens: u64,
}

#[derive(Serialize)]
struct AccountRow {
    profiles: Vec<String>,
    rate: u32,
    burst: u32,
    available: u32,
    concurrent: u32,
    in_flight: u32,
    hold: Option<&'static str>,
    hold_seconds: f64,
}

#[derive(Serialize)]
struct ProblemRow {
    level: &'static str,
    message: String,
    /// None where resources and callers are not named: fields may name them.
    fields: Option<String>,
    /// Seconds since the Unix epoch.
    last: i64,
    count: u64,
}

impl Status {
    pub(super) fn new(
        ready: Arc<Ready>,
        metrics: Metrics,
        names: ResourceNames,
        sources: Sources,
    ) -> Self {
        Self { ready, metrics, names, sources, problems: RecentProblems::default() }
    }

    pub(super) fn show_problems(&mut self, problems: RecentProblems) {
        self.problems = problems;
    }

    /// One line of JSON. It takes milliseconds with 10,000 grants.
    pub(super) fn render(&self, selection: &Selection) -> Bytes {
        serde_json::to_vec(&self.snapshot(selection)).unwrap_or_default().into()
    }

    fn snapshot(&self, selection: &Selection) -> Snapshot {
        let now = self.sources.clock.now();
        let mut numbers = self.metrics.numbers();
        let tokens = std::mem::take(&mut numbers.profiles);
        for it in &mut numbers.callers {
            it.caller = self.names.write_text(&it.caller);
        }
        let tokens_of = |profile: &ProfileName| {
            tokens
                .iter()
                .find(|(name, _)| name == profile.as_str())
                .map_or(0, |(_, tokens)| *tokens)
        };
        let profiles = self.sources.profiles.iter().map(|(profile, kind)| ProfileRow {
            profile: profile.to_string(),
            kind,
            tokens: tokens_of(profile),
        });
        let names_things = self.names.are_plain();
        let problems = self.problems.all().into_iter().map(|it| ProblemRow {
            level: if it.is_error { "error" } else { "warning" },
            message: it.message,
            fields: names_things.then_some(it.fields),
            last: it.last.unix_seconds(),
            count: it.count,
        });
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            time: unix_seconds(now.wall),
            ready: self.ready.is_ready(),
            phase: self.ready.phase(),
            details: names_things,
            notes: self.ready.notes(),
            grants: grants::read(&self.sources.roster, &self.names, now, selection),
            profiles: profiles.collect(),
            numbers,
            limits: self.sources.limits,
            accounts: self.sources.accounts.iter().map(AccountRow::read).collect(),
            problems: problems.collect(),
        }
    }
}

impl AccountRow {
    fn read(account: &Account) -> Self {
        let Usage { rate, burst, available, concurrent, in_flight, hold } = (account.usage)();
        let (reason, remaining) = hold.unzip();
        Self {
            profiles: account.profiles.iter().map(ToString::to_string).collect(),
            rate,
            burst,
            available,
            concurrent,
            in_flight,
            hold: reason.map(FaultClass::as_str),
            hold_seconds: remaining.map_or(0.0, tenths),
        }
    }
}

/// Seconds in tenths, so that rows are short.
fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit for centuries")]
fn unix_seconds(at: WallTime) -> f64 {
    at.unix_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_reads_the_query() {
        let read = |uri: &str| Selection::read(&uri.parse().unwrap());
        let of = |words: &[&str], limit| Selection {
            words: words.iter().map(|it| (*it).to_owned()).collect(),
            limit,
        };
        assert_eq!(read("/status.json"), of(&[], 200));
        assert_eq!(read("/status.json?limit=7&search=Room%2F1+live&x"), of(&["room/1", "live"], 7));
        assert_eq!(read("/status.json?limit=100000"), of(&[], 200));
        assert_eq!(read("/status.json?limit=-1&search="), of(&[], 200));
    }
}
