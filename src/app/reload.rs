//! Applies changes of the configuration file, and of the files that it names, without a restart.
//! Each part is applied separately, so that an error in one never blocks another.

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
    telemetry::{
        Metrics, ReloadMetrics,
        trace::{Context, Rate, Span, Tracer, within},
    },
};

/// How often files are checked for changes, so that a change takes effect within 5 s.
const POLL: Duration = Duration::from_secs(4);

/// The pause after a first failure: files are written one after the other, so that two that do not
/// match now may match soon.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The pause after further failures without a change: the cause may be elsewhere.
const RETRY: Duration = Duration::from_secs(30);

/// Applies a part that was read: replaces the current value, or changes nothing.
pub(super) type Change = BoxFuture<'static, Result<(), String>>;

/// A part of the configuration that is read and replaced separately.
pub(super) trait Part: Send + Sync {
    /// The part's name in logs and metrics.
    fn name(&self) -> &str;

    /// Whether the setting with this path belongs to the part.
    fn has(&self, setting: &str) -> bool;

    /// Whether the part depends on the setting with this path, which belongs to another part.
    fn depends_on(&self, _setting: &str) -> bool {
        false
    }

    /// Reads the part from the text of `file`, and from the files that it names. May block.
    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>);
}

/// Watches the configuration file and the files that it names.
pub(super) struct Reload {
    path: PathBuf,
    /// The last valid TOML text of the file.
    text: watch::Sender<ConfigText>,
    /// The values at the start: settings that belong to no part keep them.
    started: Arc<Values>,
    parts: Vec<Watched>,
    file: ReloadStatus,
    /// The number of the last request to check immediately.
    requests: watch::Receiver<u64>,
    /// The last request for which the file has been read.
    read: watch::Sender<u64>,
}

/// A text of the configuration file.
#[derive(Clone)]
struct ConfigText {
    text: Arc<str>,
    values: Arc<Values>,
}

/// A part and its last read.
struct Watched {
    part: Arc<dyn Part>,
    file: String,
    text: ConfigText,
    started: Arc<Values>,
    files: Followed,
    status: ReloadStatus,
    /// The last request that has been finished.
    finished: watch::Sender<u64>,
}

/// Where reloads are reported.
pub(super) struct Reports<'a> {
    pub(super) metrics: &'a Metrics,
    /// None without `[audit]`.
    pub(super) audit: Option<&'a Audit>,
    pub(super) tracer: &'a Tracer,
}

/// The state of a part or of the file, and where it is reported.
struct ReloadStatus {
    state: State,
    metrics: ReloadMetrics,
    /// None without `[audit]`.
    audit: Option<Audit>,
    tracer: Tracer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// The first read failed, perhaps in the middle of a change.
    FailedOnce {
        again: Instant,
    },
    /// Reading failed for this reason.
    Failed {
        reason: String,
        again: Instant,
    },
}

impl Reload {
    /// Watches `file` and these parts, with the files that each was read from. A higher number in
    /// `requests` makes all of them check immediately.
    pub(super) fn new(
        file: &ConfigFile,
        parts: Vec<(Arc<dyn Part>, Followed)>,
        requests: watch::Receiver<u64>,
        reports: &Reports<'_>,
    ) -> Self {
        let status = |name: &str| {
            let (metrics, audit) = (reports.metrics.reload(name), reports.audit.cloned());
            ReloadStatus { state: State::Good, metrics, audit, tracer: reports.tracer.clone() }
        };
        let started = Arc::new(Values::of(&file.text).unwrap_or_default());
        let text = ConfigText { text: Arc::clone(&file.text), values: Arc::clone(&started) };
        let parts = parts.into_iter().map(|(part, files)| {
            let status = status(part.name());
            let (file, started) = (file.path.display().to_string(), Arc::clone(&started));
            let finished = watch::Sender::new(0);
            Watched { part, file, text: text.clone(), started, files, status, finished }
        });
        Self {
            path: file.path.clone(),
            parts: parts.collect(),
            text: watch::Sender::new(text),
            started,
            file: status("configuration"),
            requests,
            read: watch::Sender::new(0),
        }
    }

    /// The last request that the file, and each part, has finished.
    pub(super) fn finished(&self) -> Vec<watch::Receiver<u64>> {
        let parts = self.parts.iter().map(|part| part.finished.subscribe());
        [self.read.subscribe()].into_iter().chain(parts).collect()
    }

    /// Applies changes until aborted. Each part has its own task: one that waits for an upstream
    /// delays no other.
    pub(super) async fn run(mut self) {
        let mut tasks = JoinSet::new();
        let parts: Vec<_> = self.parts.iter().map(|it| Arc::clone(&it.part)).collect();
        for part in self.parts.drain(..) {
            tasks.spawn(part.run(self.text.subscribe(), self.read.subscribe()));
        }
        loop {
            tokio::select! {
                () = sleep_until(self.file.next_check()) => {}
                Ok(()) = self.requests.changed() => {}
                // No task ends unless it is aborted.
                Some(_) = tasks.join_next() => return,
            }
            let request = *self.requests.borrow_and_update();
            self.read_file(&parts).await;
            self.read.send_if_modified(|read| std::mem::replace(read, request) != request);
        }
    }

