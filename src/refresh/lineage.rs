//! Compares each response with the previous ones. A grant that was returned before, or that
//! expires no later than the current one, does not extend the life, whatever life the response
//! claims. This does not rely on the upstream's clock.
//!
//! A response may move the expiry of the current credential by stating its remaining life. Many
//! services return one credential until shortly before it expires, some extend it with each
//! request, and a shortened life must be respected.

use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::BootTime,
    grant::{Fault, FaultClass, Life},
    source::{Fetched, Granted},
};

/// How many previous grants are remembered: caches in front of an upstream may alternate.
const REMEMBERED: usize = 16;

/// An expiry stated in whole seconds is up to this much before the true one.
const ROUNDING: Duration = Duration::from_secs(1);

/// Two expiries of one credential up to this far apart are the same: each is rounded to whole
/// seconds, and counted from the start of its request.
const SAME_EXPIRY: Duration = Duration::from_secs(2);

/// How much faster than ours the upstream's clock may run: 500 ppm, NTP's maximum slew rate.
const DRIFT: f64 = 1.000_5;

/// How many lives an expiry may be later than the last one and the elapsed time explain.
const LEAP: u32 = 2;

/// How long deviating responses must advance with our clock before the upstream's clock counts
/// as stepped.
const STEPPED_AFTER: Duration = Duration::from_secs(5);

/// How many such responses must follow the first.
const STEPPED_BY: u32 = 2;

/// How far they may deviate, in seconds: rounding, and a second of latency.
const STEP_TOLERANCE: f64 = 2.0;

const UNCHANGED: Fault = Fault::new(FaultClass::Transient, "GRANT_UNCHANGED");
const ENDS_SOONER: Fault = Fault::new(FaultClass::Transient, "GRANT_ENDS_SOONER");

/// The previous responses.
#[derive(Debug, Default)]
pub struct Lineage {
    known: VecDeque<Known>,
    /// The fingerprint of the current grant.
    current: Option<[u8; 16]>,
    /// The last published grant that states its expiry.
    stated: Option<Stated>,
    /// The first of the latest responses that agree with each other but not with `stated`.
    other: Option<OtherClock>,
}

#[derive(Debug)]
struct Known {
    fingerprint: [u8; 16],
    end: BootTime,
    published: bool,
}

/// An expiry by the upstream's clock, and its upper bound by ours.
#[derive(Clone, Copy, Debug)]
struct Stated {
    expires: f64,
    end: BootTime,
    requested: BootTime,
}

/// An expiry by an upstream's clock that may have been stepped.
#[derive(Clone, Copy, Debug)]
struct OtherClock {
    expires: f64,
    requested: BootTime,
    /// Responses since then that advanced with our clock.
    in_step: u32,
}

/// How a response's stated expiry follows the last one.
#[derive(Clone, Copy)]
enum Sequence {
    /// Later. This is its upper bound by our clock.
    Later(BootTime),
    /// Later than any response by that clock can state.
    Leap,
    /// Not later. This is its upper bound by the same clock.
    NotLater(BootTime),
}

/// The grant that a response is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its life.
    pub life: Life,
    /// Whether a caller reported that its player refused it: then an earlier expiry is accepted.
    pub refused: bool,
}

/// How a response differs from the current grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is a new grant.
    New,
    /// It is the current grant with a later expiry than known.
    Extended,
    /// It is the current grant with an earlier expiry than known. It is published, but the
    /// refresh has failed.
    Shortened,
}

/// A grant to publish. It is remembered by [`Lineage::commit`] after that.
#[derive(Clone, Copy, Debug)]
#[must_use = "commit a grant after it is published"]
pub struct Admitted {
    /// How it differs from the current one.
    pub change: Change,
    /// Its life from its anchor on.
    pub ttl: Duration,
    end: BootTime,
    fingerprint: [u8; 16],
    stated: Option<Stated>,
}

