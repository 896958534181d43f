//! The files that the configuration names, and their modes.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use grantmint::{
    config::Config,
    issuers::Source,
    settings::{Followed, is_readable_by_others},
    tls::{Certificate, LoadedIdentity},
};

use super::{
    Context,
    row::{Row, Subject},
};

const GROUP: &str = "files";

/// Shows each file with its mode. Secrets that others can read have their warnings already.
pub(super) fn check(context: &Context) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in secrets(&context.config) {
        if !is_readable_by_others(&path) {
            rows.push(row(&path, "secret, not readable by others"));
        }
    }
    rows.extend(public(&context.config).iter().map(|path| row(path, "read")));
    rows
}

fn row(path: &PathBuf, what: &str) -> Row {
    let mode = fs::metadata(path).map(|it| it.permissions().mode() & 0o7777);
    let mode = mode.map_or_else(|_| String::new(), |mode| format!(", mode {mode:04o}"));
    Subject::new(GROUP, path.display().to_string()).ok(format!("{what}{mode}"))
}

/// The files with secrets: API keys, the audit log's key, the server's private key.
fn secrets(config: &Config) -> Vec<PathBuf> {
    let mut all = Followed::default();
    for profile in &config.profiles {
        all.extend(profile.key_files.files.clone());
    }
    all.extend(config.audit.as_ref().map(|it| it.key_files.files.clone()).unwrap_or_default());
    let mut paths: Vec<_> = all.paths().map(PathBuf::from).collect();
    paths.extend(server_key(config));
    paths
}

/// The file of the server's private key.
fn server_key(config: &Config) -> Option<PathBuf> {
    match &config.tls.as_ref()?.config.certificate {
        Certificate::Files(pair) => Some(pair.key.clone()),
        Certificate::WorkloadApi(_) => None,
    }
}

/// The files without secrets: certificates, revocation lists, public keys.
fn public(config: &Config) -> Vec<PathBuf> {
    let mut all = Followed::default();
    if let Some(tls) = &config.tls {
        if let LoadedIdentity::Files(_, followed) = &tls.identity {
            all.extend(followed.clone());
        }
        all.extend(tls.of_trust.clone());
    }
    for issuer in &config.issuers {
        if let Source::File { followed, .. } = &issuer.source {
            all.extend(followed.clone());
        }
    }
    let key = server_key(config);
    all.paths().map(PathBuf::from).filter(|path| Some(path) != key.as_ref()).collect()
}
