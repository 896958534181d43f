//! The signals that a server handles. Unhandled, most signals would kill it together with every
//! open call.

use std::{borrow::Cow, io, ops::RangeInclusive};

use futures_util::future::select_all;
use grantmint::app::{Request, Stop};
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What a signal does.
#[derive(Clone, Copy, Debug)]
enum Action {
    Stop(Stop),
    Reload,
    Ignore,
}

/// Each signal that kills a process by default, except those that only a fault of the process
/// raises.
const HANDLED: &[(&str, Number, Action)] = &[
    ("SIGTERM", Number::TERM, Action::Stop(Stop::Gently)),
    ("SIGQUIT", Number::QUIT, Action::Stop(Stop::Gently)),
    ("SIGXCPU", Number::XCPU, Action::Stop(Stop::Gently)),
    ("SIGINT", Number::INT, Action::Stop(Stop::Now)),
    ("SIGHUP", Number::HUP, Action::Reload),
    ("SIGUSR1", Number::USR1, Action::Ignore),
    ("SIGUSR2", Number::USR2, Action::Ignore),
    ("SIGALRM", Number::ALARM, Action::Ignore),
    ("SIGVTALRM", Number::VTALARM, Action::Ignore),
    ("SIGPROF", Number::PROF, Action::Ignore),
    ("SIGXFSZ", Number::XFSZ, Action::Ignore),
    ("SIGIO", Number::IO, Action::Ignore),
    #[cfg(target_os = "linux")]
    ("SIGPWR", Number::POWER, Action::Ignore),
    #[cfg(target_os = "linux")]
    ("SIGSTKFLT", Number::STKFLT, Action::Ignore),
];

/// SIGRTMIN to SIGRTMAX of Linux: signal(7). The C library uses the two signals before.
#[cfg(target_os = "linux")]
const REAL_TIME: RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
#[expect(clippy::reversed_empty_ranges, reason = "there are none")]
const REAL_TIME: RangeInclusive<i32> = 1..=0;

struct Handled {
    name: Cow<'static, str>,
    action: Action,
    signal: Signal,
}

/// The signal handlers of a server.
pub(crate) struct Signals(Vec<Handled>);

impl Signals {
    /// Installs handlers for every signal that a server can survive.
    pub(crate) fn install() -> Result<Self, Failure> {
        let install = |name, number, action| {
            Ok(Handled { name, action, signal: signal(SignalKind::from_raw(number))? })
        };
        let named = HANDLED
            .iter()
            .map(|(name, number, action)| install(Cow::Borrowed(*name), number.as_raw(), *action));
        let handled: io::Result<Vec<_>> = named.collect();
        let mut handled = handled
            .map_err(|error| Failure::permanent(format!("cannot handle signals: {error}")))?;
        // The C library may reserve some of these.
        handled.extend(REAL_TIME.filter_map(|number| {
            let name = format!("SIGRTMIN+{}", number - REAL_TIME.start());
            install(Cow::Owned(name), number, Action::Ignore).ok()
        }));
        Ok(Self(handled))
    }

    /// Waits for a signal that requests a shutdown. Others are logged.
    pub(crate) async fn stop(&mut self) -> Stop {
        loop {
            match self.request().await {
                Request::Stop(stop) => return stop,
                Request::Reload => tracing::info!("reload requested; nothing to reload"),
            }
        }
    }

    /// Waits for a signal that requests a shutdown or a reload. Others are logged.
    pub(crate) async fn request(&mut self) -> Request {
        loop {
            match self.next().await {
                (_, Action::Stop(stop)) => return Request::Stop(stop),
                (_, Action::Reload) => return Request::Reload,
                (signal, Action::Ignore) => {
                    tracing::info!(signal = &*signal, "signal ignored");
                }
            }
        }
    }

    async fn next(&mut self) -> (Cow<'static, str>, Action) {
        let signals = self.0.iter_mut().map(|handled| {
            let (name, action) = (handled.name.clone(), handled.action);
            Box::pin(async move {
                // The stream never ends while the runtime runs.
                handled.signal.recv().await;
                (name, action)
            })
        });
        select_all(signals).await.0
    }
}