impl Lineage {
    /// Checks whether the grant in `response` extends the life, or is the current one with a
    /// different expiry. It never lives past the expiry known from an earlier response, unless this
    /// one states it again.
    ///
    /// # Errors
    ///
    /// `GRANT_UNCHANGED` for a grant that was returned before or states no later expiry than the
    /// current one, `GRANT_ENDS_SOONER` for a new grant that would expire before it.
    pub fn check(
        &mut self,
        response: &Fetched,
        current: Option<Current>,
    ) -> Result<Admitted, Fault> {
        let Fetched { anchor, granted, mark, .. } = response;
        let claimed = anchor.boot + granted.ttl();
        let sequence = self.sequence(response);
        let is_new = !self.known.iter().any(|known| known.fingerprint == mark.fingerprint);
        let stepped = is_new && self.follows_other_clock(response, sequence);
        let is_expired = current.is_none_or(|current| current.life.left(*anchor).is_zero());
        // After the expiry, the previous clock is no reference once another clock is confirmed.
        let sequence = sequence.filter(|_| !(stepped && is_expired));

        let bounded = match sequence {
            Some(Sequence::Later(end) | Sequence::NotLater(end)) => claimed.min(end),
            Some(Sequence::Leap) | None => claimed,
        };
        let stated =
            mark.expires.map(|expires| Stated { expires, end: bounded, requested: anchor.boot });
        // A single leap is no reference for later responses.
        let is_reference = stepped || !matches!(sequence, Some(Sequence::Leap));
        let admitted = |change, end: BootTime| Admitted {
            change,
            ttl: end.since(anchor.boot),
            end,
            fingerprint: mark.fingerprint,
            stated: stated.filter(|_| is_reference),
        };
        if let (Granted::Stated(_), Some(current)) = (granted, current)
            && self.current == Some(mark.fingerprint)
        {
            let previous = current.life.anchor.boot + current.life.ttl;
            // The same expiry stated again: the upstream is healthy and will renew later.
            return if bounded > previous + SAME_EXPIRY {
                Ok(admitted(Change::Extended, bounded))
            } else if bounded + SAME_EXPIRY < previous {
                Ok(admitted(Change::Shortened, bounded))
            } else {
                Err(UNCHANGED)
            };
        }
        let known = self.remember(mark.fingerprint, claimed.min(bounded + ROUNDING));
        let (end, published) = (known.end, known.published);
        if published {
            return Err(UNCHANGED);
        }
        if let Some(current) = current.filter(|current| !current.refused) {
            if matches!(sequence, Some(Sequence::NotLater(_))) {
                return Err(UNCHANGED);
            }
            if end < current.life.anchor.boot + current.life.ttl {
                return Err(ENDS_SOONER);
            }
        }
        Ok(admitted(Change::New, end))
    }

    /// Remembers a grant that is now the current one.
    pub fn commit(&mut self, admitted: Admitted) {
        let its = |known: &&mut Known| known.fingerprint == admitted.fingerprint;
        for known in self.known.iter_mut().filter(its) {
            known.published = true;
            known.end = admitted.end;
        }
        self.current = Some(admitted.fingerprint);
        self.stated = admitted.stated.or(self.stated);
    }

    /// How the stated expiry follows that of the last published grant; none where either states
    /// none. Rounding is excluded, so that it does not accumulate.
    fn sequence(&self, response: &Fetched) -> Option<Sequence> {
        let (expires, last) = (response.mark.expires?, self.stated?);
        let later = expires - last.expires;
        let by = Duration::try_from_secs_f64(later.abs() * DRIFT).unwrap_or(Duration::MAX);
        if later <= 0.0 {
            return Some(Sequence::NotLater(last.end - by));
        }
        let lives = response.granted.ttl().saturating_mul(LEAP);
        let explained = response.anchor.boot.since(last.requested).saturating_add(lives);
        Some(if by > explained { Sequence::Leap } else { Sequence::Later(last.end + by) })
    }

    /// Whether responses that do not follow the last published grant have advanced with our clock
    /// for some time. A cache that returns one grant repeatedly does not.
    fn follows_other_clock(&mut self, response: &Fetched, sequence: Option<Sequence>) -> bool {
        let Some(expires) = response.mark.expires else { return false };
        if matches!(sequence, None | Some(Sequence::Later(_))) {
            self.other = None;
            return false;
        }
        let requested = response.anchor.boot;
        let since = |other: &OtherClock| requested.since(other.requested);
        let in_step = |other: &&OtherClock| {
            let deviation = expires - other.expires - since(other).as_secs_f64();
            deviation.abs() <= STEP_TOLERANCE
        };
        let Some(other) = self.other.filter(|other| in_step(&other)) else {
            self.other = Some(OtherClock { expires, requested, in_step: 0 });
            return false;
        };
        let in_step = other.in_step.saturating_add(1);
        let other = self.other.insert(OtherClock { in_step, ..other });
        other.in_step >= STEPPED_BY && since(other) >= STEPPED_AFTER
    }

    /// Records this grant, which expires no later than `end`, and returns what is known of it.
    fn remember(&mut self, fingerprint: [u8; 16], end: BootTime) -> &Known {
        let index = self.known.iter().position(|known| known.fingerprint == fingerprint);
        let known = index.and_then(|index| self.known.remove(index));
        let mut known = known.unwrap_or(Known { fingerprint, end, published: false });
        known.end = known.end.min(end);
        self.known.truncate(REMEMBERED - 1);
        self.known.push_front(known);
        &self.known[0]
    }
}

#[cfg(test)]
mod tests;
