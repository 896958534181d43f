//! Whether this replica is ready, and the state of its grants: what admin and gRPC health both
//! tell.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::select_all};
use tokio::{sync::watch, time::sleep};

use crate::{
    clock::{Anchor, BootTime, Clock},
    drain::{Drain, Phase},
    grant::{GrantState, cell::View, table::Roster},
    name::{GrantName, ProfileName},
    telemetry::ResourceNames,
};

/// How many grants are told of in lines.
const MOST_LINES: usize = 1_000;

/// The start gate opens after this, whatever the upstream says.
const GATE_TIMEOUT: Duration = Duration::from_secs(60);

/// Something beside the grants that this replica needs from elsewhere, such as keys that are
/// fetched. The start gate waits for it, and it has a line for people.
pub trait Dependency: fmt::Debug + Send + Sync {
    /// Whether what is needed has arrived. The gate asks until it has opened.
    fn has_arrived(&self) -> bool;

    /// The state of it at this time: one line, without secrets.
    fn line(&self, now: Anchor) -> String;

    /// Notified of each change from now on.
    fn changes(&self) -> watch::Receiver<()>;
}

/// Notified when something that [`Ready`] reports may have changed.
#[derive(Debug)]
pub struct Changes {
    grants: watch::Receiver<()>,
    dependencies: Vec<watch::Receiver<()>>,
}

/// Whether this replica is ready.
#[derive(Debug)]
pub struct Ready {
    roster: Roster,
    dependencies: Vec<Arc<dyn Dependency>>,
    clock: Clock,
    drain: Drain,
    gate_opens: BootTime,
    /// What an operator should know beside the grants.
    notes: Vec<Note>,
    /// Never closes again: an outage of the upstream makes calls fail, not replicas unready.
    gate_open: AtomicBool,
}

/// Says what an operator should know, whenever there is something.
struct Note(Box<dyn Fn() -> Option<String> + Send + Sync>);

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Note")
    }
}

impl Ready {
    /// The readiness of a replica that starts now.
    #[must_use]
    pub fn new(roster: Roster, clock: Clock, drain: Drain) -> Self {
        let gate_opens = clock.now().boot + GATE_TIMEOUT;
        let gate_open = AtomicBool::new(false);
        let dependencies = Vec::new();
        Self { roster, dependencies, clock, drain, gate_opens, notes: Vec::new(), gate_open }
    }

    /// The same where these are needed too: the gate waits for them, and each has a line.
    #[must_use]
    pub fn depending_on(mut self, dependencies: Vec<Arc<dyn Dependency>>) -> Self {
        self.dependencies.extend(dependencies);
        self
    }

    /// The same with a line for people before those of the grants, whenever there is one.
    #[must_use]
    pub fn noting(mut self, note: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.notes.push(Note(Box::new(note)));
        self
    }

    /// Whether calls should come here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gate_is_open() && !self.drain.reached(Phase::Leaving)
    }

    fn gate_is_open(&self) -> bool {
        if self.gate_open.load(Ordering::Relaxed) {
            return true;
        }
        let answered =
            |view: &View| view.with_status(|status| status.life.is_some() || status.not_found());
        let has_all = || {
            self.dependencies.iter().all(|it| it.has_arrived())
                && self.roster.views().iter().all(answered)
        };
        let open = self.clock.now().boot >= self.gate_opens || has_all();
        if open {
            self.gate_open.store(true, Ordering::Relaxed);
        }
        open
    }

    /// Each profile with whether every resource of it has a live grant: computed, never
    /// latched. Without grants, its key has signed a token that verified before the start.
    #[must_use]
    pub fn profiles(&self) -> Vec<(ProfileName, bool)> {
        let now = self.clock.now();
        let mut profiles: Vec<(ProfileName, bool)> = Vec::new();
        for view in self.roster.views() {
            let live = state(view, now) == GrantState::Live;
            match profiles.last_mut() {
                // Views are sorted by profile.
                Some((profile, all)) if *profile == view.name().profile => *all &= live,
                _ => profiles.push((view.name().profile.clone(), live)),
            }
        }
        profiles.extend(self.roster.without_grants().iter().map(|name| (name.clone(), true)));
        profiles
    }

    /// Lines for people: what there is to note, one for each dependency, and one for each grant,
    /// with its resource written like this. Of more than 1,000 grants, those that are not well
    /// come first, and the last line says how many were left out.
    #[must_use]
    pub fn lines(&self, resource_names: &ResourceNames) -> Vec<String> {
        let now = self.clock.now();
        let line = |view: &View| {
            view.with_status(|status| {
                let state = status.state(now, view.margin());
                let left = status.life.map_or(0, |life| life.left(now).as_secs());
                let fault = match &status.last_fault {
                    Some(fault) => format!(", {fault}"),
                    None => String::new(),
                };
                let GrantName { profile, resource } = view.name();
                let resource = resource_names.write(resource);
                let (state, refresh) = (state.as_str(), status.refresh.as_str());
                format!("profiles/{profile}/grants/{resource}: {state}, {left} s left, refresh {refresh}{fault}")
            })
        };
        let views = self.roster.views();
        let mut shown: Vec<_> = views.iter().collect();
        if views.len() > MOST_LINES {
            shown.sort_by_key(|view| {
                state(view, now) == GrantState::Live
                    && view.with_status(|status| status.last_fault.is_none())
            });
        }
        let mut lines: Vec<_> = self.notes.iter().filter_map(|note| (note.0)()).collect();
        lines.extend(self.dependencies.iter().map(|it| it.line(now)));
        lines.extend(shown.into_iter().take(MOST_LINES).map(line));
        if views.len() > MOST_LINES {
            let left_out = views.len() - MOST_LINES;
            lines.push(format!("and {left_out} more; grantmint grants lists them all"));
        }
        lines
    }

    /// Changes of any grant or dependency from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let dependencies = self.dependencies.iter().map(|it| it.changes()).collect();
        Changes { grants: self.roster.changes(), dependencies }
    }

    /// Waits until something reported here may have changed: a grant's or a dependency's state,
    /// an end of life, the gate's timeout.
    pub async fn changed(&self, changes: &mut Changes) {
        let wait = self.next_by_time();
        tokio::select! {
            _ = changes.grants.changed() => {}
            () = any_changed(&mut changes.dependencies) => {}
            () = sleep(wait) => {}
        }
    }

    fn next_by_time(&self) -> Duration {
        let now = self.clock.now();
        let ends = next_end_of_life(self.roster.views(), now);
        let gate = (!self.gate_is_open()).then(|| self.gate_opens.since(now.boot));
        ends.into_iter().chain(gate).min().unwrap_or(GATE_TIMEOUT)
    }
}

