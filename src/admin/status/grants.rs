//! The grants of a snapshot, worst first.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Selection, tenths};
use crate::{
    clock::{Anchor, BootTime},
    grant::{
        GrantState, RefreshState, Status,
        cell::View,
        history::{AttemptResult, PERIOD, PERIODS, Results},
        table::Roster,
    },
    telemetry::ResourceNames,
};

/// All grants, and some of them in detail.
#[derive(Serialize)]
pub(super) struct Grants {
    /// The number of all grants.
    total: usize,
    /// The number of grants that match the search.
    matching: usize,
    /// All grants by health.
    health: BTreeMap<&'static str, usize>,
    /// The duration of a period.
    period_seconds: u64,
    /// How many grants had an attempt with a result, by period, the current one first.
    attempts: BTreeMap<&'static str, Vec<u32>>,
    /// The worst of the matching grants.
    rows: Vec<Row>,
}

/// A grant's health, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Expired,
    /// No grant was received, and attempts fail.
    Failing,
    Rejected,
    Throttled,
    Retrying,
    /// The first attempt has not ended.
    Pending,
    Ok,
}

impl Health {
    fn of(status: &Status, state: GrantState) -> Self {
        match (state, status.refresh) {
            (GrantState::Expired, _) => Self::Expired,
            (GrantState::Pending, RefreshState::Ok) => Self::Pending,
            (GrantState::Pending, _) => Self::Failing,
            (GrantState::Live, RefreshState::Rejected) => Self::Rejected,
            (GrantState::Live, RefreshState::Throttled) => Self::Throttled,
            (GrantState::Live, RefreshState::Retrying) => Self::Retrying,
            (GrantState::Live, RefreshState::Ok) => Self::Ok,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Failing => "failing",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Retrying => "retrying",
            Self::Pending => "pending",
            Self::Ok => "ok",
        }
    }
}

#[derive(Serialize)]
struct Row {
    profile: String,
    resource: String,
    health: &'static str,
    state: &'static str,
    refresh: &'static str,
    /// The current grant; none before the first.
    life: Option<Life>,
    /// Seconds until the next attempt; zero during one.
    next_attempt_seconds: Option<f64>,
    attempting: bool,
    fault: Option<Fault>,
    failures: u32,
    latency_seconds: f64,
    /// The periods of the last ten minutes in which attempts ended, by result; 0 is the current one.
    attempts: BTreeMap<&'static str, Vec<usize>>,
}

#[derive(Serialize)]
struct Life {
    generation: i64,
    ttl_seconds: f64,
    left_seconds: f64,
    margin_seconds: f64,
}

#[derive(Serialize)]
struct Fault {
    reason: String,
    class: &'static str,
}

/// Grants of equal health are ordered by expiry if they are unhealthy, so that the order does not
/// change with each refresh, and then by name.
type Rank = (Health, Option<BootTime>, usize);

pub(super) fn read(
    roster: &Roster,
    names: &ResourceNames,
    now: Anchor,
    selection: &Selection,
) -> Grants {
    let views = roster.views();
    let (mut health, mut ranks) = (BTreeMap::new(), Vec::with_capacity(views.len()));
    let mut attempts = [[0; PERIODS]; AttemptResult::ALL.len()];
    for (index, view) in views.iter().enumerate() {
        let (its, end) = view.with_status(|status| {
            let its = Health::of(status, status.state(now, view.margin()));
            (its, status.life.map(|life| life.anchor.boot + life.ttl))
        });
        *health.entry(its.as_str()).or_default() += 1;
        for_each(&view.history(now.boot), |result, age| attempts[result][age] += 1);
        if matches(view, its, names, &selection.words) {
            ranks.push((its, end.filter(|_| its < Health::Pending), index));
        }
    }
    let matching = ranks.len();
    let rows = worst(&mut ranks, selection.limit);
    let rows = rows.iter().filter_map(|(_, _, index)| views.get(*index));
    let attempts = AttemptResult::ALL.into_iter().zip(attempts);
    let attempts = attempts.filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    Grants {
        total: views.len(),
        matching,
        health,
        period_seconds: PERIOD.as_secs(),
        attempts: attempts.map(|(result, counts)| (result.as_str(), counts.to_vec())).collect(),
        rows: rows.map(|view| Row::read(view, names, now)).collect(),
    }
}

/// Calls `found` with the index of each result that occurred and its period's age.
fn for_each(history: &[Results; PERIODS], mut found: impl FnMut(usize, usize)) {
    let periods = history.iter().enumerate();
    for (age, results) in periods.filter(|(_, results)| !results.is_empty()) {
        results.indices().for_each(|result| found(result, age));
    }
}

/// The first `limit` ranks, in order.
fn worst(ranks: &mut [Rank], limit: usize) -> &[Rank] {
    let limit = limit.min(ranks.len());
    if 0 < limit && limit < ranks.len() {
        ranks.select_nth_unstable(limit - 1);
    }
    let first = &mut ranks[..limit];
    first.sort_unstable();
    first
}

fn matches(view: &View, health: Health, names: &ResourceNames, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let name = view.name();
    let mut text = format!("{}/{} ", name.profile, names.write(&name.resource)).to_lowercase();
    text.push_str(health.as_str());
    view.with_status(|status| {
        if let Some(fault) = &status.last_fault {
            text.push(' ');
            text.push_str(&fault.reason.to_lowercase());
        }
    });
    words.iter().all(|word| text.contains(word))
}

impl Row {
    fn read(view: &View, names: &ResourceNames, now: Anchor) -> Self {
        let (name, margin) = (view.name(), view.margin());
        let mut attempts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for_each(&view.history(now.boot), |result, age| {
            attempts.entry(AttemptResult::ALL[result].as_str()).or_default().push(age);
        });
        view.with_status(|status| {
            let state = status.state(now, margin);
            let life = status.life.map(|life| Life {
                generation: life.generation.get(),
                ttl_seconds: tenths(life.ttl),
                left_seconds: tenths(life.left(now)),
                margin_seconds: tenths(margin),
            });
            let next = status.next_attempt;
            let next =
                next.map(|at| if status.attempting { Duration::ZERO } else { at.since(now.boot) });
            Self {
                profile: name.profile.to_string(),
                resource: names.write(&name.resource),
                health: Health::of(status, state).as_str(),
                state: state.as_str(),
                refresh: status.refresh.as_str(),
                life,
                next_attempt_seconds: next.map(tenths),
                attempting: status.attempting,
                fault: status.last_fault.as_ref().map(|fault| Fault {
                    reason: fault.reason.to_string(),
                    class: fault.class.as_str(),
                }),
                failures: status.consecutive_failures,
                latency_seconds: (status.usual_latency.as_secs_f64() * 1e3).round() / 1e3,
                attempts,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, WallTime};

    #[test]
    fn worst_ranks_come_first() {
        let start = Clock::simulated(WallTime::from_unix_seconds(0)).0.now().boot;
        let ok = |index| (Health::Ok, None, index);
        let retrying =
            |after, index| (Health::Retrying, Some(start + Duration::from_secs(after)), index);
        let all = [ok(0), retrying(9, 1), ok(2), (Health::Expired, None, 3), retrying(5, 4)];
        let expected = [all[3], all[4], all[1], ok(0), ok(2)];
        for limit in 0..9 {
            let mut ranks = all;
            assert_eq!(worst(&mut ranks, limit), &expected[..limit.min(5)], "{limit}");
        }
    }
}
