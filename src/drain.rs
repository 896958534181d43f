//! The shutdown phase, which every part of the server watches.

pub mod lifetime;

use tokio::sync::watch;

/// A phase of shutdown; it only advances. Operators see its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving = 0,
    /// Shutdown requested: not ready, but every call is still served.
    Leaving = 1,
    /// Listeners are closed and open calls finish.
    Draining = 2,
    /// Remaining connections are closed.
    Closing = 3,
}

impl Phase {
    /// The phase in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Draining => "draining",
            Self::Closing => "closing",
        }
    }
}

/// Advances the phase.
#[derive(Debug)]
pub struct Drainer(watch::Sender<Phase>);

/// Watches the phase.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// A pair in the phase `Serving`.
#[must_use]
pub fn drain() -> (Drainer, Drain) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Drainer(sender), Drain(receiver))
}

impl Drainer {
    /// Advances to `phase`; never goes back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
    }
}

impl Drain {
    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether `phase` has been reached.
    #[must_use]
    pub fn reached(&self, phase: Phase) -> bool {
        self.phase() >= phase
    }

    /// Waits until `phase` is reached. A dropped drainer counts as the last phase.
    pub async fn wait(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // An error means that the drainer was dropped: there is nothing left to wait for.
        let _ = receiver.wait_for(|current| *current >= phase).await;
    }
}
