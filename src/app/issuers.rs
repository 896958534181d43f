//! The issuers of bearer tokens: their state for calls, the tasks that fetch their keys, and the
//! reload of their configuration.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::reload::{Change, Part};
use crate::{
    audit::Audit,
    auth::{
        bearer::{Bearers, Issuer, Issuers},
        callers::Callers,
        name::IssuerName,
    },
    clock::Clock,
    config::{self, Config},
    issuers::{self, Keeper, Source},
    ready::Dependency,
    settings::Followed,
    telemetry::Metrics,
};

/// Everything built for issuers.
pub(super) struct IssuersSide {
    pub(super) bearers: Bearers,
    pub(super) keepers: Vec<Keeper>,
    pub(super) parts: Vec<(Arc<dyn Part>, Followed)>,
    /// The dependencies of the start gate.
    pub(super) awaited: Vec<Arc<dyn Dependency>>,
}

impl IssuersSide {
    pub(super) fn build(
        config: &Config,
        callers: &Callers,
        clock: &Clock,
        metrics: &Metrics,
        audit: Option<Audit>,
    ) -> Self {
        let mut issuers = Issuers::default();
        let (mut keepers, mut parts, mut awaited) = (Vec::new(), Vec::new(), Vec::new());
        for config in &config.issuers {
            let own = config.source.issuer().map(str::to_owned);
            let audience = config.terms.audience.clone();
            let issuer = match config.info() {
                Some(known) => issuers.add(config.name.clone(), known),
                None => issuers.add_fetched(config.name.clone(), own, audience, clock),
            };
            let metrics = metrics.issuer_keys(config.name.as_str());
            let keeper = Keeper::new(&issuer, config.clone(), clock.clone(), metrics);
            let part = IssuerPart {
                title: format!("issuers.{}", config.name),
                name: config.name.clone(),
                issuer: Arc::clone(&issuer),
                configured: keeper.as_ref().map(Keeper::configured),
                clock: clock.clone(),
            };
            let followed = match &config.source {
                Source::File { followed, .. } => followed.clone(),
                Source::Url { .. } | Source::Kubernetes(_) => Followed::default(),
            };
            parts.push((Arc::new(part) as Arc<dyn Part>, followed));
            keepers.extend(keeper);
            awaited.push(issuer as Arc<dyn Dependency>);
        }
        let bearers = Bearers::new(issuers, callers.is_open(), clock.clone(), metrics, audit);
        Self { bearers, keepers, parts, awaited }
    }
}

/// `[issuers.NAME]`.
struct IssuerPart {
    title: String,
    name: IssuerName,
    issuer: Arc<Issuer>,
    /// None if the keys are in a file.
    configured: Option<watch::Sender<Arc<issuers::Config>>>,
    clock: Clock,
}

impl Part for IssuerPart {
    fn name(&self) -> &str {
        &self.title
    }

    fn has(&self, setting: &str) -> bool {
        setting.strip_prefix(&self.title).is_some_and(|rest| rest.starts_with('.'))
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let (config, followed) = config::issuers::reread(file, text, &|_| None, &self.name);
        let change = config.map_err(|problems| problems.to_string()).and_then(|config| {
            let issuer = Arc::clone(&self.issuer);
            match (config.info(), &self.configured) {
                (Some(known), None) => Ok(async move {
                    issuer.publish(known);
                    Ok(())
                }
                .boxed()),
                (None, Some(configured)) => {
                    let (configured, clock) = (configured.clone(), self.clock.clone());
                    Ok(async move {
                        // The new configuration takes effect only if its keys can be fetched.
                        let known = issuers::fetch(&config, &clock).await;
                        let known = known.map_err(|error| error.to_string())?;
                        configured.send_replace(Arc::new(config));
                        issuer.note_fetch(Ok(clock.now().boot));
                        issuer.publish(known);
                        Ok(())
                    }
                    .boxed())
                }
                _ => Err("changing between a file and a URL requires a restart".to_owned()),
            }
        });
        (followed, change)
    }
}
