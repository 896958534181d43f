//! The load: callers that make calls over connections at a given pace.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until, timeout},
};
use tonic::Status;

use super::{
    call::Call,
    pace::{Pace, Pacer, Schedule},
    plan::Plan,
    progress::Progress,
    tally::Tally,
};
use crate::{
    exit::Exit,
    failure::{Failure, disconnected},
    output::seconds,
};

/// How often the progress is shown.
const TICK: Duration = Duration::from_millis(500);

/// The pause of a caller without a connection: dialing is not part of the load.
const PAUSE: Duration = Duration::from_millis(100);

/// The results of a load.
pub(super) struct Figures {
    pub(super) tally: Tally,
    /// How long the load was measured.
    pub(super) measured: Duration,
    /// Calls that were due in that time, but no caller was free.
    pub(super) not_started: u64,
    /// Calls still running at the end.
    pub(super) cut_off: u64,
    pub(super) interrupted: bool,
}

impl Figures {
    /// Success if any call succeeded, else the most frequent failure.
    pub(super) fn outcome(self) -> Result<Exit, Failure> {
        if self.tally.answered > 0 {
            return Ok(Exit::Done);
        }
        let errors = self.tally.errors.into_values().max_by_key(|errors| errors.calls);
        Err(errors.map_or_else(
            || {
                Failure::permanent("no call finished in the measured time")
                    .next("increase --duration")
            },
            |errors| errors.first.into(),
        ))
    }
}

/// What all callers share.
struct Shared {
    pace: Pace,
    /// When measuring starts.
    from: Instant,
    end: Instant,
    plan: Plan,
}

impl Shared {
    /// Whether `now` is in the measured time.
    fn measures(&self, now: Instant) -> bool {
        (self.from..self.end).contains(&now)
    }
}

/// A running load.
pub(super) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
    /// One tally per connection, to avoid contention between cores.
    tallies: Vec<Arc<Mutex<Tally>>>,
    /// The pacer of an open loop, until it is spawned.
    pacer: Option<Pacer>,
}

impl Load {
    /// Starts the callers of each connection.
    pub(super) fn start<C: Call>(
        plan: Plan,
        connections: impl IntoIterator<Item = C>,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let end = start + plan.warm_up + plan.duration;
        let all = plan.connections as usize * plan.in_flight as usize;
        let (pace, pacer) = match plan.rate {
            None => (Pace::Closed { next: AtomicU64::new(0), end }, None),
            Some(rate) => {
                let schedule = Arc::new(Schedule::new(start, rate, end - start));
                (Pace::Open(Arc::clone(&schedule)), Some(Pacer::new(schedule, all)))
            }
        };
        let shared = Arc::new(Shared { pace, from: start + plan.warm_up, end, plan });
        let mut load = Self { shared, callers: JoinSet::new(), tallies: Vec::new(), pacer };
        for connection in connections {
            let tally = Tally::new().map_err(|error| cannot_start(&error))?;
            let tally = Arc::new(Mutex::new(tally));
            load.tallies.push(Arc::clone(&tally));
            for _ in 0..load.shared.plan.in_flight {
                let (shared, tally) = (Arc::clone(&load.shared), Arc::clone(&tally));
                load.callers.spawn(call(connection.clone(), shared, tally, start));
            }
        }
        Ok(load)
    }

    /// Runs to the end, or until Ctrl-C. Calls that are running or overdue at the end may take one
    /// more call deadline, so that slow calls are included in the results.
    pub(super) async fn run(mut self, mut progress: Progress) -> Result<Figures, Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|it| cannot_start(&it))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|it| cannot_start(&it))?;
        self.pacer.take().map_or(Ok(()), Pacer::spawn).map_err(|error| cannot_start(&error))?;
        let mut tick = interval(TICK);
        let last = self.shared.end + self.shared.plan.timeout;
        let interrupted = loop {
            tokio::select! {
                ended = self.callers.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(_)) => return Err(Failure::permanent("a caller of the load panicked")),
                    None => break false,
                },
                () = sleep_until(last) => break false,
                now = tick.tick() => if progress.is_shown() {
                    progress.show(now.saturating_duration_since(self.shared.from), &self.sum()?);
                },
                _ = interrupt.recv() => break true,
                _ = terminate.recv() => break true,
            }
        };
        self.figures(interrupted).await
    }

    async fn figures(mut self, interrupted: bool) -> Result<Figures, Failure> {
        let Shared { pace, from, end, .. } = &*self.shared;
        let over = Instant::now().min(*end);
        let not_started = match pace {
            Pace::Closed { .. } => 0,
            Pace::Open(schedule) => {
                schedule.close();
                schedule.overdue(*from, over)
            }
        };
        self.callers.shutdown().await;
        let tally = self.sum()?;
        let cut_off = tally.started - tally.answered - tally.failed();
        let measured = over.saturating_duration_since(*from);
        Ok(Figures { tally, measured, not_started, cut_off, interrupted })
    }

    /// The tally of all connections so far.
    fn sum(&self) -> Result<Tally, Failure> {
        let mut sum = Tally::new().map_err(|error| cannot_start(&error))?;
        self.tallies.iter().for_each(|tally| sum.add(&lock(tally)));
        Ok(sum)
    }
}

