//! The configuration: one TOML file, validated completely before anything starts.
//!
//! Each profile is read separately, its `kind` first, so that every problem of the file is reported
//! at once.

pub mod access;
pub mod callers;
mod expiry;
pub mod issuers;
mod listen;
mod profile;
mod schedule;
mod supply;
pub mod telemetry;
mod tokens;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{
    callers::{Loaded, UnknownNames},
    telemetry::{is_standard, read_log, read_traces},
};
pub use self::{
    expiry::Expiry,
    profile::Profile,
    supply::{Grants, Supply},
};
use crate::{
    admin,
    audit::{self, IdentityKey},
    auth::policy::{Mode, Policy},
    clock::Clock,
    listen::Listen,
    mint,
    name::ProfileName,
    otlp,
    provider::{KINDS, Kind},
    rpc, server,
    settings::{
        self, Document, Env, KeyFiles, Problem, Problems, SecretKeys, Section, SigningSecret,
    },
    source::{base_url::BaseUrl, budget},
    telemetry::LogFilter,
    tls,
    token::pool,
};

/// The available kinds of profiles.
pub type Kinds = &'static [&'static dyn Kind];

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: server::Config,
    /// `[server.tls]`, with its files loaded.
    pub tls: Option<tls::Loaded>,
    /// `[admin]`.
    pub admin: admin::Config,
    /// `[limits]`.
    pub limits: Limits,
    /// `[signing]`.
    pub signing: pool::Config,
    /// The default profile: the configured one, or the only one.
    pub default_profile: Option<ProfileName>,
    /// The profiles, by name; at least one.
    pub profiles: Vec<Profile>,
    /// `[issuers]`.
    pub issuers: Vec<crate::issuers::Config>,
    /// `[callers]`.
    pub callers: Policy,
    /// `[audit]`; none without an audit log.
    pub audit: Option<audit::Config>,
    /// What happens to calls that `[callers]` denies.
    pub authorize: Mode,
    /// `[telemetry]`; none if traces are not exported.
    pub traces: Option<otlp::Config>,
    /// `[log]`'s filter; none for the default.
    pub log_filter: Option<LogFilter>,
    /// Warnings: settings that are valid but probably not intended.
    pub warnings: Vec<Problem>,
    /// Replaces every profile's upstream; none for their own.
    pub upstream: Option<BaseUrl>,
    /// The file that it was read from; none for another origin, or a pipe, which cannot be read
    /// twice.
    pub file: Option<ConfigFile>,
}

/// The file that a configuration was read from.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text when it was read.
    pub text: Arc<str>,
}

/// The keys that hash identities and resources.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The audit log's key; none if identities are not hashed.
    pub identity_key: Option<IdentityKey>,
    /// `[admin]`.
    pub admin: admin::Config,
}

/// Limits on calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Limits on tokens.
    pub mint: mint::Limits,
    /// Limits on requests.
    pub rpc: rpc::Limits,
}

