//! Warns before certificates expire.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{certificate::Validity, server::Tls};
use crate::{
    clock::{Clock, WallTime},
    telemetry::Metrics,
};

/// How often the clock is checked.
const PERIOD: Duration = Duration::from_secs(60);

/// How much of a certificate's lifetime remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remaining {
    /// More than a third of the lifetime.
    Enough,
    /// Up to a third of the lifetime.
    Third,
    /// Up to a tenth of the lifetime.
    Tenth,
    /// It has expired.
    None,
}

impl Remaining {
    /// What remains of `validity` at `now`.
    #[must_use]
    pub fn of(validity: Validity, now: WallTime) -> Self {
        let Some(end) = validity.end else { return Self::Enough };
        let (lifetime, remaining) = (end.since(validity.start), end.since(now));
        if remaining.is_zero() {
            Self::None
        } else if remaining <= lifetime / 10 {
            Self::Tenth
        } else if remaining <= lifetime / 3 {
            Self::Third
        } else {
            Self::Enough
        }
    }
}

/// Updates the certificate metrics, and logs a certificate each time that it reaches another step
/// toward expiry. Never returns.
pub async fn watch(tls: Arc<Tls>, metrics: Metrics, clock: Clock) {
    let mut replaced = tls.replaced();
    let mut logged = HashMap::new();
    loop {
        let all = tls.validities();
        let now = clock.now().wall;
        metrics.certificates(all.iter().map(|(what, it)| (what.clone(), it.start, it.end)));
        logged = all
            .into_iter()
            .map(|(what, validity)| {
                let previous = logged.get(&what).copied().unwrap_or(Remaining::Enough);
                let remaining = Remaining::of(validity, now);
                if remaining > previous {
                    warn(&what, remaining, validity, now);
                }
                (what, remaining)
            })
            .collect();
        tokio::select! {
            () = sleep(PERIOD) => {}
            _ = replaced.changed() => {}
        }
    }
}

fn warn(what: &str, remaining: Remaining, validity: Validity, now: WallTime) {
    let left_seconds = validity.end.map(|end| end.since(now).as_secs());
    match (what, remaining) {
        // The next list arrives when this one expires, and not long before.
        (_, Remaining::Enough) | ("crl", Remaining::Third | Remaining::Tenth) => {}
        ("crl", Remaining::None) => {
            tracing::warn!("revocation list is past its next update");
        }
        (_, Remaining::Third) => {
            tracing::warn!(what, left_seconds, "certificate has a third of its lifetime left");
        }
        (_, Remaining::Tenth) => {
            tracing::error!(what, left_seconds, "certificate has a tenth of its lifetime left");
        }
        (_, Remaining::None) => tracing::error!(what, "certificate has expired"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_and_a_tenth_of_the_lifetime_are_steps() {
        let at = WallTime::from_unix_seconds;
        let validity = Validity { start: at(1_000), end: Some(at(1_300)) };
        for (now, remaining) in [
            (1_000, Remaining::Enough),
            (1_199, Remaining::Enough),
            (1_200, Remaining::Third),
            (1_269, Remaining::Third),
            (1_270, Remaining::Tenth),
            (1_299, Remaining::Tenth),
            (1_300, Remaining::None),
        ] {
            assert_eq!(Remaining::of(validity, at(now)), remaining, "{now}");
        }
        let endless = Validity { end: None, ..validity };
        assert_eq!(Remaining::of(endless, at(9_999)), Remaining::Enough);
    }
}
