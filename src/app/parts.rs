//! The reloadable parts of the configuration, besides the profiles' keys.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{FutureExt, future::ready};

use super::reload::{Change, Part};
use crate::{
    audit::Audit,
    auth::callers::Callers,
    clock::Clock,
    config::{self, Config, callers, telemetry::reread_log},
    settings::{Followed, Problem, Section},
    telemetry::configure_log_filter,
    tls::{self, Tls},
};

/// The reloadable parts of this configuration, each with the files that it was read from. A section
/// that is missing at the start takes effect only after a restart.
pub(super) fn all(
    config: &Config,
    tls: Option<&Arc<Tls>>,
    callers: &Arc<Callers>,
    clock: &Clock,
) -> Vec<(Arc<dyn Part>, Followed)> {
    let mut parts: Vec<(Arc<dyn Part>, Followed)> = Vec::new();
    if let (Some(tls), Some(loaded)) = (tls, &config.tls) {
        if let tls::LoadedIdentity::Files(_, followed) = &loaded.identity {
            let certificate = CertificatePart { tls: Arc::clone(tls), clock: clock.clone() };
            parts.push((Arc::new(certificate), followed.clone()));
        }
        let client_auth = loaded.config.client_auth;
        let authorities = AuthoritiesPart { tls: Arc::clone(tls), client_auth };
        parts.push((Arc::new(authorities), loaded.of_trust.clone()));
    }
    if config.has_callers() {
        let (callers, profiles) = (Arc::clone(callers), config.profiles.clone().into());
        let issuers = config.issuers.iter().map(|it| it.name.to_string()).collect();
        parts.push((Arc::new(CallersPart { callers, profiles, issuers }), Followed::default()));
    }
    parts.push((Arc::new(LogPart), Followed::default()));
    parts
}

/// The key that hashes identities, if any.
pub(super) fn of_audit(
    config: &Config,
    audit: Option<&Audit>,
) -> Option<(Arc<dyn Part>, Followed)> {
    let files = &config.audit.as_ref().filter(|it| it.key_origin.is_some())?.key_files;
    let part = AuditPart { audit: audit?.clone(), settings: files.settings.clone() };
    Some((Arc::new(part), files.files.clone()))
}

/// The key of `[audit]`.
struct AuditPart {
    audit: Audit,
    /// The paths of the settings that the key is read from.
    settings: BTreeSet<String>,
}

/// The server's certificate and private key.
struct CertificatePart {
    tls: Arc<Tls>,
    clock: Clock,
}

/// The CAs that verify callers, and their revocation lists.
struct AuthoritiesPart {
    tls: Arc<Tls>,
    client_auth: tls::ClientAuth,
}

/// `[callers]`.
struct CallersPart {
    callers: Arc<Callers>,
    /// The profiles of the running server.
    profiles: Arc<[config::Profile]>,
    /// The names of its issuers.
    issuers: Arc<[String]>,
}

/// The filter of `[log]`.
struct LogPart;

/// Whether a setting is in `[server.tls]`, at or below one of these keys.
fn is_of_tls(setting: &str, settings: &[&str]) -> bool {
    let own = setting.strip_prefix("server.tls.").and_then(|it| it.split('.').next());
    own.is_some_and(|own| settings.contains(&own))
}

/// A change that completes immediately.
fn immediate(change: impl FnOnce() + Send + 'static) -> Change {
    ready(())
        .map(|()| {
            change();
            Ok(())
        })
        .boxed()
}

impl Part for CertificatePart {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn has(&self, setting: &str) -> bool {
        is_of_tls(setting, &tls::Pair::SETTINGS)
    }

    fn depends_on(&self, setting: &str) -> bool {
        is_of_tls(setting, &["workload_api"])
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let mut followed = Followed::default();
        let pair = Config::parse_tls(file, text, tls::Pair::read).map_err(|it| it.to_string());
        let identity = pair.and_then(|pair| {
            pair.load(self.clock.now().wall, &mut followed).map_err(|error| error.to_string())
        });
        let change = identity.map(|identity| {
            log_warnings(identity.warnings());
            let tls = Arc::clone(&self.tls);
            immediate(move || tls.set_identity(&Arc::new(identity)))
        });
        (followed, change)
    }
}

impl Part for AuthoritiesPart {
    fn name(&self) -> &'static str {
        "authorities"
    }

    fn has(&self, setting: &str) -> bool {
        is_of_tls(setting, &tls::Authorities::SETTINGS)
    }

    fn depends_on(&self, setting: &str) -> bool {
        is_of_tls(setting, &["workload_api"])
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let mut followed = Followed::default();
        let read = |section: &mut Section<'_>| tls::Authorities::read(section, self.client_auth);
        let authorities = Config::parse_tls(file, text, read).map_err(|it| it.to_string());
        let trust = authorities.and_then(|authorities| {
            authorities.load(&mut followed).map_err(|error| error.to_string())
        });
        let change = trust.map(|trust| {
            log_warnings(trust.warnings());
            let tls = Arc::clone(&self.tls);
            immediate(move || tls.set_file_trust(&Arc::new(trust)))
        });
        (followed, change)
    }
}

impl Part for AuditPart {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn has(&self, setting: &str) -> bool {
        self.settings.contains(setting)
    }

    fn depends_on(&self, setting: &str) -> bool {
        setting.starts_with("audit.") && !self.has(setting)
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let env = |name: &str| std::env::var(name).ok();
        let (key, key_files) = Config::parse_audit_key(file, text, &env);
        let change = key.map_err(|problems| problems.to_string()).map(|key| {
            let audit = self.audit.clone();
            immediate(move || audit.replace_key(key))
        });
        (key_files.files, change)
    }
}

impl Part for CallersPart {
    fn name(&self) -> &'static str {
        "callers"
    }

    fn has(&self, setting: &str) -> bool {
        setting.starts_with("callers.")
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let env = |_: &str| None;
        let read = callers::reread(file, text, &env, &self.profiles, &self.issuers);
        let change = read.map_err(|problems| problems.to_string()).map(|(entries, warnings)| {
            log_setting_warnings(&warnings);
            let callers = Arc::clone(&self.callers);
            immediate(move || callers.replace(entries))
        });
        (Followed::default(), change)
    }
}

impl Part for LogPart {
    fn name(&self) -> &'static str {
        "log"
    }

    fn has(&self, setting: &str) -> bool {
        setting.starts_with("log.")
    }

    fn read(&self, file: &str, text: &str) -> (Followed, Result<Change, String>) {
        let filter = reread_log(file, text).map_err(|problems| problems.to_string());
        let change = filter.map(|filter| {
            immediate(move || {
                if !configure_log_filter(filter.as_ref()) {
                    tracing::info!("[log] filter is not used: --log or GRANTMINT_LOG overrides it");
                }
            })
        });
        (Followed::default(), change)
    }
}

/// Logs the warnings of TLS files.
pub(super) fn log_warnings(warnings: impl IntoIterator<Item = String>) {
    for problem in warnings {
        tracing::warn!(problem, "a TLS file has a warning");
    }
}

/// Logs settings that are valid but probably not intended.
pub(super) fn log_setting_warnings(warnings: &[Problem]) {
    for Problem { line, message, .. } in warnings {
        let warning = message.as_str();
        tracing::warn!(line, warning, "a setting has a warning");
    }
}
