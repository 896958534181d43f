//! All cells by name: the [`Table`] for signing, its [`Roster`] for reports.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::cell::{Prepare, Publisher, Reader, View, cell};
use crate::name::{GrantName, ProfileName, Resource};

/// The read ends of all cells. It is filled before the server starts and does not change.
#[derive(Debug)]
pub struct Table<R> {
    readers: HashMap<ProfileName, HashMap<Resource, Reader<R>>>,
    views: Vec<View>,
    without_grants: Vec<ProfileName>,
    changes: Arc<watch::Sender<()>>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        let changes = Arc::new(watch::Sender::new(()));
        Self { readers: HashMap::new(), views: Vec::new(), without_grants: Vec::new(), changes }
    }
}

impl<R> Table<R> {
    /// Adds a cell and returns its write end.
    pub fn add<P>(&mut self, name: GrantName, margin: Duration, preparer: P) -> Publisher<P>
    where
        P: Prepare<Ready = R>,
    {
        let (publisher, reader) = cell(name.clone(), margin, preparer, Arc::clone(&self.changes));
        let at = self.views.partition_point(|view| *view.name() < name);
        self.views.insert(at, reader.view().clone());
        self.readers.entry(name.profile).or_default().insert(name.resource, reader);
        publisher
    }

    /// Adds a profile without grants.
    pub fn add_without_grants(&mut self, profile: ProfileName) {
        self.without_grants.push(profile);
    }

    /// The read end of this profile's cell for this resource.
    #[must_use]
    pub fn reader(&self, profile: &str, resource: &str) -> Option<&Reader<R>> {
        self.readers.get(profile)?.get(resource)
    }

    /// The state of all cells.
    #[must_use]
    pub fn roster(&self) -> Roster {
        Roster {
            views: self.views.clone().into(),
            without_grants: self.without_grants.clone().into(),
            changes: Arc::clone(&self.changes),
        }
    }
}

/// The state of all cells, by name.
#[derive(Clone, Debug)]
pub struct Roster {
    views: Arc<[View]>,
    without_grants: Arc<[ProfileName]>,
    changes: Arc<watch::Sender<()>>,
}

impl Roster {
    /// All views, by name.
    #[must_use]
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The profiles without grants.
    #[must_use]
    pub fn without_grants(&self) -> &[ProfileName] {
        &self.without_grants
    }

    /// The view of this name.
    #[must_use]
    pub fn view(&self, name: &GrantName) -> Option<&View> {
        let at = self.views.binary_search_by(|view| view.name().cmp(name)).ok()?;
        self.views.get(at)
    }

    /// Subscribes to changes of any cell.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
