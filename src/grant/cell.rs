//! The two-ended holder of the present grant: one [`Publisher`] that cannot be cloned, many
//! [`Reader`]s that load without a lock.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use super::{
    Generation, Grant, Life, Status,
    demand::{Demand, Demanded, Ordered},
};
use crate::name::GrantName;

/// Makes a grant ready to sign with, once, so that readers need not.
pub trait Prepare {
    /// What is ready to sign with.
    type Ready;
    /// Why a grant cannot be made ready.
    type Error;

    /// Prepares `grant`, and proves that what it prepared works.
    fn prepare(&self, grant: &Grant) -> Result<Self::Ready, Self::Error>;
}

/// A grant with what was prepared of it.
#[derive(Debug)]
pub struct Published<R> {
    /// The grant.
    pub grant: Arc<Grant>,
    /// What was prepared.
    pub ready: R,
}

/// What became of a grant that was to be published.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Publication<E> {
    /// It is the present grant.
    Published(Generation),
    /// One that was asked for later stays.
    Late,
    /// It could not be prepared; the present grant stays.
    Unprepared(E),
}

#[derive(Debug)]
struct Cell<R> {
    published: ArcSwapOption<Published<R>>,
}

/// The state of one grant without its content: for those who report it, not those who sign.
#[derive(Clone, Debug)]
pub struct View {
    name: Arc<GrantName>,
    margin: Duration,
    status: Arc<watch::Sender<Status>>,
    demand: Demand,
}

impl View {
    /// Whose state it is.
    #[must_use]
    pub fn name(&self) -> &GrantName {
        &self.name
    }

    /// What is kept in hand of the grant's life.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.margin
    }

    /// The state as it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Looks at the state without copying it.
    pub fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.status.borrow())
    }

    /// Every change of the state from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Starts an attempt to refresh the grant now, or joins the one under way, and waits for its
    /// end. Returns none where nothing refreshes the grant any more.
    pub async fn refresh(&self) -> Option<Ordered> {
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
    /// The present grant. Load once a call, or once a chunk.
    #[must_use]
    pub fn load(&self) -> Guard<Option<Arc<Published<R>>>> {
        self.cell.published.load()
    }

    /// How it fares.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Says that the present grant does not serve a call that wants one newer than `after`:
    /// where that is the present one, its player refused it.
    pub fn demand(&self, after: Generation) {
        let present = self.load().as_ref().map(|present| present.grant.life().generation);
        if let Some(refused) = present.filter(|present| *present <= after) {
            self.view.demand.refuse(refused);
        }
        self.view.demand.ask();
    }
}

/// The write end. There is one a cell, and it cannot be cloned.
#[derive(Debug)]
pub struct Publisher<P: Prepare> {
    cell: Arc<Cell<P::Ready>>,
    view: View,
    preparer: P,
    changes: Arc<watch::Sender<()>>,
}

impl<P: Prepare> Publisher<P> {
    /// Whose grants these are.
    #[must_use]
    pub fn name(&self) -> &GrantName {
        &self.view.name
    }

    /// The keeper's end of the readers' demand.
    #[must_use]
    pub fn demanded(&self) -> Demanded {
        self.view.demand.keeper_end()
    }

    /// What is kept in hand of the grant's life.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.view.margin
    }

    /// How the grant fares, as last told.
    #[must_use]
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// The present grant's life.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.cell.published.load().as_ref().map(|present| present.grant.life())
    }

    /// The present grant's label.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.life().map_or(Generation::NONE, |life| life.generation)
    }

    /// Prepares `grant` and makes it the present one, unless the present one was asked for
    /// later: a late answer never replaces a newer grant.
    pub fn publish(&mut self, grant: Grant) -> Publication<P::Error> {
        let life = grant.life();
        if self.life().is_some_and(|present| present.anchor.boot >= life.anchor.boot) {
            return Publication::Late;
        }
        match self.preparer.prepare(&grant) {
            Err(error) => Publication::Unprepared(error),
            Ok(ready) => {
                self.put(Arc::new(grant), ready);
                Publication::Published(life.generation)
            }
        }
    }

    /// Prepares the present grant again, under its generation, since what it is prepared with
    /// has changed.
    ///
    /// # Errors
    ///
    /// It cannot be prepared; what was prepared before stays.
    pub fn prepare_again(&mut self) -> Result<(), P::Error> {
        let Some(present) = self.cell.published.load_full() else { return Ok(()) };
        let ready = self.preparer.prepare(&present.grant)?;
        self.put(Arc::clone(&present.grant), ready);
        Ok(())
    }

    fn put(&self, grant: Arc<Grant>, ready: P::Ready) {
        self.cell.published.store(Some(Arc::new(Published { grant, ready })));
    }

    /// Tells how the grant fares. The life told is always the published grant's.
    pub fn tell(&mut self, mut status: Status) {
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

/// Both ends of a new, empty cell; `changes` is told whenever its state changes.
pub fn cell<P: Prepare>(
    name: GrantName,
    margin: Duration,
    preparer: P,
    changes: Arc<watch::Sender<()>>,
) -> (Publisher<P>, Reader<P::Ready>) {
    let status = Arc::new(watch::Sender::new(Status::unknown()));
    let view = View { name: Arc::new(name), margin, status, demand: Demand::default() };
    let cell = Arc::new(Cell { published: ArcSwapOption::empty() });
    let reader = Reader { cell: Arc::clone(&cell), view: view.clone() };
    (Publisher { cell, view, preparer, changes }, reader)
}

#[cfg(test)]
mod tests;