impl Config {
    /// Reads and validates the file at `path`.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text: Arc<str> = settings::read(path)?.into();
        let config = Self::parse(&path.display().to_string(), &text)?;
        let file = path.is_file().then(|| ConfigFile { path: path.to_owned(), text });
        Ok(Self { file, ..config })
    }

    /// Validates `text`; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        Self::parse_in(file, text, &|name| std::env::var(name).ok(), KINDS)
    }

    /// Validates `text`, with the environment variables of `env`.
    pub fn parse_with(file: &str, text: &str, env: Env<'_>) -> Result<Self, Problems> {
        Self::parse_of(file, text, env, KINDS)
    }

    /// Whether the section `[callers]` exists.
    #[must_use]
    pub const fn has_callers(&self) -> bool {
        matches!(self.callers, Policy::Entries(_))
    }

    /// Fetches the grants of all profiles from `upstream` instead of their own.
    pub fn point_at(&mut self, upstream: BaseUrl) {
        for profile in &mut self.profiles {
            profile.point_at(&upstream);
        }
        self.upstream = Some(upstream);
    }

    /// Reads a part of `[server.tls]` and nothing else of `text`.
    pub fn parse_tls<T>(
        file: &str,
        text: &str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<T, Problems> {
        let env = |_: &str| None;
        let document = Document::parse(file, text, &env)?.of_regular_files();
        let read = read(&mut document.root().section("server").section("tls"));
        document.conclude(read)
    }

    /// Reads the key of `[audit]` and nothing else of `text`. Returns the files of the key even on
    /// failure.
    pub fn parse_audit_key(
        file: &str,
        text: &str,
        env: Env<'_>,
    ) -> (Result<IdentityKey, Problems>, KeyFiles) {
        let document = match Document::parse(file, text, env) {
            Ok(document) => document.of_regular_files(),
            Err(problems) => return (Err(problems), KeyFiles::default()),
        };
        let mut section = document.root().section("audit");
        let key = audit::Config::read_key(&mut section);
        let files = section.key_files().clone();
        drop(section);
        (document.conclude(key), files)
    }

    /// Reads the keys that hash identities and resources, from `[audit]` and `[admin]` alone.
    pub fn parse_naming(file: &str, text: &str) -> Result<Naming, Problems> {
        let env = |name: &str| std::env::var(name).ok();
        let document = Document::parse(file, text, &env)?;
        let mut root = document.root();
        let has_audit = root.has("audit");
        let mut section = root.section("audit");
        let key = if has_audit { audit::Config::read_any_key(&mut section) } else { None };
        let admin = read_admin(&mut root.section("admin"));
        drop((section, root));
        document.conclude(Some(Naming { identity_key: key, admin }))
    }

    /// Reads one profile and nothing else of `text`. Returns the files of its key even on failure.
    pub fn parse_profile(
        file: &str,
        text: &str,
        env: Env<'_>,
        kinds: Kinds,
        name: &ProfileName,
    ) -> (Result<Profile, Problems>, KeyFiles) {
        let document = match Document::parse(file, text, env) {
            Ok(document) => document.of_regular_files(),
            Err(problems) => return (Err(problems), KeyFiles::default()),
        };
        let sections = document.root().sections("profiles");
        let section = sections.into_iter().find(|(it, _)| *it == name.as_str());
        let (profile, key_files) = section.map_or_else(<_>::default, |(_, mut section)| {
            let profile = Profile::read(name.clone(), &mut section, kinds);
            (profile, section.key_files().clone())
        });
        (document.conclude(profile), key_files)
    }

    /// Validates `text`, with profiles of these kinds.
    pub fn parse_of(file: &str, text: &str, env: Env<'_>, kinds: Kinds) -> Result<Self, Problems> {
        let others = |name: &str| if is_standard(name) { None } else { env(name) };
        Self::parse_in(file, text, &others, kinds)
    }

    /// The same, with the variables of OpenTelemetry that `env` has.
    pub fn parse_in(file: &str, text: &str, env: Env<'_>, kinds: Kinds) -> Result<Self, Problems> {
        let document = Document::parse(file, text, env)?;
        let config = Self::read(document.root(), kinds);
        let warnings = document.warnings();
        document.conclude(config.map(|config| Self { warnings, ..config }))
    }

    fn read(mut root: Section<'_>, kinds: Kinds) -> Option<Self> {
        let mut limits = root.section("limits");
        let of_connections = read_connection_limits(&mut limits);
        let limits = Limits::read(limits);
        let mut server_section = root.section("server");
        let (server, tls, authorize) = read_server(&mut server_section, of_connections);
        let has_callers = root.mentions("callers");
        let mut admin_section = root.section("admin");
        let admin = read_admin(&mut admin_section);
        let is_taken = |listen| admin.listen.overlaps(listen);
        if server.listen.tcp().is_some_and(is_taken) {
            admin_section.problem("listen", "must differ from the address of [server]");
        }
        listen::add_warnings(&server_section, &server.listen, has_callers);
        let may_listen = access::may_listen(
            server.listen.tcp(),
            &access::Access {
                has_tls: !matches!(tls, ReadTls::None),
                has_callers,
                plaintext: server.plaintext,
            },
        );
        if let Err(why) = may_listen {
            server_section.problem(why.key(), why.to_string());
        }
        let has_audit = root.has("audit");
        let mut audit_section = root.section("audit");
        let audit = if has_audit { audit::Config::read(&mut audit_section) } else { None };
        let signing = read_signing(root.section("signing"));
        let traces = read_traces(&mut root.section("telemetry"));
        let log_filter = read_log(&mut root.section("log"));
        let default_profile = root.parsed("default_profile", ProfileName::parse);

        let mut names = Vec::new();
        let mut read = Vec::new();
        for (name, mut section) in root.sections("profiles") {
            match ProfileName::parse(name) {
                Ok(name) => {
                    names.push(name.clone());
                    let profile = Profile::read(name, &mut section, kinds);
                    read.extend(profile.map(|profile| (profile, section)));
                }
                Err(error) => section.problem_here(error.to_string()),
            }
        }
        if names.is_empty() {
            root.problem("profiles", "needs at least one profile: [profiles.NAME]");
        }
        if default_profile.as_ref().is_some_and(|default| !names.contains(default)) {
            root.problem("default_profile", "is not among the profiles");
        }
        let profiles: Vec<_> = read.iter().map(|(profile, _)| profile).collect();
        let issuer_names: Vec<_> =
            root.sections("issuers").iter().map(|(name, _)| (*name).to_owned()).collect();
        let issuers = issuers::read(&mut root);
        let loaded = Loaded {
            profiles: &profiles,
            names: &names,
            issuers: &issuer_names,
            unknown: UnknownNames::Refused,
        };
        let callers = callers::read(&mut root, &loaded);
        root.finish();
        check_accounts(&read);

        // The problems of the missing profiles have been reported.
        if read.len() < names.len() {
            return None;
        }
        let profiles: Vec<_> = read.into_iter().map(|(profile, _)| profile).collect();
        let only = match profiles.as_slice() {
            [profile] => Some(profile.name.clone()),
            _ => None,
        };
        let tls = match tls {
            ReadTls::None => None,
            ReadTls::Loaded(loaded) => Some(*loaded),
            ReadTls::Invalid => return None,
        };
        let Ok(traces) = traces else { return None };
        if has_audit && audit.is_none() {
            return None;
        }
        Some(Self {
            server,
            tls,
            admin,
            limits,
            signing,
            default_profile: default_profile.or(only),
            profiles,
            upstream: None,
            file: None,
            issuers: issuers?,
            callers: callers?,
            audit,
            authorize,
            traces,
            log_filter,
            warnings: Vec::new(),
        })
    }
}

