//! The lifetime of a profile's grants, and when they are refreshed.

use std::time::Duration;

use crate::{
    provider::{GrantRules, LifeRules},
    refresh::schedule::{GrantLife, Point, Policy},
    settings::{Section, shown},
};

/// The settings that the keys of grants are checked against.
pub(super) struct Context {
    /// The kind's rules for grants.
    pub(super) rules: GrantRules,
    /// The maximum time of an attempt to fetch one.
    pub(super) attempt: Duration,
    pub(super) margin: Option<Duration>,
    /// The lifetime of tokens; unlimited if they are their grants.
    pub(super) token_ttl: Option<Duration>,
}

/// Reads the keys of the schedule.
pub(super) fn read_policy(section: &mut Section<'_>, context: &Context) -> Option<Policy> {
    let life = match context.rules.life {
        LifeRules::Requested { default, max } => {
            read_grant_ttl(section, context, default, max).map(GrantLife::Requested)
        }
        LifeRules::Reported => Some(GrantLife::Reported),
    };
    let refresh_after = section.duration("refresh_after");
    let promise = section.duration("promise");
    if refresh_after.is_some() && promise.is_some() {
        section.problem("promise", "excludes refresh_after: a promise sets the point of refresh");
    }
    let point = match (refresh_after, promise) {
        (Some(after), _) => Point::After(after),
        (None, Some(promise)) => Point::Promise(promise),
        (None, None) => Point::Share(context.rules.refresh_at),
    };

    let (margin, life, token_ttl) = (context.margin?, life?, context.token_ttl?);
    let policy = Policy { life, margin, attempt: context.attempt, point };
    // If only the upstream's response states the lifetime, the point is checked at run time.
    if let Some(grant_ttl) = policy.grant_ttl() {
        check_point(section, &policy, grant_ttl, token_ttl);
    }
    Some(policy)
}

/// Checks the point against the lifetimes of grants and tokens.
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
            let max = policy.longest_promise(grant_ttl);
            let of_tokens = token_ttl.saturating_sub(margin);
            if promise > max {
                section.problem("promise", format!("must be at most {}, {lives}", shown(max)));
            } else if promise > of_tokens {
                let max = shown(of_tokens);
                let why = format!("must be at most {max}, the token_ttl less the margin");
                section.problem("promise", why);
            }
        }
        Point::Share(_) => {}
    }
}

fn read_grant_ttl(
    section: &mut Section<'_>,
    context: &Context,
    default: Duration,
    max: Duration,
) -> Option<Duration> {
    let written = section.has("grant_ttl");
    let grant_ttl = section.duration_within("grant_ttl", default, Duration::ZERO..=max)?;
    if grant_ttl.subsec_nanos() != 0 {
        section.problem("grant_ttl", "must be whole seconds");
        return None;
    }
    let margin = context.margin?;
    let least = Policy::least_grant_ttl(margin, context.attempt);
    if grant_ttl >= least {
        return Some(grant_ttl);
    }
    let (least, margin) = (shown(least), shown(margin));
    if written {
        section.problem("grant_ttl", format!("must be at least {least} at a margin of {margin}"));
    } else {
        let grant_ttl = shown(grant_ttl);
        let message = format!("requires a grant_ttl of at least {least}; it is {grant_ttl}");
        section.problem("margin", message);
    }
    None
}
