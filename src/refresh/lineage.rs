//! Compares each answer with those before it: a grant that came before, or that ends no later
//! than the present one, brings no new life, whatever life the answer claims. This needs no
//! trust in the upstream's clock.
//!
//! One thing is the upstream's to say: where its answer states how long the credential that is
//! present remains, that moves its end. Many services return one credential until shortly before
//! it ends, some let it live on as long as it is asked for, and one that was cut short is better
//! known to be.

use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::BootTime,
    grant::{Fault, FaultClass, Life},
    source::{Fetched, Granted},
};

/// How many former grants are remembered: caches in front of an upstream may answer in turn.
const REMEMBERED: usize = 16;

/// Ends stated in whole seconds are up to this much before the true end.
const ROUNDING: Duration = Duration::from_secs(1);

/// Two ends of one credential up to this far apart are the same end: each is rounded to whole
/// seconds, and counted from when its request was sent.
const SAME_END: Duration = Duration::from_secs(2);

/// How much faster than ours the upstream's clock may run: 500 ppm, the most that NTP slews.
const DRIFT: f64 = 1.000_5;

/// An end may lie this many lives further ahead than the last one and the time since explain.
const LEAP: u32 = 2;

/// How long other answers must keep step with our clock before the upstream's clock counts as
/// stepped.
const STEPPED_AFTER: Duration = Duration::from_secs(5);

/// How many of them there must be after the first.
const STEPPED_BY: u32 = 2;

/// How far they may be out of step: rounding, and a second of latency.
const STEP_TOLERANCE: f64 = 2.0;

const UNCHANGED: Fault = Fault::new(FaultClass::Transient, "GRANT_UNCHANGED");
const ENDS_SOONER: Fault = Fault::new(FaultClass::Transient, "GRANT_ENDS_SOONER");

/// The answers so far.
#[derive(Debug, Default)]
pub struct Lineage {
    seen: VecDeque<Seen>,
    /// The fingerprint of the present grant.
    present: Option<[u8; 16]>,
    /// The last grant taken that states its end.
    stated: Option<Stated>,
    /// The first of the last answers that agree with each other and not with `stated`.
    other: Option<Other>,
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
    asked: BootTime,
}

/// An end by an upstream's clock that may have been stepped.
#[derive(Clone, Copy, Debug)]
struct Other {
    expires: f64,
    asked: BootTime,
    /// Answers since that kept step.
    in_step: u32,
}

/// How an answer's stated end follows the last one.
#[derive(Clone, Copy)]
enum Follows {
    /// Later; it is no later than this by our clock.
    Later(BootTime),
    /// Later than any answer of that clock can state.
    Leaps,
    /// Not later; by the same clock it is no later than this.
    NotLater(BootTime),
}

/// The grant that an answer is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its life.
    pub life: Life,
    /// Whether a caller says that its player refused it: then one that ends sooner will do.
    pub refused: bool,
}

/// What an answer brings, where that is not what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Another grant than the present one, with new life.
    Another,
    /// The present grant, which ends later than was known.
    Extended,
    /// The present grant, which ends sooner than was known: that is true, and no new life.
    Shortened,
}

/// A grant that is to be published. It counts as taken once it is.
#[derive(Clone, Copy, Debug)]
#[must_use = "a grant that is published is to be remembered"]
pub struct Admitted {
    /// What it is beside the present one.
    pub news: News,
    /// How long it lives from its anchor on.
    pub ttl: Duration,
    end: BootTime,
    fingerprint: [u8; 16],
    stated: Option<Stated>,
}

