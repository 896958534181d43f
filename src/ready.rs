//! Whether this replica is ready, and how its grants fare: what admin and gRPC health both
//! tell.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

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

/// How often the gate looks for what it waits for beside grants.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a replica needs beside grants before it is ready for the first time.
pub trait Awaited: fmt::Debug + Send + Sync {
    /// Whether it is there, or was.
    fn is_there(&self) -> bool;

    /// How it fares, in a line for people.
    fn line(&self) -> String;
}

/// Whether this replica is ready.
#[derive(Debug)]
pub struct Ready {
    roster: Roster,
    clock: Clock,
    drain: Drain,
    gate_opens: BootTime,
    /// What an operator should know beside the grants.
    note: Option<&'static str>,
    awaited: Vec<Box<dyn Awaited>>,
    /// Never closes again: an outage of the upstream makes calls fail, not replicas unready.
    gate_open: AtomicBool,
}

impl Ready {
    /// The readiness of a replica that starts now.
    #[must_use]
    pub fn new(roster: Roster, clock: Clock, drain: Drain) -> Self {
        let gate_opens = clock.now().boot + GATE_TIMEOUT;
        let gate_open = AtomicBool::new(false);
        let (note, awaited) = <_>::default();
        Self { roster, clock, drain, gate_opens, note, awaited, gate_open }
    }

    /// The same with a line for people before those of the grants.
    #[must_use]
    pub fn noting(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The same, ready only when these are there too.
    #[must_use]
    pub fn awaiting(mut self, awaited: impl IntoIterator<Item = Box<dyn Awaited>>) -> Self {
        self.awaited.extend(awaited);
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
        let all_there = || {
            self.roster.views().iter().all(answered) && self.awaited.iter().all(|it| it.is_there())
        };
        let open = self.clock.now().boot >= self.gate_opens || all_there();
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

    /// What there is to note, a line for each thing that is awaited, and a line for each grant, for people, with its resource written
    /// like this. Of more than 1,000, those that are not well come
    /// first, and the last line says how many were left out.
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
        let note = self.note.map(str::to_owned).into_iter();
        let note = note.chain(self.awaited.iter().map(|it| it.line()));
        let mut lines: Vec<_> = note.chain(shown.into_iter().take(MOST_LINES).map(line)).collect();
        if views.len() > MOST_LINES {
            let left_out = views.len() - MOST_LINES;
            lines.push(format!("and {left_out} more; grantmint grants lists them all"));
        }
        lines
    }

    /// Changes of any grant from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.roster.changes()
    }

    /// Waits until something told here may have changed: a grant's state, an end of life, the
    /// gate's timeout.
    pub async fn changed(&self, changes: &mut watch::Receiver<()>) {
        let wait = self.next_by_time();
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(wait) => {}
        }
    }

    fn next_by_time(&self) -> Duration {
        let now = self.clock.now();
        let ends = next_end_of_life(self.roster.views(), now);
        let gate = (!self.gate_is_open()).then(|| {
            let opens = self.gate_opens.since(now.boot);
            if self.awaited.is_empty() { opens } else { opens.min(LOOK_AGAIN) }
        });
        ends.into_iter().chain(gate).min().unwrap_or(GATE_TIMEOUT)
    }
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
