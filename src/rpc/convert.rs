//! Converts between wire messages and internal types.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    proto,
    violation::{OPTION_INVALID, TTL_OUT_OF_RANGE, Violation},
};
use crate::{
    clock::{Anchor, WallTime},
    grant::{Fault, FaultClass, GrantState, RefreshState, Status, cell::View},
    mint::{
        options::Options,
        terms::{ExpiryPolicy, Terms},
    },
};

/// The options of a mint with these parameters, and the fields that are malformed for any profile.
pub(super) fn options<'a>(
    wire: Option<&'a proto::MintOptions>,
    params: &'a Result<Vec<(String, Json)>, Violation>,
) -> (Options<'a>, Vec<Violation>) {
    let mut bad = Vec::new();
    let Some(wire) = wire else { return (Options::default(), bad) };
    let mut read = |field, reason, wire: Option<&prost_types::Duration>| {
        let read = wire.map(duration)?;
        read.map_err(|description| bad.push(Violation::new(field, reason, description))).ok()
    };
    let ttl = read("options.ttl", TTL_OUT_OF_RANGE, wire.ttl.as_ref());
    let min_remaining = read(
        "options.min_remaining_validity",
        OPTION_INVALID,
        wire.min_remaining_validity.as_ref(),
    );
    let max_wait = read("options.max_wait", OPTION_INVALID, wire.max_wait.as_ref());
    let policy = policy(wire.expiry_policy).unwrap_or_else(|violation| {
        bad.push(violation);
        None
    });
    let params = params.as_ref().unwrap_or_else(|violation| {
        bad.push(violation.clone());
        const { &Vec::new() }
    });
    let options = Options {
        profile: &wire.profile,
        resource: &wire.resource,
        ttl,
        min_remaining: min_remaining.unwrap_or_default(),
        max_wait,
        policy,
        after_generation: wire.after_generation,
        params,
    };
    (options, bad)
}

/// Protobuf's own bounds: about 10,000 years, and nanoseconds with the sign of the seconds.
fn duration(wire: &prost_types::Duration) -> Result<Duration, &'static str> {
    const MAX_SECONDS: u64 = 315_576_000_000;
    let signs_differ = wire.seconds.signum() * i64::from(wire.nanos.signum()) < 0;
    if wire.seconds.unsigned_abs() > MAX_SECONDS
        || wire.nanos.unsigned_abs() > 999_999_999
        || signs_differ
    {
        return Err("is not a well-formed Duration");
    }
    if wire.seconds < 0 || wire.nanos < 0 {
        return Err("is negative");
    }
    Ok(Duration::new(wire.seconds.unsigned_abs(), wire.nanos.unsigned_abs()))
}

fn policy(wire: i32) -> Result<Option<ExpiryPolicy>, Violation> {
    match proto::ExpiryPolicy::try_from(wire) {
        Ok(proto::ExpiryPolicy::Unspecified) => Ok(None),
        Ok(proto::ExpiryPolicy::ClampToGrant) => Ok(Some(ExpiryPolicy::ClampToGrant)),
        Ok(proto::ExpiryPolicy::RequireFullTtl) => Ok(Some(ExpiryPolicy::RequireFullTtl)),
        Ok(proto::ExpiryPolicy::Independent) => Ok(Some(ExpiryPolicy::Independent)),
        Err(_) => {
            let unknown = "is not a value of the enum";
            Err(Violation::new("options.expiry_policy", OPTION_INVALID, unknown))
        }
    }
}

pub(super) fn timestamp(at: WallTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.unix_seconds(), nanos: at.subsec_nanos() }
}

fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

pub(super) fn validity(terms: &Terms, grant: &str) -> proto::Validity {
    proto::Validity {
        issue_time: Some(timestamp(terms.issue)),
        expire_time: Some(timestamp(terms.expire)),
        use_by_time: Some(timestamp(terms.use_by)),
        use_within: Some(wire_duration(terms.use_within)),
        grant: grant.to_owned(),
        generation: terms.generation.get(),
    }
}

pub(super) fn grant(view: &View, status: &Status, now: Anchor) -> proto::Grant {
    use proto::grant::{RefreshState as WireRefresh, State as WireState};

    let state = match status.state(now, view.margin()) {
        GrantState::Pending => WireState::Pending,
        GrantState::Live => WireState::Live,
        GrantState::Expired => WireState::Expired,
    };
    let refresh = match status.refresh {
        RefreshState::Ok => WireRefresh::Ok,
        RefreshState::Retrying => WireRefresh::Retrying,
        RefreshState::Throttled => WireRefresh::Throttled,
        RefreshState::Rejected => WireRefresh::Rejected,
    };
    proto::Grant {
        name: view.name().to_string(),
        state: state.into(),
        refresh_state: refresh.into(),
        generation: status.life.map_or(0, |life| life.generation.get()),
        // All reported times use the current wall clock.
        fetch_time: status.life.map(|life| timestamp(now.wall_at(life.anchor.boot))),
        end_time: status.life.map(|life| timestamp(life.end(now))),
        next_attempt_time: status.next_attempt.map(|at| timestamp(now.wall_at(at))),
        last_fault: status.last_fault.as_ref().map(fault),
        consecutive_failures: status.consecutive_failures.into(),
    }
}

fn fault(fault: &Fault) -> proto::grant::Fault {
    use proto::grant::fault::Class;

    let class = match fault.class {
        FaultClass::Transient => Class::Transient,
        FaultClass::Throttled => Class::Throttled,
        FaultClass::Credential => Class::Credential,
        FaultClass::Resource => Class::Resource,
        FaultClass::Misconfigured => Class::Misconfigured,
    };
    proto::grant::Fault { class: class.into(), reason: fault.reason.to_string() }
}
