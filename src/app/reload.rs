//! Applies what changed in the configuration's file, and in the files that it names, without a
//! restart: part by part, so that a mistake in one never stops another.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep_until},
};

use crate::{
    audit::{Audit, Outcome},
    config::ConfigFile,
    settings::{self, Followed, Values},
    telemetry::{Metrics, ReloadMetrics},
};

/// How often files are compared with what they held: often enough that a change is in force
/// within 5 s.
const POLL: Duration = Duration::from_secs(4);

/// After a first failure: two files are never written at once, so that what does not match
/// may match in a moment.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// After further failures, where nothing changes: what failed may be elsewhere.
const RETRY: Duration = Duration::from_secs(30);

/// What is to be done for a part that was read: replaces what is in force, or changes nothing.
pub(super) type Change = BoxFuture<'static, Result<(), String>>;

/// A part of the configuration that is read and replaced by itself.
pub(super) trait Part: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &str;

    /// Whether the setting of this path is one of its own.
    fn has(&self, setting: &str) -> bool;

    /// Whether it would be read differently if the setting of this path, which is not its own,
    /// were changed.
    fn depends_on(&self, _setting: &str) -> bool {
        false
    }

    /// Reads it from the text of `file`, and from the files that are named there. May block.
    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>);
}

/// Watches the configuration's file and what it names.
pub(super) struct Reload {
    path: PathBuf,
    /// The last text of the file that was TOML.
    text: watch::Sender<Text>,
    /// What the server started with: settings that no part has keep these values.
    started: Arc<Values>,
    parts: Vec<Watched>,
    file: Watch,
    asked: watch::Sender<()>,
}

/// A text of the configuration's file.
#[derive(Clone)]
struct Text {
    text: Arc<str>,
    values: Arc<Values>,
}

/// A part and how it was last read.
struct Watched {
    part: Arc<dyn Part>,
    file: String,
    text: Text,
    started: Arc<Values>,
    files: Followed,
    watch: Watch,
}

/// Whether something was read as it is now.
struct Watch {
    state: State,
    metrics: ReloadMetrics,
    /// None where nothing is recorded.
    audit: Option<Audit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// It failed once, and may be about to change.
    Doubted {
        again: Instant,
    },
    /// It failed for this reason.
    Failed {
        reason: String,
        again: Instant,
    },
}

impl Reload {
    /// Follows `file` and these parts, with the files that each was read from. What is sent to
    /// `asked` makes all of them look at once.
    pub(super) fn new(
        file: &ConfigFile,
        parts: Vec<(Arc<dyn Part>, Followed)>,
        asked: watch::Sender<()>,
        metrics: &Metrics,
        audit: Option<&Audit>,
    ) -> Self {
        let watch = |name: &str| {
            let (metrics, audit) = (metrics.reload(name), audit.cloned());
            Watch { state: State::Good, metrics, audit }
        };
        let started = Arc::new(Values::of(&file.text).unwrap_or_default());
        let text = Text { text: Arc::clone(&file.text), values: Arc::clone(&started) };
        let parts = parts.into_iter().map(|(part, files)| {
            let watch = watch(part.name());
            let (file, started) = (file.path.display().to_string(), Arc::clone(&started));
            Watched { part, file, text: text.clone(), started, files, watch }
        });
        Self {
            path: file.path.clone(),
            parts: parts.collect(),
            text: watch::Sender::new(text),
            started,
            file: watch("configuration"),
            asked,
        }
    }

    /// Applies changes for ever. Each part has a task of its own: one that waits for an upstream
    /// holds up no other.
    pub(super) async fn run(mut self) {
        let mut tasks = JoinSet::new();
        let parts: Vec<_> = self.parts.iter().map(|it| Arc::clone(&it.part)).collect();
        for part in self.parts.drain(..) {
            tasks.spawn(part.run(self.text.subscribe(), self.asked.subscribe()));
        }
        let mut asked = self.asked.subscribe();
        loop {
            tokio::select! {
                () = sleep_until(self.file.next_look()) => {}
                Ok(()) = asked.changed() => {}
                // None ends before it is aborted.
                Some(_) = tasks.join_next() => return,
            }
            self.read_file(&parts).await;
        }
    }

    /// Takes the file's text, if it is another and TOML.
    async fn read_file(&mut self, parts: &[Arc<dyn Part>]) {
        let path = self.path.clone();
        let read = spawn_blocking(move || {
            let text = settings::read_again(&path).map_err(|problems| problems.to_string())?;
            let values = Values::of(&text).ok_or("is not TOML")?;
            Ok::<_, String>((text, values))
        });
        // It runs to its end unless the runtime is shut down.
        let Ok(read) = read.await else { return };
        let (text, values) = match read {
            Ok(read) => read,
            Err(reason) => return self.file.failed("configuration", reason),
        };
        if *text == *self.text.borrow().text {
            return self.file.good("configuration", false);
        }
        let latest = Text { text: text.into(), values: Arc::new(values) };
        let former = self.text.send_replace(latest.clone());
        self.file.good("configuration", true);
        self.name_what_needs_a_restart(&former, &latest, parts);
    }

