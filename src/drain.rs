//! How far the way out is: every part of the server watches the same phase.

pub mod lifetime;

use tokio::sync::watch;

/// A step on the way out; it only ever goes on. The operator is told its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving = 0,
    /// Told to stop: not ready, but every call is served as before.
    Leaving = 1,
    /// Listeners are closed and open work is brought to its end.
    Draining = 2,
    /// What is left is cut.
    Cut = 3,
}

/// The end that moves the phase on.
#[derive(Debug)]
pub struct Drainer(watch::Sender<Phase>);

/// The end that watches it.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// Both ends, serving.
#[must_use]
pub fn drain() -> (Drainer, Drain) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Drainer(sender), Drain(receiver))
}

impl Drainer {
    /// Moves on to `phase`; never back.
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
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether `phase` has been reached.
    #[must_use]
    pub fn reached(&self, phase: Phase) -> bool {
        self.phase() >= phase
    }

    /// Waits until `phase` is reached. A drainer that is gone counts as the last phase.
    pub async fn wait(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // The error means that the drainer is gone: nothing is left to wait for.
        let _ = receiver.wait_for(|current| *current >= phase).await;
    }
}
