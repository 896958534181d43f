//! All checks, and how they run: in parallel, each in its own task.
//!
//! To add a check, write a function that returns its rows, and add a row to [`CHECKS`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::{
    Context, audit, files, issuers, listeners, machine, profiles,
    progress::Progress,
    row::{Row, Subject},
    tls, traces,
};

/// A group of checks that run one after another.
struct Check {
    /// The group of the row that is shown if it is skipped.
    group: &'static str,
    /// Its name for the progress display.
    name: &'static str,
    /// Whether it sends anything to another host.
    is_online: bool,
    run: fn(Arc<Context>) -> BoxFuture<'static, Vec<Row>>,
}

/// All checks, in the order of the report.
const CHECKS: &[Check] = &[
    local("files", "modes", |context| Box::pin(async move { files::check(&context) })),
    local("profiles", "keys", |context| Box::pin(async move { profiles::keys(&context) })),
    online("profiles", "grants", |context| {
        Box::pin(async move { profiles::upstreams(&context).await })
    }),
    local("tls", "certificates", |context| Box::pin(async move { tls::certificates(&context) })),
    online("tls", "Workload API", |context| {
        Box::pin(async move { tls::workload_api(&context).await })
    }),
    online("issuers", "keys", |context| Box::pin(async move { issuers::check(&context).await })),
    online("traces", "collector", |context| Box::pin(async move { traces::check(&context).await })),
    local("audit", "log", |context| Box::pin(async move { audit::check(&context) })),
    local("listeners", "addresses", |context| {
        Box::pin(async move { listeners::check(&context).await })
    }),
    local("machine", "limits", |context| Box::pin(async move { machine::check(&context) })),
];

type Run = fn(Arc<Context>) -> BoxFuture<'static, Vec<Row>>;

const fn local(group: &'static str, name: &'static str, run: Run) -> Check {
    Check { group, name, is_online: false, run }
}

const fn online(group: &'static str, name: &'static str, run: Run) -> Check {
    Check { group, name, is_online: true, run }
}

/// Runs all checks, and returns their rows in order.
pub(super) async fn run(context: &Arc<Context>, offline: bool, json: bool) -> Vec<Row> {
    let progress = Progress::new(CHECKS.len(), json);
    let mut tasks = JoinSet::new();
    let mut results: Vec<Vec<Row>> = CHECKS.iter().map(Check::not_run).collect();
    for (index, check) in CHECKS.iter().enumerate() {
        if check.is_online && offline {
            progress.done();
            results[index] = check.skipped();
            continue;
        }
        progress.started(check.name);
        let run = (check.run)(Arc::clone(context));
        let progress = progress.clone();
        tasks.spawn(async move {
            let rows = run.await;
            progress.finished(check.name);
            (index, rows)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, rows)) = joined
            && let Some(result) = results.get_mut(index)
        {
            *result = rows;
        }
    }
    results.into_iter().flatten().collect()
}

impl Check {
    /// The row if its task panics.
    fn not_run(&self) -> Vec<Row> {
        let fix = "a bug: report it with the output above";
        vec![Subject::new(self.group, self.name).failed("the check did not finish", fix)]
    }

    fn skipped(&self) -> Vec<Row> {
        vec![Subject::new(self.group, self.name).skipped("not tried: --offline")]
    }
}
