//! Readiness of this replica and the state of its grants, as reported by the admin pages and gRPC
//! health.

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

/// The maximum number of grants listed.
const MAX_LINES: usize = 1_000;

/// The start gate opens after this, whatever the upstream reports.
const GATE_TIMEOUT: Duration = Duration::from_secs(60);

/// After a change, further ones are collected for this long per grant. A report then reads every
/// grant, which takes less than a hundredth of this time.
const COLLECTED: Duration = Duration::from_micros(20);

/// Something besides grants that this replica needs, such as keys that are fetched. The start gate
/// waits for it, and `/readyz` shows a line about it.
pub trait Dependency: fmt::Debug + Send + Sync {
    /// Whether it is available. Polled until the gate has opened.
    fn has_arrived(&self) -> bool;

    /// Its state at this time: one line, without secrets.
    fn line(&self, now: Anchor) -> String;

    /// Notifies of each change from now on.
    fn changes(&self) -> watch::Receiver<()>;
}

/// Notifies of changes in what [`Ready`] reports.
#[derive(Debug)]
pub struct Changes {
    grants: watch::Receiver<()>,
    dependencies: Vec<watch::Receiver<()>>,
}

/// The readiness of this replica.
#[derive(Debug)]
pub struct Ready {
    roster: Roster,
    dependencies: Vec<Arc<dyn Dependency>>,
    clock: Clock,
    drain: Drain,
    gate_opens: BootTime,
    /// Notes for operators, besides the grants.
    notes: Vec<Note>,
    /// Never closes again: an upstream outage makes calls fail, not replicas unready.
    gate_open: AtomicBool,
}

/// A note for operators, when there is one.
struct Note(Box<dyn Fn() -> Option<String> + Send + Sync>);

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Note")
    }
}

impl Ready {
    /// The readiness of a replica that is starting.
    #[must_use]
    pub fn new(roster: Roster, clock: Clock, drain: Drain) -> Self {
        let gate_opens = clock.now().boot + GATE_TIMEOUT;
        let gate_open = AtomicBool::new(false);
        let dependencies = Vec::new();
        Self { roster, dependencies, clock, drain, gate_opens, notes: Vec::new(), gate_open }
    }

    /// Adds dependencies: the gate waits for them, and each has a line.
    #[must_use]
    pub fn depending_on(mut self, dependencies: Vec<Arc<dyn Dependency>>) -> Self {
        self.dependencies.extend(dependencies);
        self
    }

    /// Adds a line before those of the grants, shown whenever `note` returns one.
    #[must_use]
    pub fn noting(mut self, note: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.notes.push(Note(Box::new(note)));
        self
    }

    /// Whether this replica should receive calls.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gate_is_open() && !self.drain.reached(Phase::Leaving)
    }

    fn gate_is_open(&self) -> bool {
        if self.gate_open.load(Ordering::Relaxed) {
            return true;
        }
        let resolved =
            |view: &View| view.with_status(|status| status.life.is_some() || status.not_found());
        let has_all = || {
            self.dependencies.iter().all(|it| it.has_arrived())
                && self.roster.views().iter().all(resolved)
        };
        let open = self.clock.now().boot >= self.gate_opens || has_all();
        if open {
            self.gate_open.store(true, Ordering::Relaxed);
        }
        open
    }

    /// Each profile with whether all its resources have a live grant: computed, never latched. A
    /// profile without grants counts as live, since its key signed a verified token at start.
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

    /// Notes, and a line for each dependency.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let now = self.clock.now();
        let notes = self.notes.iter().filter_map(|note| (note.0)());
        notes.chain(self.dependencies.iter().map(|it| it.line(now))).collect()
    }

    /// The phase of the shutdown in one lower-case word.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.drain.phase().as_str()
    }

    /// The lines of the page: notes, dependencies, and grants with their resources formatted by
    /// `resource_names`. Beyond 1,000 grants the unhealthy ones come first, and the last line
    /// counts the omitted ones.
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
        if views.len() > MAX_LINES {
            shown.sort_by_key(|view| {
                state(view, now) == GrantState::Live
                    && view.with_status(|status| status.last_fault.is_none())
            });
        }
        let mut lines = self.notes();
        lines.extend(shown.into_iter().take(MAX_LINES).map(line));
        if views.len() > MAX_LINES {
            let left_out = views.len() - MAX_LINES;
            lines.push(format!("and {left_out} more; grantmint grants lists them all"));
        }
        lines
    }

    /// One line without names: whether it is ready, and how many grants are in each state.
    #[must_use]
    pub fn summary(&self) -> String {
        let now = self.clock.now();
        let [mut live, mut expired, mut pending] = [0, 0, 0];
        for view in self.roster.views() {
            *match state(view, now) {
                GrantState::Live => &mut live,
                GrantState::Expired => &mut expired,
                GrantState::Pending => &mut pending,
            } += 1;
        }
        let word = if self.is_ready() { "ready" } else { "not ready" };
        format!("{word}; grants: {live} live, {expired} expired, {pending} pending")
    }

    /// Notifies of changes of any grant or dependency from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let dependencies = self.dependencies.iter().map(|it| it.changes()).collect();
        Changes { grants: self.roster.changes(), dependencies }
    }

    /// Waits until something reported here may have changed: the state of a grant or a dependency,
    /// a grant's end of life, or the gate's timeout. With many grants it also waits for further
    /// changes.
    pub async fn changed(&self, changes: &mut Changes) {
        let wait = self.next_by_time();
        tokio::select! {
            _ = changes.grants.changed() => {}
            () = any_changed(&mut changes.dependencies) => {}
            () = sleep(wait) => {}
        }
        collect_changes(self.roster.views().len()).await;
    }

    fn next_by_time(&self) -> Duration {
        let now = self.clock.now();
        let ends = next_end_of_life(self.roster.views(), now);
        let gate = (!self.gate_is_open()).then(|| self.gate_opens.since(now.boot));
        ends.into_iter().chain(gate).min().unwrap_or(GATE_TIMEOUT)
    }
}

