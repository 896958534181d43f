//! The composition root: builds the write side and the read side from the configuration, binds
//! the listeners, spawns the tasks and shuts them down.

mod callers;
mod dependencies;
mod issuers;
mod keys;
mod parts;
mod profiles;
mod reload;
mod running;
pub mod selftest;
mod status;
mod supervision;
pub mod trial;

use std::{io, net::SocketAddr, sync::Arc};

use sha2::{Digest, Sha256};
use tokio::{sync::watch, task::JoinSet};

use self::{
    callers::callers_in_force,
    dependencies::{with_notes, workload_api},
    issuers::IssuersSide,
    keys::Key,
    profiles::WriteSide,
    reload::{Reload, Reports},
    supervision::{Reloads, Reporter, Supervision},
};
pub use self::{
    profiles::of_mint,
    running::{Ended, Request, Running, Stop},
};
use crate::{
    admin::{self, Admin},
    audit::{Audit, AuditError},
    clock::Clock,
    config::Config,
    drain::{Drain, Drainer, drain},
    egress::EgressError,
    listen::{Listen, unix::Unix},
    mint::{
        self,
        minter::{self, Minter, Supply},
    },
    name::ProfileName,
    otlp::{self, Exporter},
    ready::{Dependency, Ready},
    refresh::{jump::watch_for_jumps, keeper::Keeper},
    rpc::{Api, HealthReporter, Parts, layers::Layers, report_health},
    server::{self, BindError, Server, Transport},
    systemd::Systemd,
    telemetry::{
        Metrics, RecentProblems, ResourceNames,
        trace::{Spans, Tracer},
    },
    tls::{self, Tls, WorkloadApi},
    token::{
        PrepareError, Preparer, Speed,
        id::{NoRandomness, Serials},
        keyed_hash,
        pool::{Pool, Threads},
    },
};

/// Why a server failed to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No route to a profile's upstream.
    #[error("profile {profile}: {error}")]
    Upstream {
        /// The profile.
        profile: String,
        /// The cause.
        error: EgressError,
    },
    /// A profile's key signs no tokens that verify.
    #[error("profile {profile}: {error}")]
    Key {
        /// The profile.
        profile: String,
        /// The cause.
        error: PrepareError,
    },
    /// The call listener failed to bind.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin listener failed to bind.
    #[error("cannot listen on {address}: {error}")]
    BindAdmin {
        /// The address.
        address: Listen,
        /// The cause.
        error: io::Error,
    },
    /// The signing threads failed to start.
    #[error("cannot start the signing threads: {0}")]
    Threads(io::Error),
    /// The audit log failed to start.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// No randomness for token ids and jitter.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The built-in descriptor set is invalid.
    #[error("the built-in API descriptor is invalid: {0}")]
    Reflection(#[from] prost::DecodeError),
}

/// A server that is built and bound, but not yet running.
pub struct App {
    server: Server,
    admin: Admin,
    api: Layers<Api>,
    reporter: HealthReporter,
    ready: Arc<Ready>,
    keepers: Vec<Keeper<Preparer>>,
    issuers: Vec<crate::issuers::Keeper>,
    /// None if no profile has slow signatures.
    signing: Option<Threads>,
    /// The certificates whose expiry is watched, and its metrics.
    certificates: Option<(Arc<Tls>, Metrics)>,
    /// The settings of traces, the spans, and their metrics; none if traces are not exported.
    exported: Option<(otlp::Config, Spans, Metrics)>,
    /// None if the certificate is in files.
    workload_api: Option<Arc<WorkloadApi>>,
    jumps: watch::Sender<()>,
    clock: Clock,
    drainer: Drainer,
    drain: Drain,
    config: server::Config,
    /// None without a file to follow.
    reload: Option<Reload>,
    /// The number of the last request to reload.
    reload_requests: watch::Sender<u64>,
    /// None without a supervisor to notify.
    systemd: Option<Systemd>,
    /// None without `[audit]`.
    audit: Option<Audit>,
}