/// The result of reading `[server.tls]`.
enum ReadTls {
    None,
    Loaded(Box<tls::Loaded>),
    Invalid,
}

fn read_server(
    section: &mut Section<'_>,
    limits: server::Limits,
) -> (server::Config, ReadTls, Mode) {
    let default = server::Config::default();
    let listen = listen::read(section);
    let longest = Duration::from_secs(10 * 60);
    let mut drain = |key, default| {
        section.duration_within(key, default, Duration::ZERO..=longest).unwrap_or(default)
    };
    let drain_delay = drain("drain_delay", default.drain_delay);
    let drain_grace = drain("drain_grace", default.drain_grace);
    let plaintext = section.flag("plaintext").unwrap_or(false);
    let tls = if section.has("tls") { read_tls(section.section("tls")) } else { ReadTls::None };
    let authorize = section.parsed("authorize", Mode::parse).unwrap_or_default();
    section.finish();
    (server::Config { listen, plaintext, drain_delay, drain_grace, limits }, tls, authorize)
}

/// Reads `[server.tls]` and the files that it names.
fn read_tls(mut section: Section<'_>) -> ReadTls {
    let Some(config) = tls::Config::read(&mut section) else { return ReadTls::Invalid };
    match config.load(Clock::system().now().wall) {
        Ok(loaded) => ReadTls::Loaded(Box::new(loaded)),
        Err(errors) => {
            for tls::LoadError { key, why } in errors {
                section.problem(key, why);
            }
            ReadTls::Invalid
        }
    }
}

const NAMES_KEY: SecretKeys =
    SecretKeys { file: "names_key_file", env: "names_key_env", value: "names_key" };

fn read_admin(section: &mut Section<'_>) -> admin::Config {
    let default = admin::Config::default();
    let listen = section.parsed("listen", str::parse::<Listen>);
    let details = section.flag("details");
    let has_key = section.has(NAMES_KEY.file) || section.has(NAMES_KEY.env);
    let names_key = if has_key {
        section.secret(NAMES_KEY, SigningSecret::parse).map(|(key, _)| key)
    } else {
        section.refuse(NAMES_KEY.value, "a secret must not be a value in this file: name its file");
        None
    };
    let hosts = section.list_or_empty("hosts", host).unwrap_or_default();
    section.finish();
    let listen = listen.unwrap_or(default.listen);
    admin::Config { listen, details, names_key, hosts }
}

