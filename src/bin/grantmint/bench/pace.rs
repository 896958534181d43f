//! When calls start.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

/// A call's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// No two calls have the same.
    pub(super) number: u64,
    /// From when its time counts.
    pub(super) begin: Instant,
}

/// When calls start.
pub(super) enum Pace {
    /// Each when its caller is free, until the end.
    Closed { next: AtomicU64, end: Instant },
    /// On a schedule.
    Open(Arc<Schedule>),
}

impl Pace {
    /// The next turn of a caller that is free since then; none once all are given out.
    pub(super) async fn turn(&self, free: Instant) -> Option<Turn> {
        match self {
            Self::Closed { end, .. } if free >= *end => None,
            Self::Closed { next, .. } => {
                Some(Turn { number: next.fetch_add(1, Ordering::Relaxed), begin: free })
            }
            Self::Open(schedule) => schedule.turn().await,
        }
    }
}

/// Calls that are due at even distances, whether there is a caller free or not.
pub(super) struct Schedule {
    start: Instant,
    /// Calls a second.
    rate: u32,
    /// How many are due in all.
    calls: u64,
    /// A permit for each call that was due and not taken.
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    pub(super) fn new(start: Instant, rate: u32, time: Duration) -> Self {
        let calls = Self::in_time(rate, time);
        Self { start, rate, calls, due: Semaphore::new(0), taken: AtomicU64::new(0) }
    }

    /// How many calls are due before that much time has gone by.
    fn in_time(rate: u32, time: Duration) -> u64 {
        let calls = (time.as_nanos() * u128::from(rate)).div_ceil(1_000_000_000);
        u64::try_from(calls).unwrap_or(u64::MAX)
    }

    /// When this call is due.
    fn begin(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    async fn turn(&self) -> Option<Turn> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.calls).then(|| Turn { number, begin: self.begin(number) })
    }

    /// How many calls that were due from then until now were not taken.
    pub(super) fn overdue(&self, from: Instant, now: Instant) -> u64 {
        let before = |time: Instant| {
            Self::in_time(self.rate, time.saturating_duration_since(self.start)).min(self.calls)
        };
        before(now).saturating_sub(self.taken.load(Ordering::Relaxed).max(before(from)))
    }

    /// Gives out no more.
    pub(super) fn close(&self) {
        self.due.close();
    }
}

/// Gives a schedule's calls out as they are due.
pub(super) struct Pacer {
    schedule: Arc<Schedule>,
    given: u64,
    callers: usize,
}

impl Pacer {
    /// For so many callers.
    pub(super) fn new(schedule: Arc<Schedule>, callers: usize) -> Self {
        Self { schedule, given: 0, callers }
    }

    /// Gives out what is due by now, and says how long it is to the next; none at the end, which
    /// every caller is told.
    pub(super) fn give(&mut self, now: Instant) -> Option<Duration> {
        let schedule = &self.schedule;
        if schedule.due.is_closed() {
            return None;
        }
        let mut permits = 0;
        while self.given < schedule.calls && schedule.begin(self.given) <= now {
            self.given += 1;
            permits += 1;
        }
        let ends = self.given == schedule.calls;
        schedule.due.add_permits(if ends { permits + self.callers } else { permits });
        (!ends).then(|| schedule.begin(self.given).saturating_duration_since(now))
    }

    /// Does so on a thread of its own: the runtime's timers are a millisecond coarse, which is
    /// more than a call takes.
    pub(super) fn spawn(mut self) -> std::io::Result<()> {
        let pace = move || {
            while let Some(pause) = self.give(Instant::now()) {
                std::thread::park_timeout(pause);
            }
        };
        std::thread::Builder::new().name("pacer".to_owned()).spawn(pace).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_are_due_at_even_distances_until_the_end() {
        for (rate, time, calls) in
            [(200, Duration::from_millis(300), 60), (3, SECOND, 3), (3, SECOND / 2, 2)]
        {
            let schedule = Schedule::new(Instant::now(), rate, time);
            assert_eq!(schedule.calls, calls);
            assert!(schedule.begin(calls - 1) < schedule.start + time);
            assert!(schedule.begin(calls) >= schedule.start + time);
        }
    }

    #[tokio::test]
    async fn what_is_due_is_given_out_once_and_the_end_is_told_to_every_caller() {
        let start = Instant::now();
        let schedule = Arc::new(Schedule::new(start, 10, SECOND));
        let mut pacer = Pacer::new(Arc::clone(&schedule), 2);
        assert_eq!(pacer.give(start), Some(SECOND / 10));
        assert_eq!(pacer.give(start + SECOND / 4), Some(SECOND / 20));
        assert_eq!(schedule.due.available_permits(), 3);
        let turn = schedule.turn().await.unwrap();
        assert_eq!((turn.number, turn.begin), (0, start));
        assert_eq!(schedule.overdue(start, start + SECOND / 4), 2);
        assert_eq!(schedule.overdue(start + SECOND / 5, start + SECOND / 4), 1);
        assert_eq!(pacer.give(start + SECOND), None);
        for number in 1..10 {
            let turn = schedule.turn().await.unwrap();
            assert_eq!((turn.number, turn.begin), (number, schedule.begin(number)));
        }
        assert!(schedule.turn().await.is_none() && schedule.turn().await.is_none());
        assert_eq!(schedule.overdue(start, start + SECOND), 0);
    }
}
