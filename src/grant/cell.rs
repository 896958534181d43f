//! The cell of the current grant: one [`Publisher`] that cannot be cloned, and many [`Reader`]s
//! that load without a lock.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use super::{
    Generation, Grant, Life, Status,
    demand::{Demand, DemandReceiver, OrderOutcome},
    history::{AttemptResult, History, PERIODS, Results},
};
use crate::{clock::BootTime, name::GrantName};

/// Prepares a grant for signing, once, so that readers need not.
pub trait Prepare {
    /// The prepared form.
    type Ready;
    /// Why a grant cannot be prepared.
    type Error;

    /// Prepares `grant`, and verifies that the result works.
    fn prepare(&self, grant: &Grant) -> Result<Self::Ready, Self::Error>;
}

/// A grant with its prepared form.
#[derive(Debug)]
pub struct Published<R> {
    /// The grant.
    pub grant: Arc<Grant>,
    /// Its prepared form.
    pub ready: R,
}

/// The result of a publish.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Publication<E> {
    /// It is the current grant.
    Published(Generation),
    /// It was dropped: the current grant was requested later.
    Late,
    /// It could not be prepared; the current grant stays.
    Unprepared(E),
}

#[derive(Debug)]
struct Cell<R> {
    published: ArcSwapOption<Published<R>>,
}

/// The state of one grant without its content, for reports.
#[derive(Clone, Debug)]
pub struct View {
    name: Arc<GrantName>,
    margin: Duration,
    status: Arc<watch::Sender<Status>>,
    history: Arc<History>,
    demand: Demand,
}

impl View {
    /// The grant's name.
    #[must_use]
    pub fn name(&self) -> &GrantName {
        &self.name
    }

    /// The margin before the grant's expiry.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.margin
    }

    /// The current status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Reads the status without a copy.
    pub fn with_status<T>(&self, read: impl FnOnce(&Status) -> T) -> T {
        read(&self.status.borrow())
    }

    /// The results of recent attempts, by period up to `now`, the current one first.
    #[must_use]
    pub fn history(&self, now: BootTime) -> [Results; PERIODS] {
        self.history.read(now)
    }

    /// Subscribes to status changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Starts an attempt to refresh the grant now, or joins a running one, and waits for its end.
    /// Returns none if the grant's keeper has stopped.
    pub async fn refresh(&self) -> Option<OrderOutcome> {
        self.demand.order().await
    }
}

/// The read end.
#[derive(Debug)]
pub struct Reader<R> {
    cell: Arc<Cell<R>>,
    view: View,
}

impl<R> Clone for Reader<R> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell), view: self.view.clone() }
    }
}

impl<R> Reader<R> {
    /// The current grant. Load it once per call or chunk.
    #[must_use]
    pub fn load(&self) -> Guard<Option<Arc<Published<R>>>> {
        self.cell.published.load()
    }

    /// Its status.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Reports that the current grant does not satisfy a call, which needs one newer than `after`.
    /// If `after` is the current one, its player refused it.
    pub fn demand(&self, after: Generation) {
        let current = self.load().as_ref().map(|current| current.grant.life().generation);
        if let Some(refused) = current.filter(|current| *current <= after) {
            self.view.demand.refuse(refused);
        }
        self.view.demand.request();
    }
}

/// The write end. A cell has one, and it cannot be cloned.
#[derive(Debug)]
pub struct Publisher<P: Prepare> {
    cell: Arc<Cell<P::Ready>>,
    view: View,
    preparer: P,
    changes: Arc<watch::Sender<()>>,
}

impl<P: Prepare> Publisher<P> {
    /// The grant's name.
    #[must_use]
    pub fn name(&self) -> &GrantName {
        &self.view.name
    }

    /// The keeper's end of the readers' demand.
    #[must_use]
    pub fn demand(&self) -> DemandReceiver {
        self.view.demand.receiver()
    }

    /// The margin before the grant's expiry.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.view.margin
    }

    /// The last reported status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// The current grant's life.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.cell.published.load().as_ref().map(|current| current.grant.life())
    }

    /// The current grant's label.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.life().map_or(Generation::NONE, |life| life.generation)
    }

    /// Prepares `grant` and makes it the current one, unless the current one was requested later:
    /// a late response never replaces a newer grant.
    pub fn publish(&mut self, grant: Grant) -> Publication<P::Error> {
        let life = grant.life();
        if self.life().is_some_and(|current| current.anchor.boot >= life.anchor.boot) {
            return Publication::Late;
        }
        match self.preparer.prepare(&grant) {
            Err(error) => Publication::Unprepared(error),
            Ok(ready) => {
                self.store(Arc::new(grant), ready);
                Publication::Published(life.generation)
            }
        }
    }

    /// Prepares the current grant again, under its generation, after the preparer changed.
    ///
    /// # Errors
    ///
    /// It cannot be prepared; the previous form stays.
    pub fn prepare_again(&mut self) -> Result<(), P::Error> {
        let Some(current) = self.cell.published.load_full() else { return Ok(()) };
        let ready = self.preparer.prepare(&current.grant)?;
        self.store(Arc::clone(&current.grant), ready);
        Ok(())
    }

    fn store(&self, grant: Arc<Grant>, ready: P::Ready) {
        self.cell.published.store(Some(Arc::new(Published { grant, ready })));
    }

    /// Records the result of an attempt that ended at `at`.
    pub fn record(&mut self, result: AttemptResult, at: BootTime) {
        self.view.history.record(result, at);
    }

    /// Reports the status. Its life is always that of the published grant.
    pub fn report(&mut self, mut status: Status) {
        status.life = self.life();
        let changed = self.view.status.send_if_modified(|current| {
            let changed = *current != status;
            if changed {
                *current = status;
            }
            changed
        });
        if changed {
            self.changes.send_replace(());
        }
    }
}

/// Both ends of a new, empty cell. `changes` is notified whenever its status changes.
pub fn cell<P: Prepare>(
    name: GrantName,
    margin: Duration,
    preparer: P,
    changes: Arc<watch::Sender<()>>,
) -> (Publisher<P>, Reader<P::Ready>) {
    let status = Arc::new(watch::Sender::new(Status::unknown()));
    let (history, demand) = (Arc::default(), Demand::default());
    let view = View { name: Arc::new(name), margin, status, history, demand };
    let cell = Arc::new(Cell { published: ArcSwapOption::empty() });
    let reader = Reader { cell: Arc::clone(&cell), view: view.clone() };
    (Publisher { cell, view, preparer, changes }, reader)
}

#[cfg(test)]
mod tests;
