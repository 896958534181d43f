//! Compares each answer with those before it: a grant that came before, or that ends no later
//! than the present one, brings no new life, whatever life the answer claims. This needs no
//! trust in the upstream's clock.

use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::BootTime,
    grant::{Fault, FaultClass, Life},
    source::{Fetched, Mark},
};

/// How many former grants are remembered: caches in front of an upstream may answer in turn.
const REMEMBERED: usize = 16;

/// Ends stated in whole seconds are up to this much before the true end.
const ROUNDING: Duration = Duration::from_secs(1);

/// How much faster than ours the upstream's clock may run: 500 ppm, the most that NTP slews.
const DRIFT: f64 = 1.000_5;

/// The answers so far.
#[derive(Debug, Default)]
pub struct Lineage {
    seen: VecDeque<Seen>,
    /// The last grant taken that states its end.
    stated: Option<Stated>,
}

#[derive(Debug)]
struct Seen {
    fingerprint: [u8; 16],
    end: BootTime,
    taken: bool,
}

/// An end by the upstream's clock, and no later than when it is by ours.
#[derive(Clone, Copy, Debug)]
struct Stated {
    expires: f64,
    end: BootTime,
}

/// The grant that an answer is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its life.
    pub life: Life,
    /// Whether a caller says that its player refused it: then one that ends sooner will do.
    pub refused: bool,
}

impl Lineage {
    /// How long the grant in `answer` lives from its anchor on: never past the end known from
    /// an earlier answer.
    ///
    /// # Errors
    ///
    /// `GRANT_UNCHANGED` for a grant that came before or states no later end than the present
    /// one, `GRANT_ENDS_SOONER` for one that would end before it.
    pub fn admit(&mut self, answer: &Fetched, present: Option<Present>) -> Result<Duration, Fault> {
        const UNCHANGED: Fault = Fault::new(FaultClass::Transient, "GRANT_UNCHANGED");
        const ENDS_SOONER: Fault = Fault::new(FaultClass::Transient, "GRANT_ENDS_SOONER");

        let Fetched { anchor, granted_ttl, mark, .. } = answer;
        let claimed = anchor.boot + *granted_ttl;
        let stated = mark.expires.map(|expires| self.stated(expires, claimed));
        let end = stated.map_or(claimed, |stated| claimed.min(stated.end + ROUNDING));
        let seen = self.see(mark.fingerprint, end);
        let end = seen.end;

        if seen.taken {
            return Err(UNCHANGED);
        }
        if let Some(present) = present.filter(|present| !present.refused) {
            if self.states_no_later_end(mark) {
                return Err(UNCHANGED);
            }
            if end < present.life.anchor.boot + present.life.ttl {
                return Err(ENDS_SOONER);
            }
        }
        self.take(mark.fingerprint);
        self.stated = stated.or(self.stated);
        Ok(end.since(anchor.boot))
    }

    // What follows is the arithmetic of the above.

    /// `expires` by our clock: as far from the former end as the upstream says, and no later
    /// than `claimed`. Rounding is left out, so that it does not add up.
    fn stated(&self, expires: f64, claimed: BootTime) -> Stated {
        let end = self.stated.map_or(claimed, |former| {
            let seconds = expires - former.expires;
            let by = Duration::try_from_secs_f64(seconds.abs() * DRIFT).unwrap_or(Duration::MAX);
            claimed.min(if seconds < 0.0 { former.end - by } else { former.end + by })
        });
        Stated { expires, end }
    }

    fn states_no_later_end(&self, mark: &Mark) -> bool {
        let (Some(expires), Some(former)) = (mark.expires, self.stated) else { return false };
        expires <= former.expires
    }

    /// What is known of this grant, which ends no later than `end`.
    fn see(&mut self, fingerprint: [u8; 16], end: BootTime) -> &Seen {
        let known = self.seen.iter().position(|seen| seen.fingerprint == fingerprint);
        let known = known.and_then(|index| self.seen.remove(index));
        let mut seen = known.unwrap_or(Seen { fingerprint, end, taken: false });
        seen.end = seen.end.min(end);
        self.seen.truncate(REMEMBERED - 1);
        self.seen.push_front(seen);
        &self.seen[0]
    }

    fn take(&mut self, fingerprint: [u8; 16]) {
        for seen in self.seen.iter_mut().filter(|seen| seen.fingerprint == fingerprint) {
            seen.taken = true;
        }
    }
}

#[cfg(test)]
mod tests;