    /// Takes the file's text if it has changed and is TOML.
    async fn read_file(&mut self, parts: &[Arc<dyn Part>]) {
        let path = self.path.clone();
        let read = spawn_blocking(move || {
            let text = settings::read_again(&path).map_err(|problems| problems.to_string())?;
            let values = Values::of(&text).ok_or("is not TOML")?;
            Ok::<_, String>((text, values))
        });
        // Fails only if the runtime is shut down.
        let Ok(read) = read.await else { return };
        let (text, values) = match read {
            Ok(read) => read,
            Err(reason) => return self.file.failed("configuration", reason),
        };
        if *text == *self.text.borrow().text {
            return self.file.good("configuration", false);
        }
        let latest = ConfigText { text: text.into(), values: Arc::new(values) };
        let previous = self.text.send_replace(latest.clone());
        self.file.good("configuration", true);
        self.log_restart_settings(&previous, &latest, parts);
    }

    /// Logs the changed settings that need a restart.
    fn log_restart_settings(
        &self,
        previous: &ConfigText,
        latest: &ConfigText,
        parts: &[Arc<dyn Part>],
    ) {
        let of_no_part = |setting: &&str| !parts.iter().any(|part| part.has(setting));
        let mut settings: Vec<_> =
            self.started.changed(&latest.values).filter(of_no_part).collect();
        for part in parts.iter().filter(|part| is_held_back(&***part, &self.started, latest)) {
            settings.extend(previous.values.changed(&latest.values).filter(|it| part.has(it)));
        }
        settings.sort_unstable();
        if !settings.is_empty() {
            let settings = settings.join(", ");
            tracing::warn!(settings, "changed settings take effect at the next restart");
        }
    }
}

/// Whether a part must not be read from this text: it depends on a changed setting that needs a
/// restart.
fn is_held_back(part: &dyn Part, started: &Values, latest: &ConfigText) -> bool {
    started.changed(&latest.values).any(|it| !part.has(it) && part.depends_on(it))
}

impl Watched {
    async fn run(
        mut self,
        mut texts: watch::Receiver<ConfigText>,
        mut requests: watch::Receiver<u64>,
    ) {
        loop {
            tokio::select! {
                () = sleep_until(self.status.next_check()) => {}
                Ok(()) = texts.changed() => {}
                Ok(()) = requests.changed() => {}
            }
            let request = *requests.borrow_and_update();
            let latest = texts.borrow_and_update().clone();
            self.check(&latest).await;
            self.finished.send_replace(request);
        }
    }

    /// Reads the part if it changed, and applies it.
    async fn check(&mut self, latest: &ConfigText) {
        let mut changed = false;
        if !Arc::ptr_eq(&self.text.text, &latest.text)
            && !is_held_back(&*self.part, &self.started, latest)
        {
            changed = self.text.values.changed(&latest.values).any(|it| self.part.has(it));
            self.text = latest.clone();
        }
        let (part, text) = (Arc::clone(&self.part), Arc::clone(&self.text.text));
        let (followed, file) = (self.files.clone(), self.file.clone());
        let due = self.status.again().is_some_and(|again| again <= Instant::now());
        let read = spawn_blocking(move || {
            let changed = changed || followed.has_changed();
            (changed || due).then(|| (changed, part.read(&file, &text)))
        });
        let Ok(Some((changed, (files, read)))) = read.await else { return };
        if changed {
            self.status.forget();
        }
        // Rare, so that a small share would miss it.
        let mut span = self.status.tracer.root(Rate::Always, "reload");
        let context = span.as_ref().map(Span::context);
        let done = match read {
            Ok(change) => within(context.clone(), change).await,
            Err(reason) => Err(reason),
        };
        if let Some(span) = &mut span {
            span.set("grantmint.reload.what", self.part.name().to_owned());
            if done.is_err() {
                span.fail("reload_failed");
            }
        }
        let _entered = context.as_ref().map(Context::enter);
        match done {
            Ok(()) => {
                self.files = files;
                self.status.good(self.part.name(), true);
            }
            Err(reason) => {
                // The files of the last valid version are still followed.
                self.files.extend(files);
                self.status.failed(self.part.name(), reason);
            }
        }
    }
}

impl ReloadStatus {
    fn next_check(&self) -> Instant {
        let poll = Instant::now() + POLL;
        self.again().map_or(poll, |again| again.min(poll))
    }

    /// When to retry, even without a change.
    fn again(&self) -> Option<Instant> {
        match self.state {
            State::Good => None,
            State::FailedOnce { again } | State::Failed { again, .. } => Some(again),
        }
    }

    /// The files have changed, so their new content may fail once without a report.
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
            tracing::info!(what, "the file matches the loaded version again");
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
            State::Good => State::FailedOnce { again: now + FIRST_RETRY },
            State::Failed { reason: known, .. } if *known == reason => {
                self.metrics.failed();
                State::Failed { reason, again: now + RETRY }
            }
            State::FailedOnce { .. } | State::Failed { .. } => {
                self.metrics.failed();
                self.metrics.failing(true);
                self.record(what, Outcome::Failed);
                tracing::error!(what, reason, "reload failed; keeping the previous version");
                State::Failed { reason, again: now + RETRY }
            }
        };
    }
}
