//! When calls start.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

/// The next call of a caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Unique in a load.
    pub(super) number: u64,
    /// The instant that latency counts from.
    pub(super) start: Instant,
}

/// When calls start.
pub(super) enum Pace {
    /// A call starts as soon as its caller is free, until the end.
    Closed { next: AtomicU64, end: Instant },
    /// Calls start on a schedule.
    Open(Arc<Schedule>),
}

impl Pace {
    /// The next turn of a caller that is free since `free`; none at the end.
    pub(super) async fn turn(&self, free: Instant) -> Option<Turn> {
        match self {
            Self::Closed { end, .. } if free >= *end => None,
            Self::Closed { next, .. } => {
                Some(Turn { number: next.fetch_add(1, Ordering::Relaxed), start: free })
            }
            Self::Open(schedule) => schedule.turn().await,
        }
    }
}

/// Calls that are due at even intervals, whether or not a caller is free.
pub(super) struct Schedule {
    start: Instant,
    /// Calls a second.
    rate: u32,
    /// The total number of calls.
    calls: u64,
    /// A permit for each call that is due and not yet taken.
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    pub(super) fn new(start: Instant, rate: u32, time: Duration) -> Self {
        let calls = Self::in_time(rate, time);
        Self { start, rate, calls, due: Semaphore::new(0), taken: AtomicU64::new(0) }
    }

    /// How many calls are due within `time`.
    fn in_time(rate: u32, time: Duration) -> u64 {
        let calls = (time.as_nanos() * u128::from(rate)).div_ceil(1_000_000_000);
        u64::try_from(calls).unwrap_or(u64::MAX)
    }

    /// When call `number` is due.
    fn due_at(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    async fn turn(&self) -> Option<Turn> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.calls).then(|| Turn { number, start: self.due_at(number) })
    }

    /// How many calls due between `from` and `now` were not taken.
    pub(super) fn overdue(&self, from: Instant, now: Instant) -> u64 {
        let before = |time: Instant| {
            Self::in_time(self.rate, time.saturating_duration_since(self.start)).min(self.calls)
        };
        before(now).saturating_sub(self.taken.load(Ordering::Relaxed).max(before(from)))
    }

    /// Releases no more calls.
    pub(super) fn close(&self) {
        self.due.close();
    }
}

/// Releases a schedule's calls as they become due.
pub(super) struct Pacer {
    schedule: Arc<Schedule>,
    released: u64,
    callers: usize,
}

impl Pacer {
    /// A pacer for this many callers.
    pub(super) fn new(schedule: Arc<Schedule>, callers: usize) -> Self {
        Self { schedule, released: 0, callers }
    }

    /// Releases the calls that are due, and returns the time until the next one; none at the end,
    /// when each caller gets a permit so that it stops.
    pub(super) fn release(&mut self, now: Instant) -> Option<Duration> {
        let schedule = &self.schedule;
        if schedule.due.is_closed() {
            return None;
        }
        let mut permits = 0;
        while self.released < schedule.calls && schedule.due_at(self.released) <= now {
            self.released += 1;
            permits += 1;
        }
        let ends = self.released == schedule.calls;
        schedule.due.add_permits(if ends { permits + self.callers } else { permits });
        (!ends).then(|| schedule.due_at(self.released).saturating_duration_since(now))
    }

    /// Releases calls from its own thread: the runtime's timers have a resolution of a
    /// millisecond, which is more than a call takes.
    pub(super) fn spawn(mut self) -> std::io::Result<()> {
        let pace = move || {
            while let Some(pause) = self.release(Instant::now()) {
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
    fn calls_are_due_at_even_intervals() {
        for (rate, time, calls) in
            [(200, Duration::from_millis(300), 60), (3, SECOND, 3), (3, SECOND / 2, 2)]
        {
            let schedule = Schedule::new(Instant::now(), rate, time);
            assert_eq!(schedule.calls, calls);
            assert!(schedule.due_at(calls - 1) < schedule.start + time);
            assert!(schedule.due_at(calls) >= schedule.start + time);
        }
    }

    #[tokio::test]
    async fn due_calls_are_released_once_and_every_caller_stops() {
        let start = Instant::now();
        let schedule = Arc::new(Schedule::new(start, 10, SECOND));
        let mut pacer = Pacer::new(Arc::clone(&schedule), 2);
        assert_eq!(pacer.release(start), Some(SECOND / 10));
        assert_eq!(pacer.release(start + SECOND / 4), Some(SECOND / 20));
        assert_eq!(schedule.due.available_permits(), 3);
        let turn = schedule.turn().await.unwrap();
        assert_eq!((turn.number, turn.start), (0, start));
        assert_eq!(schedule.overdue(start, start + SECOND / 4), 2);
        assert_eq!(schedule.overdue(start + SECOND / 5, start + SECOND / 4), 1);
        assert_eq!(pacer.release(start + SECOND), None);
        for number in 1..10 {
            let turn = schedule.turn().await.unwrap();
            assert_eq!((turn.number, turn.start), (number, schedule.due_at(number)));
        }
        assert!(schedule.turn().await.is_none() && schedule.turn().await.is_none());
        assert_eq!(schedule.overdue(start, start + SECOND), 0);
    }
}