impl App {
    /// Builds the write side and the read side, and binds the listeners.
    pub async fn build(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let resource_names = shown_names(&config.admin);
        let metrics = Metrics::naming(resource_names.clone());
        metrics.started(clock.now().wall);
        let (drainer, drain) = drain();
        let of_metrics = drain.clone();
        metrics.drain_phase(move || of_metrics.phase() as u8);
        let (jumps, _) = watch::channel(());
        let (tracer, exported) = traced(config, &clock, &resource_names, &metrics);
        let WriteSide { grants, keepers, mut keys, budgets } =
            WriteSide::build(&config.profiles, &jumps, &metrics, &tracer, &clock)?;
        let roster = grants.roster();
        let audit = config.audit.as_ref();
        let audit = audit.map(|audit| Audit::start(audit, clock.clone(), &metrics)).transpose()?;
        let tls = config.tls.as_ref().map(|loaded| {
            parts::log_warnings(loaded.warnings.iter().cloned());
            Arc::new(Tls::new(loaded, clock.clone(), &metrics, audit.clone()))
        });
        let workload_api = workload_api(config, tls.as_ref(), &clock, &metrics, audit.as_ref());
        let callers = callers_in_force(config, &metrics);
        let IssuersSide { bearers, keepers: issuers, parts: issuer_parts, mut awaited } =
            IssuersSide::build(config, &callers, &clock, &metrics, audit.clone());
        awaited.extend(workload_api.iter().map(|it| Arc::clone(it) as Arc<dyn Dependency>));
        let ready = Ready::new(roster.clone(), clock.clone(), drain.clone()).depending_on(awaited);
        let ready = Arc::new(with_notes(ready, config, audit.clone()));
        let of_metrics = Arc::clone(&ready);
        metrics.ready(move || of_metrics.is_ready());
        let (minter, signing) = minting(config, &grants, &mut keys, &clock, &drain, &metrics)?;
        let minter = Arc::new(minter);
        let of_metrics = Arc::clone(&minter);
        metrics.waiting_calls(move || of_metrics.waiting_calls());
        let (api, reporter) = Api::new(&Parts {
            minter,
            roster,
            drain: drain.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            limits: config.limits.rpc,
        })?;

        let transport = tls.clone().map_or_else(|| config.server.plain(), Transport::Tls);
        let known = Arc::clone(&callers);
        let server =
            Server::bind(&config.server, transport, known, drain.clone(), &metrics).await?;
        metrics.open_connections(server.open_connections());
        let reload_requests = watch::Sender::new(0);
        let reload = config.file.as_ref().map(|file| {
            let mut parts = keys::parts(config, keys, &clock);
            parts.extend(parts::all(config, tls.as_ref(), &callers, &clock));
            parts.extend(parts::of_audit(config, audit.as_ref()));
            parts.extend(issuer_parts);
            let reports = Reports { metrics: &metrics, audit: audit.as_ref(), tracer: &tracer };
            Reload::new(file, parts, reload_requests.subscribe(), &reports)
        });
        let (of_ready, of_metrics) = (Arc::clone(&ready), metrics.clone());
        let sources = status::sources(config, grants.roster(), budgets, &server, clock.clone());
        let admin = Admin::bind(&config.admin, of_ready, of_metrics, resource_names, sources).await;
        let address = config.admin.listen;
        let admin = admin.map_err(|error| StartError::BindAdmin { address, error })?;
        Ok(Self {
            server,
            admin,
            api: Layers::new(api, callers, Arc::new(bearers), &metrics)
                .recorded_in(audit.clone())
                .traced_by(tracer),
            reporter,
            ready,
            keepers,
            issuers,
            signing,
            certificates: tls.map(|tls| (tls, metrics.clone())),
            exported: exported.map(|(config, spans)| (config, spans, metrics)),
            workload_api,
            jumps,
            clock,
            drainer,
            drain,
            config: config.server.clone(),
            reload,
            reload_requests,
            systemd: None,
            audit,
        })
    }

    /// Notifies this supervisor, if any, of readiness, reloads, shutdown and heartbeats.
    #[must_use]
    pub fn supervised_by(self, systemd: Option<Systemd>) -> Self {
        Self { systemd, ..self }
    }

    /// Shows these warnings and errors on the status page.
    #[must_use]
    pub fn showing(mut self, problems: RecentProblems) -> Self {
        self.admin.show_problems(problems);
        self
    }

