//! Tests of replacing entries, and of limits.

use super::*;
use crate::auth::cause::Cause;
use crate::auth::{pattern::CallerPattern, policy::Limits, quota::Rate};

fn entries(name: &str, limits: Limits) -> Entries {
    let matches = vec![CallerPattern::parse("loopback").unwrap()];
    let name = EntryName::parse(name).unwrap();
    Entries::new(vec![Entry { name, matches, rows: Vec::new(), limits }])
}

fn caller(callers: &Callers) -> Arc<Caller> {
    match callers.find([&CallerName::Loopback]) {
        CallerMatch::Caller(caller, _) => caller,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_kept_when_the_entries_change() {
    let tokens = |rate, burst| Limits { tokens: Some(Rate { rate, burst }), ..Limits::default() };
    let limits = Limits { streams: 1, ..tokens(1, 10) };
    let policy = Policy::Entries(entries("a", limits));
    let callers = Callers::new(policy, Mode::Enforce, &Metrics::default());
    let before = caller(&callers);
    assert_eq!(before.take(Quota::Tokens, 1, 7, 1), Ok(Some(7)));
    let permit = before.permit(Use::Stream).expect("a permit");

    callers.replace(entries("a", Limits { streams: 1, ..tokens(2, 10) }));
    let after = caller(&callers);
    assert!(after.permit(Use::Stream).is_none(), "the stream is still open");
    assert_eq!(after.take(Quota::Tokens, 1, 100, 1), Ok(Some(3)));
    drop(permit);
    assert!(after.permit(Use::Stream).is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(after.take(Quota::Tokens, 1, 100, 1), Ok(Some(2)), "at the new rate");

    callers.replace(entries("b", tokens(2, 10)));
    assert_eq!(caller(&callers).take(Quota::Tokens, 1, 100, 1), Ok(Some(10)), "another entry");
}

#[tokio::test(start_paused = true)]
async fn calls_waiting_for_quota_count_as_waiting() {
    let policy = Policy::Entries(entries("a", Limits { waiting: 33, ..Limits::default() }));
    let caller = caller(&Callers::new(policy, Mode::Enforce, &Metrics::default()));
    let waiting: Vec<_> = (0..32).map(|_| caller.permit(Use::Quota).expect("a permit")).collect();
    assert!(caller.permit(Use::Quota).is_none(), "up to 32");
    let last = caller.permit(Use::Grant).expect("the 33rd");
    assert!(caller.permit(Use::Grant).is_none());
    drop((waiting, last));
    assert!(
        (0..33).map(|_| caller.permit(Use::Grant)).collect::<Vec<_>>().iter().all(Option::is_some)
    );
}

#[tokio::test(start_paused = true)]
async fn callers_without_a_name_or_an_entry_are_refused() {
    let policy = Policy::Entries(entries("a", Limits::default()));
    let callers = Callers::new(policy, Mode::Enforce, &Metrics::default());
    let denied = |names: &[&CallerName]| match callers.find(names.iter().copied()) {
        CallerMatch::Nobody(denied) => denied,
        other => panic!("{other:?}"),
    };
    assert_eq!(denied(&[]), Denied::Unauthenticated(Cause::NoCredential));
    assert_eq!(denied(&[&CallerName::Plaintext]), Denied::Unknown);
    let open = Callers::new(Policy::Open, Mode::Enforce, &Metrics::default());
    open.replace(entries("a", Limits::default()));
    assert!(matches!(open.find([]), CallerMatch::Anybody), "only a restart closes it");
}
