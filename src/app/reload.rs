//! Applies what changed in the configuration's file, and in the files that it names, without a
//! restart: part by part, so that a mistake in one never stops another.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
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
    text: Text,
    /// What is in force of all settings that no part has.
    in_force: Values,
    parts: Vec<Watched>,
    file: Watch,
    asked: Arc<Notify>,
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
    text: Text,
    files: Followed,
    watch: Watch,
}

/// Whether something was read as it is now.
struct Watch {
    state: State,
    metrics: ReloadMetrics,
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
    /// Follows `file` and these parts, with the files that each was read from.
    pub(super) fn new(
        file: &ConfigFile,
        parts: Vec<(Arc<dyn Part>, Followed)>,
        asked: Arc<Notify>,
        metrics: &Metrics,
    ) -> Self {
        let values = Values::of(&file.text).unwrap_or_default();
        let text = Text { text: Arc::clone(&file.text), values: Arc::new(values.clone()) };
        let parts = parts.into_iter().map(|(part, files)| {
            let watch = Watch { state: State::Good, metrics: metrics.reload(part.name()) };
            Watched { part, text: text.clone(), files, watch }
        });
        Self {
            path: file.path.clone(),
            parts: parts.collect(),
            text,
            in_force: values,
            file: Watch { state: State::Good, metrics: metrics.reload("configuration") },
            asked,
        }
    }

    /// Applies changes for ever.
    pub(super) async fn run(mut self) {
        let mut poll = Instant::now() + POLL;
        loop {
            let asked = tokio::select! {
                () = sleep_until(self.next_look(poll)) => false,
                () = self.asked.notified() => true,
            };
            if Instant::now() >= poll {
                poll = Instant::now() + POLL;
            }
            let reloaded = self.look().await;
            if asked {
                tracing::info!(parts = reloaded, "reloaded as told; what did not change stays");
            }
        }
    }

    fn next_look(&self, poll: Instant) -> Instant {
        let watches = self.parts.iter().map(|it| &it.watch).chain([&self.file]);
        watches.filter_map(Watch::again).min().map_or(poll, |again| again.min(poll))
    }

    /// Reads what changed. How many parts were replaced.
    async fn look(&mut self) -> usize {
        let is_another = self.read_file().await;
        let mut reloaded = 0;
        for part in &mut self.parts {
            reloaded += usize::from(part.look(&self.path, &self.text).await);
        }
        if is_another {
            self.name_what_needs_a_restart();
        }
        reloaded
    }

    /// Takes the file's text, if it is another and TOML. Whether it was.
    async fn read_file(&mut self) -> bool {
        let path = self.path.clone();
        let read = spawn_blocking(move || {
            let text = settings::read(&path).map_err(|problems| problems.to_string())?;
            let values = Values::of(&text).ok_or("is not TOML")?;
            Ok::<_, String>((text, values))
        });
        // It runs to its end unless the runtime is shut down.
        let Ok(read) = read.await else { return false };
        let (text, values) = match read {
            Ok(read) => read,
            Err(reason) => {
                self.file.failed("configuration", reason);
                return false;
            }
        };
        if *text == *self.text.text {
            self.file.good("configuration", false);
            return false;
        }
        self.text = Text { text: text.into(), values: Arc::new(values) };
        self.file.good("configuration", true);
        true
    }

    fn name_what_needs_a_restart(&self) {
        let of_no_part = |setting: &&str| !self.parts.iter().any(|it| it.part.has(setting));
        let of_no_part = self.in_force.changed(&self.text.values).filter(of_no_part);
        let waiting = self.parts.iter().flat_map(|it| it.waiting(&self.text));
        let mut settings: Vec<_> = of_no_part.chain(waiting).collect();
        settings.sort_unstable();
        if !settings.is_empty() {
            let settings = settings.join(", ");
            tracing::warn!(settings, "changed settings take effect at the next restart");
        }
    }
}

impl Watched {
    /// Its own settings that it does not take from this text.
    fn waiting<'a>(&'a self, latest: &'a Text) -> impl Iterator<Item = &'a str> {
        self.text.values.changed(&latest.values).filter(|it| self.part.has(it))
    }

    /// Reads it if it changed. Whether it was replaced.
    async fn look(&mut self, file: &Path, latest: &Text) -> bool {
        let mut changed = false;
        if !Arc::ptr_eq(&self.text.text, &latest.text) {
            let settings: Vec<_> = self.text.values.changed(&latest.values).collect();
            // With another setting that takes a restart, a change here may make no sense yet.
            if !settings.iter().any(|it| !self.part.has(it) && self.part.depends_on(it)) {
                changed = settings.iter().any(|it| self.part.has(it));
                self.text = latest.clone();
            }
        }
        let (part, text) = (Arc::clone(&self.part), Arc::clone(&self.text.text));
        let (followed, file) = (self.files.clone(), file.display().to_string());
        let due = self.watch.again().is_some_and(|again| again <= Instant::now());
        let read = spawn_blocking(move || {
            let changed = changed || followed.has_changed();
            (changed || due).then(|| (changed, part.read(&file, &text)))
        });
        let Ok(Some((changed, (files, read)))) = read.await else { return false };
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
                true
            }
            Err(reason) => {
                // Those that the last good text names are still followed.
                self.files.extend(files);
                self.watch.failed(self.part.name(), reason);
                false
            }
        }
    }
}

impl Watch {
    /// When to look again, whether anything changes or not.
    fn again(&self) -> Option<Instant> {
        match self.state {
            State::Good => None,
            State::Doubted { again } | State::Failed { again, .. } => Some(again),
        }
    }

    /// What failed is gone: what is there now has its own second look.
    fn forget(&mut self) {
        self.state = State::Good;
    }

    fn good(&mut self, what: &str, reloaded: bool) {
        let before = std::mem::replace(&mut self.state, State::Good);
        self.metrics.failing(false);
        if reloaded {
            self.metrics.reloaded();
            tracing::info!(what, "reloaded");
        } else if let State::Failed { .. } = before {
            tracing::info!(what, "what was loaded before is there again");
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
                tracing::error!(what, reason, "a reload failed; what was loaded before stays");
                State::Failed { reason, again: now + RETRY }
            }
        };
    }
}