/// Waits until one of these changes; for ever where there is none.
async fn any_changed(dependencies: &mut [watch::Receiver<()>]) {
    let mut waits: Vec<_> = dependencies.iter_mut().map(|it| it.changed().boxed()).collect();
    while !waits.is_empty() {
        let (changed, _, others) = select_all(waits).await;
        if changed.is_ok() {
            return;
        }
        // That one will never change again.
        waits = others;
    }
    pending::<()>().await;
}

fn state(view: &View, now: Anchor) -> GrantState {
    view.with_status(|status| status.state(now, view.margin()))
}

/// How long until the first of these that are live ceases to be; never zero.
#[must_use]
pub fn next_end_of_life(views: &[View], now: Anchor) -> Option<Duration> {
    let left = |view: &View| {
        let life = view.with_status(|status| status.life)?;
        let left = life.left(now).saturating_sub(view.margin());
        (!left.is_zero()).then_some(left + Duration::from_millis(1))
    };
    views.iter().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::{clock::WallTime, drain::drain, grant::table::Table};

    #[derive(Debug, Default)]
    struct Keys {
        have_arrived: AtomicBool,
        changes: watch::Sender<()>,
    }

    impl Keys {
        fn arrive(&self) {
            self.have_arrived.store(true, Ordering::Relaxed);
            self.changes.send_replace(());
        }
    }

    impl Dependency for Keys {
        fn has_arrived(&self) -> bool {
            self.have_arrived.load(Ordering::Relaxed)
        }

        fn line(&self, _: Anchor) -> String {
            "keys: waiting".to_owned()
        }

        fn changes(&self) -> watch::Receiver<()> {
            self.changes.subscribe()
        }
    }

    /// A replica that starts now, without grants.
    fn depending_on(dependencies: &[&Arc<Keys>]) -> Ready {
        let roster = Table::<()>::default().roster();
        let clock = Clock::simulated(WallTime::from_unix_seconds(0)).0;
        let dependencies = dependencies.iter().map(|it| Arc::clone(it) as Arc<dyn Dependency>);
        Ready::new(roster, clock, drain().1).depending_on(dependencies.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_opens_when_each_dependency_has_arrived() {
        let (first, second) = (Arc::<Keys>::default(), Arc::<Keys>::default());
        let ready = depending_on(&[&first, &second]);
        let mut changes = ready.changes();
        assert_eq!(ready.lines(&ResourceNames::default()), ["keys: waiting", "keys: waiting"]);
        assert!(!ready.is_ready());
        first.arrive();
        ready.changed(&mut changes).await;
        assert!(!ready.is_ready());
        second.arrive();
        let start = Instant::now();
        ready.changed(&mut changes).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "the change is noticed");
        assert!(ready.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_opens_after_a_minute_without_a_dependency() {
        let keys = Arc::default();
        let ready = depending_on(&[&keys]);
        let mut changes = ready.changes();
        let start = Instant::now();
        while !ready.is_ready() {
            timeout(GATE_TIMEOUT * 2, ready.changed(&mut changes)).await.unwrap();
        }
        assert_eq!(start.elapsed(), GATE_TIMEOUT);
    }
}