    fn name_what_needs_a_restart(&self, former: &Text, latest: &Text, parts: &[Arc<dyn Part>]) {
        let of_no_part = |setting: &&str| !parts.iter().any(|part| part.has(setting));
        let mut settings: Vec<_> =
            self.started.changed(&latest.values).filter(of_no_part).collect();
        for part in parts.iter().filter(|part| is_held_back(&***part, &self.started, latest)) {
            settings.extend(former.values.changed(&latest.values).filter(|it| part.has(it)));
        }
        settings.sort_unstable();
        if !settings.is_empty() {
            let settings = settings.join(", ");
            tracing::warn!(settings, "changed settings take effect at the next restart");
        }
    }
}

/// Whether a part cannot be read from this text: with another setting that takes a restart, a
/// change of its own may make no sense yet.
fn is_held_back(part: &dyn Part, started: &Values, latest: &Text) -> bool {
    started.changed(&latest.values).any(|it| !part.has(it) && part.depends_on(it))
}

impl Watched {
    async fn run(mut self, mut texts: watch::Receiver<Text>, mut asked: watch::Receiver<()>) {
        loop {
            tokio::select! {
                () = sleep_until(self.watch.next_look()) => {}
                Ok(()) = texts.changed() => {}
                Ok(()) = asked.changed() => {}
            }
            let latest = texts.borrow_and_update().clone();
            self.look(&latest).await;
        }
    }

    /// Reads it if it changed, and replaces what is in force.
    async fn look(&mut self, latest: &Text) {
        let mut changed = false;
        if !Arc::ptr_eq(&self.text.text, &latest.text)
            && !is_held_back(&*self.part, &self.started, latest)
        {
            changed = self.text.values.changed(&latest.values).any(|it| self.part.has(it));
            self.text = latest.clone();
        }
        let (part, text) = (Arc::clone(&self.part), Arc::clone(&self.text.text));
        let (followed, file) = (self.files.clone(), self.file.clone());
        let due = self.watch.again().is_some_and(|again| again <= Instant::now());
        let read = spawn_blocking(move || {
            let changed = changed || followed.has_changed();
            (changed || due).then(|| (changed, part.read(&file, &text)))
        });
        let Ok(Some((changed, (files, read)))) = read.await else { return };
        if changed {
            self.watch.forget();
        }
        let done = match read {
            Ok(change) => change.await,
            Err(reason) => Err(reason),
        };
        match done {
            Ok(()) => {
                self.files = files;
                self.watch.good(self.part.name(), true);
            }
            Err(reason) => {
                // Those that the last good text names are still followed.
                self.files.extend(files);
                self.watch.failed(self.part.name(), reason);
            }
        }
    }
}

impl Watch {
    fn next_look(&self) -> Instant {
        let poll = Instant::now() + POLL;
        self.again().map_or(poll, |again| again.min(poll))
    }

    /// When to look again, whether anything changes or not.
    fn again(&self) -> Option<Instant> {
        match self.state {
            State::Good => None,
            State::Doubted { again } | State::Failed { again, .. } => Some(again),
        }
    }

    /// The files have changed: their new content gets a second look of its own.
    fn forget(&mut self) {
        self.state = State::Good;
    }

    fn good(&mut self, what: &str, reloaded: bool) {
        let before = std::mem::replace(&mut self.state, State::Good);
        self.metrics.failing(false);
        if reloaded {
            self.metrics.reloaded();
            self.record(what, Outcome::Ok);
            tracing::info!(what, "reloaded");
        } else if let State::Failed { .. } = before {
            tracing::info!(what, "the file holds again what was loaded");
        }
    }

    fn record(&self, what: &str, outcome: Outcome) {
        if let Some(audit) = &self.audit {
            audit.reloaded(what, outcome);
        }
    }

    fn failed(&mut self, what: &str, reason: String) {
        let now = Instant::now();
        self.state = match &self.state {
            State::Good => State::Doubted { again: now + SECOND_LOOK },
            State::Failed { reason: known, .. } if *known == reason => {
                self.metrics.failed();
                State::Failed { reason, again: now + RETRY }
            }
            State::Doubted { .. } | State::Failed { .. } => {
                self.metrics.failed();
                self.metrics.failing(true);
                self.record(what, Outcome::Failed);
                tracing::error!(what, reason, "a reload failed; what was loaded before stays");
                State::Failed { reason, again: now + RETRY }
            }
        };
    }
}