    /// The TCP address for calls, if any.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.server.addr()
    }

    /// The Unix socket for calls, if any.
    #[must_use]
    pub const fn unix(&self) -> Option<&Unix> {
        self.config.listen.unix()
    }

    /// Whether TCP connections use TLS.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.certificates.is_some()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// Whether the audit log goes to standard output, where nothing else may be written.
    #[must_use]
    pub fn audits_to_stdout(&self) -> bool {
        self.audit.as_ref().is_some_and(Audit::is_to_stdout)
    }

    /// Starts all tasks.
    #[must_use]
    pub fn spawn(self) -> Running {
        let mut tasks = JoinSet::new();
        for keeper in self.keepers {
            tasks.spawn(keeper.run());
        }
        for keeper in self.issuers {
            tasks.spawn(keeper.run(self.jumps.subscribe()));
        }
        if let Some((tls, metrics)) = self.certificates {
            tasks.spawn(tls::expiry::watch(tls, metrics, self.clock.clone()));
        }
        if let Some(workload_api) = self.workload_api {
            tasks.spawn(workload_api.run());
        }
        tasks.spawn(watch_for_jumps(self.clock, self.jumps));
        let reloads = Reloads {
            requests: self.reload_requests.subscribe(),
            finished: self.reload.as_ref().map_or_else(Vec::new, Reload::finished),
        };
        let can_reload = self.reload.is_some();
        if let Some(reload) = self.reload {
            tasks.spawn(reload.run());
        }
        tasks.spawn(self.admin.run(self.drain.clone()));
        let supervision = self.systemd.map(|systemd| {
            let reporter = Reporter::new(systemd);
            if let Some(heartbeat) = reporter.heartbeat() {
                tasks.spawn(heartbeat);
            }
            let supervision = Supervision {
                reporter,
                ready: Arc::clone(&self.ready),
                drain: self.drain.clone(),
                reloads,
                longest_stop: Running::longest_stop(&self.config),
            };
            tokio::spawn(supervision.run())
        });
        let health = tokio::spawn(report_health(self.reporter, self.ready, self.drain));
        let server = tokio::spawn(self.server.run(self.api));
        let exporter =
            self.exported.map(|(config, spans, metrics)| Exporter::start(&config, spans, &metrics));
        Running {
            tasks,
            server,
            health,
            signing: self.signing,
            drainer: self.drainer,
            config: self.config,
            reload_requests: self.reload_requests,
            can_reload,
            supervision,
            audit: self.audit,
            exporter,
        }
    }
}

/// The tracer, and what is exported if `[telemetry]` says so.
fn traced(
    config: &Config,
    clock: &Clock,
    names: &ResourceNames,
    metrics: &Metrics,
) -> (Tracer, Option<(otlp::Config, Spans)>) {
    let Some(exported) = &config.traces else { return (Tracer::default(), None) };
    let (tracer, spans) =
        Tracer::new(exported.sample, clock.clone(), names.clone(), metrics.traces());
    (tracer, Some((exported.clone(), spans)))
}

/// Builds the minter, and the signing threads if any profile has slow signatures. Adds to `keys`
/// the keys of profiles without grants.
fn minting(
    config: &Config,
    grants: &mint::Grants,
    keys: &mut Vec<(ProfileName, Key)>,
    clock: &Clock,
    drain: &Drain,
    metrics: &Metrics,
) -> Result<(Minter, Option<Threads>), StartError> {
    let profiles = config.profiles.iter().map(|profile| of_mint(profile, clock));
    let mut profiles = profiles.collect::<Result<Vec<_>, _>>()?;
    for profile in &mut profiles {
        profile.metrics = metrics.profile(&profile.name);
    }
    keys.extend(profiles.iter().filter_map(|profile| match &profile.supply {
        Supply::Key(key) => Some((profile.name.clone(), Key::Alone(key.signer.clone()))),
        Supply::Grants(_) | Supply::Forwarded(_) => None,
    }));
    let is_slow = |profile: &minter::Profile| profile.signing.speed() == Speed::Slow;
    let (pool, signing) = if profiles.iter().any(is_slow) {
        let pool = Pool::start(config.signing, clock.clone(), metrics.signing());
        pool.map(|(pool, threads)| (Some(pool), Some(threads))).map_err(StartError::Threads)?
    } else {
        (None, None)
    };
    let parts = minter::Parts {
        limits: config.limits.mint,
        serials: Serials::draw()?,
        pool,
        clock: clock.clone(),
        drain: drain.clone(),
    };
    Ok((Minter::new(profiles, config.default_profile.clone(), grants, parts), signing))
}

/// How the admin pages show resources. Logs a warning if they are hashed without a key.
fn shown_names(admin: &admin::Config) -> ResourceNames {
    if admin.has_details() {
        return ResourceNames::default();
    }
    if admin.names_key.is_none() {
        tracing::warn!("the admin pages show resources as unkeyed hashes; set names_key_file");
    }
    resource_names(admin)
}

/// How the admin pages show resources that they do not name.
#[must_use]
pub fn resource_names(admin: &admin::Config) -> ResourceNames {
    match admin.names_key.clone() {
        Some(key) => ResourceNames::hashed(move |resource| keyed_hash(&key, resource)),
        None => ResourceNames::hashed(|resource| Sha256::digest(resource).into()),
    }
}