impl Lineage {
    /// Whether the grant in `answer` brings new life, or is the present one with another end. It
    /// never lives past the end known from an earlier answer, unless that was stated anew.
    ///
    /// # Errors
    ///
    /// `GRANT_UNCHANGED` for a grant that came before or states no later end than the present
    /// one, `GRANT_ENDS_SOONER` for another one that would end before it.
    pub fn judge(&mut self, answer: &Fetched, present: Option<Present>) -> Result<Admitted, Fault> {
        let Fetched { anchor, granted, mark, .. } = answer;
        let claimed = anchor.boot + granted.ttl();
        let follows = self.follows(answer);
        let is_new = !self.seen.iter().any(|seen| seen.fingerprint == mark.fingerprint);
        let stepped = is_new && self.keeps_other_step(answer, follows);
        let is_dead = present.is_none_or(|present| present.life.left(*anchor).is_zero());
        // A dead grant's clock is no measure once another one has been shown to run.
        let follows = follows.filter(|_| !(stepped && is_dead));

        let known = match follows {
            Some(Follows::Later(end) | Follows::NotLater(end)) => claimed.min(end),
            Some(Follows::Leaps) | None => claimed,
        };
        let stated = mark.expires.map(|expires| Stated { expires, end: known, asked: anchor.boot });
        // One leap alone is no measure for what follows it.
        let is_measure = stepped || !matches!(follows, Some(Follows::Leaps));
        let admitted = |news, end: BootTime| Admitted {
            news,
            ttl: end.since(anchor.boot),
            end,
            fingerprint: mark.fingerprint,
            stated: stated.filter(|_| is_measure),
        };
        if let (Granted::Stated(_), Some(present)) = (granted, present)
            && self.present == Some(mark.fingerprint)
        {
            let former = present.life.anchor.boot + present.life.ttl;
            // What states the same end again has not moved it: the upstream is well and will
            // renew later. It is asked again, and lives no longer for it.
            return if known > former + SAME_END {
                Ok(admitted(News::Extended, known))
            } else if known + SAME_END < former {
                Ok(admitted(News::Shortened, known))
            } else {
                Err(UNCHANGED)
            };
        }
        let seen = self.see(mark.fingerprint, claimed.min(known + ROUNDING));
        let (end, taken) = (seen.end, seen.taken);
        if taken {
            return Err(UNCHANGED);
        }
        if let Some(present) = present.filter(|present| !present.refused) {
            if matches!(follows, Some(Follows::NotLater(_))) {
                return Err(UNCHANGED);
            }
            if end < present.life.anchor.boot + present.life.ttl {
                return Err(ENDS_SOONER);
            }
        }
        Ok(admitted(News::Another, end))
    }

    /// Remembers a grant that is now the present one.
    pub fn commit(&mut self, admitted: Admitted) {
        let its = |seen: &&mut Seen| seen.fingerprint == admitted.fingerprint;
        for seen in self.seen.iter_mut().filter(its) {
            seen.taken = true;
            seen.end = admitted.end;
        }
        self.present = Some(admitted.fingerprint);
        self.stated = admitted.stated.or(self.stated);
    }

    // What follows is the arithmetic of the above.

    /// How the stated end follows that of the last grant taken; none where either states none.
    /// Rounding is left out, so that it does not add up.
    fn follows(&self, answer: &Fetched) -> Option<Follows> {
        let (expires, former) = (answer.mark.expires?, self.stated?);
        let later = expires - former.expires;
        let by = Duration::try_from_secs_f64(later.abs() * DRIFT).unwrap_or(Duration::MAX);
        if later <= 0.0 {
            return Some(Follows::NotLater(former.end - by));
        }
        let lives = answer.granted.ttl().saturating_mul(LEAP);
        let explained = answer.anchor.boot.since(former.asked).saturating_add(lives);
        Some(if by > explained { Follows::Leaps } else { Follows::Later(former.end + by) })
    }

    /// Whether answers that do not follow the last grant taken have kept step with our clock
    /// for a while. A cache returns one grant again and again, which does not.
    fn keeps_other_step(&mut self, answer: &Fetched, follows: Option<Follows>) -> bool {
        let Some(expires) = answer.mark.expires else { return false };
        if matches!(follows, None | Some(Follows::Later(_))) {
            self.other = None;
            return false;
        }
        let asked = answer.anchor.boot;
        let since = |other: &Other| asked.since(other.asked);
        let in_step = |other: &&Other| {
            let apart = expires - other.expires - since(other).as_secs_f64();
            apart.abs() <= STEP_TOLERANCE
        };
        let Some(other) = self.other.filter(|other| in_step(&other)) else {
            self.other = Some(Other { expires, asked, in_step: 0 });
            return false;
        };
        let other = self.other.insert(Other { in_step: other.in_step.saturating_add(1), ..other });
        other.in_step >= STEPPED_BY && since(other) >= STEPPED_AFTER
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
}

#[cfg(test)]
mod tests;
