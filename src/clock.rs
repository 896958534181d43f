//! Reads time: wall time, which appears in tokens and reports, and boot time, which durations are
//! measured with. Nothing else reads a clock.
//!
//! Boot time is `CLOCK_BOOTTIME`, which continues while the machine is suspended; std's `Instant`
//! stops. Systems without it use the nearest monotonic clock.

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
            /// The time from `earlier` to `self`; zero if `earlier` is later.
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

impl BootTime {
    /// How many whole periods have passed since the clock's start.
    #[must_use]
    pub fn whole(self, period: Duration) -> u64 {
        u64::try_from(self.0.div_euclid(nanos(period).max(1))).unwrap_or(0)
    }
}

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

    /// Nanoseconds since the Unix epoch; zero before it.
    #[must_use]
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// Microseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The time since the last multiple of `period`, counted from the Unix epoch. It is the same on
    /// all machines whose clocks agree.
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
    /// The reading of the wall clock, as currently set, at this instant of the boot clock.
    #[must_use]
    pub fn wall_at(self, boot: BootTime) -> WallTime {
        WallTime(self.wall.0.saturating_add(boot.0.saturating_sub(self.boot.0)))
    }

    /// How much the wall clock's progress since `earlier` differs from the boot clock's, in either
    /// direction: the amount by which it was stepped.
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
    /// The system's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that follows tokio's, paused or not, starting at `wall`. For tests and simulations;
    /// its [`Simulation`] steps it.
    #[must_use]
    pub fn simulated(wall: WallTime) -> (Self, Arc<Simulation>) {
        let simulation = Arc::new(Simulation {
            start: tokio::time::Instant::now(),
            boot: AtomicI64::new(1_000_000_000_000),
            wall: AtomicI64::new(wall.0),
        });
        (Self(Source::Simulated(Arc::clone(&simulation))), simulation)
    }

    /// Reads both clocks.
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

/// `CLOCK_MONOTONIC` in microseconds, for a supervisor that compares it with its own.
#[must_use]
pub fn monotonic_micros() -> i64 {
    read(rustix::time::ClockId::Monotonic) / 1_000
}

/// Controls a simulated clock.
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

    /// Steps the wall clock forward, as an operator or NTP may.
    pub fn step_wall_forward(&self, by: Duration) {
        self.wall.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Steps the wall clock back.
    pub fn step_wall_back(&self, by: Duration) {
        self.wall.fetch_sub(nanos(by), Ordering::SeqCst);
    }

    /// Suspends the machine: boot and wall clock continue, timers stop.
    pub fn suspend(&self, length: Duration) {
        self.boot.fetch_add(nanos(length), Ordering::SeqCst);
        self.wall.fetch_add(nanos(length), Ordering::SeqCst);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn boot_time_uses_the_clock_that_counts_suspend() {
        // On a machine that was never suspended Linux's clocks read alike, so only the id can be
        // checked.
        assert_eq!(BOOT, rustix::time::ClockId::Boottime);
    }
}
