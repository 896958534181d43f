//! Detects clock jumps. Timers run on a clock that stops in suspend, and do not follow a stepped
//! wall clock.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::clock::{Anchor, Clock};

const TICK: Duration = Duration::from_secs(1);

/// Differences up to this are timer slack, not a jump.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Compares the clocks every second, indefinitely, and notifies `jumps` when one jumped.
pub async fn watch_for_jumps(clock: Clock, jumps: watch::Sender<()>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut timer, mut seen) = (Instant::now(), clock.now());
    loop {
        ticks.tick().await;
        let (timer_now, now) = (Instant::now(), clock.now());
        if jumped(timer_now - timer, seen, now) {
            tracing::warn!(
                suspended_seconds =
                    now.boot.since(seen.boot).saturating_sub(timer_now - timer).as_secs(),
                wall_step_seconds = now.wall_step_since(seen).as_secs(),
                "a clock jumped; rescheduling every refresh"
            );
            jumps.send_replace(());
        }
        (timer, seen) = (timer_now, now);
    }
}

fn jumped(timer: Duration, seen: Anchor, now: Anchor) -> bool {
    let suspended = now.boot.since(seen.boot).saturating_sub(timer);
    suspended > TOLERANCE || now.wall_step_since(seen) > TOLERANCE
}
