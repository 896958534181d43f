//! Certificates that near their end: an alarm before, not after.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{certificate::Validity, server::Tls};
use crate::{
    clock::{Clock, WallTime},
    telemetry::Metrics,
};

/// How often the clock is looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// How near a certificate is to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Far,
    /// A third of its life is left.
    Third,
    /// A tenth of its life is left.
    Tenth,
    Past,
}

impl Nearness {
    fn of(validity: Validity, now: WallTime) -> Self {
        let Some(end) = validity.end else { return Self::Far };
        let (life, left) = (end.since(validity.start), end.since(now));
        if left.is_zero() {
            Self::Past
        } else if left <= life / 10 {
            Self::Tenth
        } else if left <= life / 3 {
            Self::Third
        } else {
            Self::Far
        }
    }
}

/// Keeps the metrics of certificates, and warns of those that near their end, each time that one
/// comes nearer by a step. Runs for ever.
pub async fn watch(tls: Arc<Tls>, metrics: Metrics, clock: Clock) {
    let mut replaced = tls.replaced();
    let mut told = HashMap::new();
    loop {
        let all = tls.validities();
        let now = clock.now().wall;
        metrics.certificates(all.iter().map(|(what, it)| (what.clone(), it.start, it.end)));
        told = all
            .into_iter()
            .map(|(what, validity)| {
                let before = told.get(&what).copied().unwrap_or(Nearness::Far);
                let nearness = Nearness::of(validity, now);
                if nearness > before {
                    warn(&what, nearness, validity, now);
                }
                (what, nearness)
            })
            .collect();
        tokio::select! {
            () = sleep(PERIOD) => {}
            _ = replaced.changed() => {}
        }
    }
}

fn warn(what: &str, nearness: Nearness, validity: Validity, now: WallTime) {
    let left_seconds = validity.end.map(|end| end.since(now).as_secs());
    match (what, nearness) {
        // The next list comes when this one ends, and not long before.
        (_, Nearness::Far) | ("crl", Nearness::Third | Nearness::Tenth) => {}
        ("crl", Nearness::Past) => {
            tracing::warn!("the revocation list is past its next update");
        }
        (_, Nearness::Third) => {
            tracing::warn!(what, left_seconds, "a certificate has a third of its life left");
        }
        (_, Nearness::Tenth) => {
            tracing::error!(what, left_seconds, "a certificate has a tenth of its life left");
        }
        (_, Nearness::Past) => tracing::error!(what, "a certificate has expired"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_and_a_tenth_of_its_life_are_steps() {
        let at = WallTime::from_unix_seconds;
        let validity = Validity { start: at(1_000), end: Some(at(1_300)) };
        for (now, nearness) in [
            (1_000, Nearness::Far),
            (1_199, Nearness::Far),
            (1_200, Nearness::Third),
            (1_269, Nearness::Third),
            (1_270, Nearness::Tenth),
            (1_299, Nearness::Tenth),
            (1_300, Nearness::Past),
        ] {
            assert_eq!(Nearness::of(validity, at(now)), nearness, "{now}");
        }
        let endless = Validity { end: None, ..validity };
        assert_eq!(Nearness::of(endless, at(9_999)), Nearness::Far);
    }
}
