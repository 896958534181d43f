//! How long a profile's grants live, and when they are refreshed.

use std::time::Duration;

use super::supply::Beside;
use crate::{
    provider::LifeRules,
    refresh::schedule::{Lives, Point, Policy},
    settings::{Section, shown},
};

/// Reads the keys that set the schedule.
pub(super) fn read_policy(section: &mut Section<'_>, beside: &Beside) -> Option<Policy> {
    let lives = match beside.rules.life {
        LifeRules::Requested { default, max } => {
            read_grant_ttl(section, beside, default, max).map(Lives::Asked)
        }
        LifeRules::Reported => Some(Lives::Told),
    };
    let refresh_after = section.duration("refresh_after");
    let promise = section.duration("promise");
    if refresh_after.is_some() && promise.is_some() {
        section.problem("promise", "excludes refresh_after: it sets the point of refresh itself");
    }
    let point = match (refresh_after, promise) {
        (Some(after), _) => Point::After(after),
        (None, Some(promise)) => Point::Promise(promise),
        (None, None) => Point::Share(beside.rules.refresh_at),
    };

    let (margin, lives, token_ttl) = (beside.margin?, lives?, beside.token_ttl?);
    let policy = Policy { lives, margin, attempt: beside.attempt, point };
    // Of a life that only the answer tells, the point follows when it is known.
    if let Some(grant_ttl) = policy.grant_ttl() {
        check_point(section, &policy, grant_ttl, token_ttl);
    }
    Some(policy)
}

/// Holds the point against a grant's life and a token's.
fn check_point(
    section: &mut Section<'_>,
    policy: &Policy,
    grant_ttl: Duration,
    token_ttl: Duration,
) {
    let margin = policy.margin;
    let lives = format!("at a grant_ttl of {} and a margin of {}", shown(grant_ttl), shown(margin));
    match policy.point {
        Point::After(point) => {
            let (earliest, latest) =
                (policy.earliest_point(grant_ttl), policy.latest_point(grant_ttl));
            if point < earliest || point > latest {
                let (earliest, latest) = (shown(earliest), shown(latest));
                let message = format!("must be from {earliest} to {latest}, {lives}");
                section.problem("refresh_after", message);
            }
        }
        Point::Promise(promise) => {
            let most = policy.longest_promise(grant_ttl);
            let of_tokens = token_ttl.saturating_sub(margin);
            if promise > most {
                let most = shown(most);
                section.problem("promise", format!("cannot be kept: {most} is the most, {lives}"));
            } else if promise > of_tokens {
                let most = shown(of_tokens);
                let why = format!("cannot be kept: {most} is the most, as tokens live no longer");
                section.problem("promise", why);
            }
        }
        Point::Share(_) => {}
    }
}

fn read_grant_ttl(
    section: &mut Section<'_>,
    beside: &Beside,
    default: Duration,
    max: Duration,
) -> Option<Duration> {
    let written = section.has("grant_ttl");
    let grant_ttl = section.duration_within("grant_ttl", default, Duration::ZERO..=max)?;
    if grant_ttl.subsec_nanos() != 0 {
        section.problem("grant_ttl", "must be whole seconds");
        return None;
    }
    let margin = beside.margin?;
    let least = Policy::least_grant_ttl(margin, beside.attempt);
    if grant_ttl >= least {
        return Some(grant_ttl);
    }
    let (least, margin) = (shown(least), shown(margin));
    if written {
        section.problem("grant_ttl", format!("must be at least {least} at a margin of {margin}"));
    } else {
        let grant_ttl = shown(grant_ttl);
        let message = format!("needs a grant_ttl of at least {least}; it is {grant_ttl}");
        section.problem("margin", message);
    }
    None
}
