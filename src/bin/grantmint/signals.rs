//! The signals that a server takes. Left alone, almost every signal would end it at once,
//! with every call that is open.

use std::{borrow::Cow, io, ops::RangeInclusive};

use futures_util::future::select_all;
use grantmint::app::{Ask, Stop};
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What a signal asks of a server.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Stop(Stop),
    Reload,
    Nothing,
}

/// Each signal whose default is to end the process, but for those that only a fault of the
/// process raises.
const TAKEN: &[(&str, Number, Wish)] = &[
    ("SIGTERM", Number::TERM, Wish::Stop(Stop::Gently)),
    ("SIGQUIT", Number::QUIT, Wish::Stop(Stop::Gently)),
    ("SIGXCPU", Number::XCPU, Wish::Stop(Stop::Gently)),
    ("SIGINT", Number::INT, Wish::Stop(Stop::Now)),
    ("SIGHUP", Number::HUP, Wish::Reload),
    ("SIGUSR1", Number::USR1, Wish::Nothing),
    ("SIGUSR2", Number::USR2, Wish::Nothing),
    ("SIGALRM", Number::ALARM, Wish::Nothing),
    ("SIGVTALRM", Number::VTALARM, Wish::Nothing),
    ("SIGPROF", Number::PROF, Wish::Nothing),
    ("SIGXFSZ", Number::XFSZ, Wish::Nothing),
    ("SIGIO", Number::IO, Wish::Nothing),
    #[cfg(target_os = "linux")]
    ("SIGPWR", Number::POWER, Wish::Nothing),
    #[cfg(target_os = "linux")]
    ("SIGSTKFLT", Number::STKFLT, Wish::Nothing),
];

/// From SIGRTMIN to SIGRTMAX of Linux: signal(7). The C library keeps the two before.
#[cfg(target_os = "linux")]
const REAL_TIME: RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
#[expect(clippy::reversed_empty_ranges, reason = "there are none")]
const REAL_TIME: RangeInclusive<i32> = 1..=0;

struct Taken {
    name: Cow<'static, str>,
    wish: Wish,
    signal: Signal,
}

/// The signals of a server, from now on.
pub(crate) struct Signals(Vec<Taken>);

impl Signals {
    /// Takes every signal that a server can go on after.
    pub(crate) fn take() -> Result<Self, Failure> {
        let take = |name, number, wish| {
            Ok(Taken { name, wish, signal: signal(SignalKind::from_raw(number))? })
        };
        let named = TAKEN
            .iter()
            .map(|(name, number, wish)| take(Cow::Borrowed(*name), number.as_raw(), *wish));
        let taken: io::Result<Vec<_>> = named.collect();
        let mut taken =
            taken.map_err(|error| Failure::permanent(format!("cannot take signals: {error}")))?;
        // The C library may keep some of these to itself.
        taken.extend(REAL_TIME.filter_map(|number| {
            let name = format!("SIGRTMIN+{}", number - REAL_TIME.start());
            take(Cow::Owned(name), number, Wish::Nothing).ok()
        }));
        Ok(Self(taken))
    }

    /// Waits for one that asks to stop. What the others ask for is logged.
    pub(crate) async fn stop(&mut self) -> Stop {
        loop {
            match self.ask().await {
                Ask::Stop(stop) => return stop,
                Ask::Reload => tracing::info!("told to reload, and there is nothing to reload"),
            }
        }
    }

    /// Waits for one that asks for something. The others are logged.
    pub(crate) async fn ask(&mut self) -> Ask {
        loop {
            match self.next().await {
                (_, Wish::Stop(stop)) => return Ask::Stop(stop),
                (_, Wish::Reload) => return Ask::Reload,
                (signal, Wish::Nothing) => {
                    tracing::info!(signal = &*signal, "a signal was ignored");
                }
            }
        }
    }

    async fn next(&mut self) -> (Cow<'static, str>, Wish) {
        let signals = self.0.iter_mut().map(|taken| {
            let (name, wish) = (taken.name.clone(), taken.wish);
            Box::pin(async move {
                // It never ends while the runtime is there.
                taken.signal.recv().await;
                (name, wish)
            })
        });
        select_all(signals).await.0
    }
}