/// Waits for further changes of this many grants. Otherwise, the more grants there are, the more
/// often each of them would be read.
pub async fn collect_changes(grants: usize) {
    let time = COLLECTED.saturating_mul(u32::try_from(grants).unwrap_or(u32::MAX));
    // Timers are no finer.
    if time >= Duration::from_millis(1) {
        sleep(time).await;
    }
}

/// Waits until one of these changes; forever if there are none.
async fn any_changed(dependencies: &mut [watch::Receiver<()>]) {
    let mut waits: Vec<_> = dependencies.iter_mut().map(|it| it.changed().boxed()).collect();
    while !waits.is_empty() {
        let (changed, _, others) = select_all(waits).await;
        if changed.is_ok() {
            return;
        }
        // This one will never change again.
        waits = others;
    }
    pending::<()>().await;
}

fn state(view: &View, now: Anchor) -> GrantState {
    view.with_status(|status| status.state(now, view.margin()))
}

/// The time until the first of the live grants reaches its end of life; never zero.
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
    use std::convert::Infallible;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::{
        clock::WallTime,
        drain::drain,
        grant::{Grant, Status, cell::Prepare, table::Table},
        name::Resource,
    };

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

    /// A starting replica without grants.
    fn depending_on(dependencies: &[&Arc<Keys>]) -> Ready {
        let roster = Table::<()>::default().roster();
        let clock = Clock::simulated(WallTime::from_unix_seconds(0)).0;
        let dependencies = dependencies.iter().map(|it| Arc::clone(it) as Arc<dyn Dependency>);
        Ready::new(roster, clock, drain().1).depending_on(dependencies.collect())
    }

    struct Unprepared;

    impl Prepare for Unprepared {
        type Ready = ();
        type Error = Infallible;

        fn prepare(&self, _: &Grant) -> Result<(), Infallible> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_many_grants_are_collected() {
        for (grants, collected) in [(1, 0), (1_000, 20)] {
            let mut table = Table::default();
            let profile = ProfileName::parse("live").unwrap();
            let mut publishers: Vec<_> = (0..grants)
                .map(|number| {
                    let resource = Resource::parse(&format!("{number:03}")).unwrap();
                    let name = GrantName { profile: profile.clone(), resource };
                    table.add(name, Duration::ZERO, Unprepared)
                })
                .collect();
            let clock = Clock::simulated(WallTime::from_unix_seconds(0)).0;
            let ready = Ready::new(table.roster(), clock, drain().1);
            let (mut changes, start) = (ready.changes(), Instant::now());
            publishers[0].report(Status { attempting: true, ..Status::unknown() });
            ready.changed(&mut changes).await;
            assert_eq!(start.elapsed(), Duration::from_millis(collected), "{grants}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gate_opens_once_all_dependencies_are_available() {
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
        assert_eq!(start.elapsed(), Duration::ZERO, "woken by the change");
        assert!(ready.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn gate_opens_after_its_timeout_without_a_dependency() {
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