fn cannot_start(error: &dyn std::fmt::Display) -> Failure {
    Failure::permanent(format!("cannot start the load: {error}"))
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes one call after the other, until the pace ends.
async fn call<C: Call>(caller: C, shared: Arc<Shared>, tally: Arc<Mutex<Tally>>, start: Instant) {
    let Shared { pace, from, plan, .. } = &*shared;
    let mut free = start;
    while let Some(turn) = pace.turn(free).await {
        let counts = turn.start >= *from;
        let sent = Instant::now();
        if counts {
            let mut tally = lock(&tally);
            tally.started += 1;
            tally.waited += u64::from(turn.start < free);
        } else if sent >= *from {
            // The remaining calls of the warm-up must not delay measured calls.
            free = sent;
            continue;
        }
        let on_tokens = |tokens| {
            let inside = shared.measures(Instant::now());
            let mut tally = lock(&tally);
            tally.tokens += if counts { tokens } else { 0 };
            tally.tokens_in_window += if inside { tokens } else { 0 };
        };
        let ended = timeout(plan.timeout, caller.call(turn.number, on_tokens)).await;
        free = Instant::now();
        // The transport also times the deadline, with another status.
        let ended = match ended {
            Ok(Err(status)) if free - sent < plan.timeout => Err(status),
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(timed_out(plan.timeout)),
        };
        let lost = ended.as_ref().is_err_and(disconnected);
        {
            let mut tally = lock(&tally);
            tally.answered_in_window += u64::from(ended.is_ok() && shared.measures(free));
            if counts {
                tally.end(free - turn.start, ended);
            }
        }
        if lost && matches!(pace, Pace::Closed { .. }) {
            sleep(PAUSE).await;
            free = Instant::now();
        }
    }
}

fn timed_out(timeout: Duration) -> Status {
    Status::deadline_exceeded(format!("no response within {}", seconds(timeout)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Responds in a millisecond, except during a stall.
    #[derive(Clone)]
    struct Stalls {
        from: Instant,
        until: Instant,
    }

    impl Call for Stalls {
        async fn call(&self, _: u64, on_tokens: impl Fn(u64) + Send + Sync) -> Result<(), Status> {
            sleep(Duration::from_millis(1)).await;
            if (self.from..self.until).contains(&Instant::now()) {
                sleep_until(self.until).await;
            }
            on_tokens(1);
            Ok(())
        }
    }

    fn plan(rate: Option<u32>) -> Plan {
        Plan {
            connections: 2,
            in_flight: 1,
            rate,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        }
    }

    /// The figures of a server that stalls from the fifth to the sixth second.
    async fn figures(plan: Plan) -> Figures {
        let start = Instant::now();
        let [from, until] = [5, 6].map(|second| start + Duration::from_secs(second));
        let progress = Progress::new(&plan, true);
        let mut load = Load::start(plan, [Stalls { from, until }, Stalls { from, until }]).unwrap();
        // On the paused clock, which the pacer's own thread would not see.
        if let Some(mut pacer) = load.pacer.take() {
            tokio::spawn(async move {
                while let Some(pause) = pacer.release(Instant::now()) {
                    sleep(pause).await;
                }
            });
        }
        load.run(progress).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn open_loop_stall_affects_every_call_due_in_it() {
        let figures = figures(plan(Some(100))).await;
        let tally = &figures.tally;
        assert_eq!((tally.answered, tally.tokens, tally.started), (1_000, 1_000, 1_000));
        assert_eq!((figures.not_started, figures.cut_off), (0, 0));
        // A hundred were due evenly during the stall: half of them wait over half a second.
        let over_half = tally.times.count_between(500_000, 2_000_000);
        assert!((45..=55).contains(&over_half), "{over_half}");
        let p99 = tally.times.value_at_quantile(0.99);
        assert!((880_000..=1_010_000).contains(&p99), "{p99}");
        // Calls due while the backlog is processed wait too.
        assert!((95..=115).contains(&tally.waited), "{}", tally.waited);
    }

    #[tokio::test(start_paused = true)]
    async fn closed_loop_stall_affects_one_call_per_caller() {
        let figures = figures(plan(None)).await;
        let tally = &figures.tally;
        assert_eq!(tally.times.count_between(500_000, 2_000_000), 2);
        assert!(tally.times.value_at_quantile(0.99) < 10_000);
        assert_eq!((tally.waited, figures.not_started, figures.cut_off), (0, 0, 0));
        // Only responses in the measured time count, without the warm-up.
        assert!(tally.answered.abs_diff(tally.answered_in_window) <= 2);
        assert_eq!(figures.measured, Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn overload_reports_calls_not_started_and_calls_cut_off() {
        // Two callers finish up to 2,000 calls a second, for nine seconds and two more.
        let mut plan = plan(Some(10_000));
        plan.timeout = Duration::from_secs(2);
        let figures = figures(plan).await;
        let tally = &figures.tally;
        assert_eq!(tally.started + figures.not_started, 100_000);
        assert_eq!(tally.started, tally.answered + figures.cut_off);
        assert!((10_000..=22_002).contains(&tally.answered), "{}", tally.answered);
        assert!(tally.waited > 9_000, "{}", tally.waited);
    }

    /// Never responds.
    #[derive(Clone)]
    struct Hangs;

    impl Call for Hangs {
        async fn call(&self, _: u64, _: impl Fn(u64) + Send + Sync) -> Result<(), Status> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_a_response_ends_at_its_deadline() {
        let plan = plan(None);
        let progress = Progress::new(&plan, true);
        let load = Load::start(Plan { warm_up: Duration::ZERO, ..plan }, [Hangs, Hangs]).unwrap();
        let figures = load.run(progress).await.unwrap();
        assert_eq!((figures.tally.answered, figures.tally.failed()), (0, 2));
        assert!(figures.tally.times.equivalent(figures.tally.times.max(), 10_000_000));
        let failure = figures.outcome().unwrap_err();
        assert_eq!(failure.exit(), Exit::TryLater);
        assert_eq!(failure.to_string(), "no response within 10.0 s (DeadlineExceeded)");
    }
}