/// Parses a host name, in lower case.
fn host(text: &str) -> Result<String, &'static str> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !text.is_empty() && text.bytes().all(of_name) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not a host name; expected a name without scheme and port")
    }
}

fn read_connection_limits(section: &mut Section<'_>) -> server::Limits {
    let default = server::Limits::default();
    let mut limit = |key, default| section.integer(key, 1..=100_000).unwrap_or(default);
    let connections = limit("connections", default.connections);
    let connections_per_caller = limit("connections_per_caller", default.connections_per_caller);
    let handshakes = limit("handshakes", default.handshakes);
    let streams = section.integer("streams_per_connection", 1..=1_000);
    let second = Duration::from_secs(1);
    let mut time = |key, default, longest| {
        section.duration_within(key, default, second..=longest).unwrap_or(default)
    };
    server::Limits {
        connections,
        connections_per_caller,
        streams_per_connection: streams.unwrap_or(default.streams_per_connection),
        handshakes,
        stall: time("stall", default.stall, Duration::from_secs(10 * 60)),
        connection_age: time("connection_age", default.connection_age, Duration::from_secs(86_400)),
    }
}

impl Limits {
    fn read(mut section: Section<'_>) -> Self {
        let Self { mint, rpc } = Self::default();
        let most_bytes = 64 * 1024 * 1024;
        let mut indices = |key| section.integer(key, 1..=1_000_000_000);
        let (indices, slow_indices) = (indices("indices"), indices("slow_indices"));
        let mut limit = |key, default, bounds| section.integer(key, bounds).unwrap_or(default);
        let limits = Self {
            mint: mint::Limits {
                identities: limit("identities", mint.identities, 1..=1_000_000),
                indices: indices.unwrap_or(mint.indices),
                slow_indices: slow_indices.unwrap_or(mint.slow_indices),
                chunk_tokens: limit("chunk_tokens", mint.chunk_tokens, 1..=4_096),
                waiting_calls: limit("waiting_calls", mint.waiting_calls, 1..=1_000_000),
            },
            // The longest names need 1 KiB.
            rpc: rpc::Limits {
                request_bytes: limit("request_bytes", rpc.request_bytes, 1_024..=most_bytes),
                bulk_request_bytes: limit(
                    "bulk_request_bytes",
                    rpc.bulk_request_bytes,
                    1_024..=most_bytes,
                ),
                streaming_calls: limit("streaming_calls", rpc.streaming_calls, 1..=100_000),
            },
        };
        section.finish();
        limits
    }
}

fn read_signing(mut section: Section<'_>) -> pool::Config {
    let default = pool::Config::default();
    let threads = section.integer("threads", 1..=1_024).unwrap_or(default.threads);
    let queue = section.integer("queue", 1..=1_000_000).unwrap_or(default.queue);
    section.finish();
    pool::Config { threads, queue }
}

/// Checks the budgets of accounts. Profiles with the same upstream and account share a budget, so
/// they must agree on it, and it must suffice for all their resources.
fn check_accounts(profiles: &[(Profile, Section<'_>)]) {
    let mut accounts = BTreeMap::new();
    for (profile, section) in profiles {
        let (Some(grants), Some(upstream)) = (profile.grants(), profile.provider.upstream()) else {
            continue;
        };
        let (first, budget, calls) = accounts
            .entry(upstream.account())
            .or_insert_with(|| (&profile.name, grants.budget, 0.0));
        if grants.budget != *budget {
            section.problem(
                "budget",
                format!("must equal the budget of profile {first}, which has the same account"),
            );
        }
        // A rate that depends on the upstream is unknown here; the budget enforces it at run time.
        *calls += grants.requests_per_minute().unwrap_or(0.0);
        let budget::Limits { rate, .. } = *budget;
        if *calls > 60.0 * f64::from(rate) {
            section.problem(
                "resources",
                format!(
                    "are too many for the account: refreshing all their grants takes {calls:.0} \
                     requests a minute, and its budget is {rate} a second"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
