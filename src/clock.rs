//! The one place where time is read: wall time, which tokens and people are told in, and
//! boot time, which lives are measured in.
//!
//! Boot time is `CLOCK_BOOTTIME`: it goes on while the machine is suspended, where std's
//! `Instant` stops. On systems without it the nearest monotonic clock serves.

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// An instant of the boot clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(i64);

/// An instant of the wall clock, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

/// Both clocks, read at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The boot clock's reading.
    pub boot: BootTime,
    /// The wall clock's reading.
    pub wall: WallTime,
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn positive(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

macro_rules! instant {
    ($name:ident) => {
        impl $name {
            /// The time from `earlier` to here; zero where `earlier` is later.
            #[must_use]
            pub fn since(self, earlier: Self) -> Duration {
                positive(self.0.saturating_sub(earlier.0))
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;
            fn add(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(nanos(duration)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;
            fn sub(self, duration: Duration) -> Self {
                Self(self.0.saturating_sub(nanos(duration)))
            }
        }
    };
}

instant!(BootTime);
instant!(WallTime);

impl WallTime {
    /// The instant `seconds` after the Unix epoch.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Microseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The time since the last multiple of `period`, counted from the Unix epoch: alike on all
    /// machines whose clocks agree.
    #[must_use]
    pub fn since_multiple_of(self, period: Duration) -> Duration {
        positive(self.0.rem_euclid(nanos(period).max(1)))
    }

    /// Nanoseconds since the last whole second.
    #[must_use]
    pub const fn subsec_nanos(self) -> i32 {
        // In 0..1e9, so it fits.
        #[expect(clippy::cast_possible_truncation, reason = "below 1e9")]
        let nanos = self.0.rem_euclid(1_000_000_000) as i32;
        nanos
    }
}

impl Anchor {
    /// What the wall clock reads, as it goes now, at this instant of the boot clock.
    #[must_use]
    pub fn wall_at(self, boot: BootTime) -> WallTime {
        WallTime(self.wall.0.saturating_add(boot.0.saturating_sub(self.boot.0)))
    }

    /// How much further the wall clock went than the boot clock from `earlier` to here, in
    /// either direction: what somebody stepped it by.
    #[must_use]
    pub fn wall_step_since(self, earlier: Self) -> Duration {
        let wall = self.wall.0.saturating_sub(earlier.wall.0);
        let boot = self.boot.0.saturating_sub(earlier.boot.0);
        Duration::from_nanos(wall.saturating_sub(boot).unsigned_abs())
    }
}

/// Reads the time. Clones read the same clock.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Simulated(Arc<Simulation>),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that goes with tokio's, paused or not, from `wall` on, for tests and
    /// simulations; its [`Simulation`] steps it.
    #[must_use]
    pub fn simulated(wall: WallTime) -> (Self, Arc<Simulation>) {
        let simulation = Arc::new(Simulation {
            start: tokio::time::Instant::now(),
            boot: AtomicI64::new(1_000_000_000_000),
            wall: AtomicI64::new(wall.0),
        });
        (Self(Source::Simulated(Arc::clone(&simulation))), simulation)
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Anchor {
        match &self.0 {
            Source::System => system(),
            Source::Simulated(simulation) => simulation.now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(target_os = "linux")]
const BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

fn system() -> Anchor {
    Anchor { boot: BootTime(read(BOOT)), wall: WallTime(read(rustix::time::ClockId::Realtime)) }
}

fn read(clock: rustix::time::ClockId) -> i64 {
    let at = rustix::time::clock_gettime(clock);
    at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec)
}

/// The hand on a simulated clock.
#[derive(Debug)]
pub struct Simulation {
    start: tokio::time::Instant,
    boot: AtomicI64,
    wall: AtomicI64,
}

impl Simulation {
    fn now(&self) -> Anchor {
        let elapsed = nanos(self.start.elapsed());
        Anchor {
            boot: BootTime(self.boot.load(Ordering::SeqCst) + elapsed),
            wall: WallTime(self.wall.load(Ordering::SeqCst) + elapsed),
        }
    }

    /// Steps the wall clock alone, forward, as an operator or NTP does.
    pub fn step_wall_forward(&self, by: Duration) {
        self.wall.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Steps the wall clock alone, back.
    pub fn step_wall_back(&self, by: Duration) {
        self.wall.fetch_sub(nanos(by), Ordering::SeqCst);
    }

    /// Suspends the machine: boot and wall clock go on, timers stand still.
    pub fn suspend(&self, length: Duration) {
        self.boot.fetch_add(nanos(length), Ordering::SeqCst);
        self.wall.fetch_add(nanos(length), Ordering::SeqCst);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn boot_time_is_the_clock_that_counts_suspend() {
        // Where the machine never was, Linux's clocks read alike: only the name tells.
        assert_eq!(BOOT, rustix::time::ClockId::Boottime);
    }
}
