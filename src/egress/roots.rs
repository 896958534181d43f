//! The roots that an upstream's certificate is verified with: those of `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` if one of them is set, else the system's.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths, load_native_certs};

use super::set;
use crate::settings::Env;

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// Variables that other programs use, but this one does not.
const OTHERS: [&str; 4] =
    ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"];

/// Roots and their origin.
#[derive(Clone)]
pub struct Roots {
    /// A TLS configuration that trusts them.
    pub tls: Arc<ClientConfig>,
    count: usize,
    /// The variables and paths of their origin; none for the system's roots.
    pub from: Option<String>,
}

/// Roots that a profile adds for its own upstream.
#[derive(Clone)]
pub struct ExtraRoots {
    file: String,
    certificates: Vec<CertificateDer<'static>>,
}

impl ExtraRoots {
    /// Reads the PEM file at `path`.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, as a predicate of the key's name.
    pub fn load(path: &str) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
        Self::read(file, path)
    }

    /// Reads an open file, whose path is `path`.
    ///
    /// # Errors
    ///
    /// As [`ExtraRoots::load`].
    pub fn read(mut file: File, path: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let certificates = certificates.map_err(|_| "has a part that is not PEM".to_owned())?;
        let mut store = RootCertStore::empty();
        let (usable, _) = store.add_parsable_certificates(certificates.iter().cloned());
        match (usable, certificates.len()) {
            (0, 0) => Err("holds no certificate in PEM form".to_owned()),
            (usable, all) if usable < all => {
                Err(format!("has {} of {all} certificates that cannot be used", all - usable))
            }
            _ => Ok(Self { file: path.to_owned(), certificates }),
        }
    }

    /// The file's path.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Debug for ExtraRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtraRoots({})", self.file)
    }
}

/// No roots were found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// The environment's roots cannot be used, for these reasons.
    #[error("no root certificates: {}", .0.join("; "))]
    Named(Vec<String>),
    /// The system has none.
    #[error(
        "no root certificates on this system: install the ca-certificates package, or set {FILE} \
         to a file of them"
    )]
    System,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Roots {
    /// Loads the usable roots, and reports the unusable ones.
    pub(super) fn load(
        extra: Option<&ExtraRoots>,
        env: Env<'_>,
    ) -> Result<(Self, Vec<String>), RootsError> {
        let mut found = Found { store: RootCertStore::empty(), problems: Vec::new() };
        let file = set(&[FILE], env).map(|(_, file)| file);
        let directories = set(&[DIRECTORIES], env).map(|(_, directories)| directories);
        if let Some(file) = &file {
            found.add(FILE, file, load_file(Path::new(file)));
        }
        let each = directories.iter().flat_map(|all| all.split(':'));
        for directory in each.filter(|directory| !directory.is_empty()) {
            let loaded = load_certs_from_paths(None, Some(Path::new(directory)));
            found.add(DIRECTORIES, directory, loaded);
        }
        let named = [(FILE, file), (DIRECTORIES, directories)];
        let named = named
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", value?.escape_debug())));
        let from = Some(named.collect::<Vec<_>>().join(" and ")).filter(|from| !from.is_empty());
        if from.is_none() {
            for certificate in system().certs {
                let _ = found.store.add(certificate);
            }
            if let Some((other, _)) = set(&OTHERS, env) {
                found.problems.push(format!("{other} is set but not used: set {FILE} instead"));
            }
        }
        let mut from = from;
        if let Some(extra) = extra {
            found.store.add_parsable_certificates(extra.certificates.iter().cloned());
            let others = from.as_deref().unwrap_or("the system");
            from = Some(format!("{others} and ca_file {}", extra.file.escape_debug()));
        }
        match (found.store.is_empty(), &from) {
            (true, Some(_)) => Err(RootsError::Named(found.problems)),
            (true, None) => Err(RootsError::System),
            (false, _) => Ok((Self::new(found.store, from)?, found.problems)),
        }
    }

    /// The roots of one file.
    pub(super) fn only(ExtraRoots { file, certificates }: &ExtraRoots) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        Self::new(store, Some(file.escape_debug().to_string()))
    }

    /// These roots.
    pub fn new(store: RootCertStore, from: Option<String>) -> Result<Self, RootsError> {
        let count = store.len();
        let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| RootsError::Tls(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), count, from })
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_deref().unwrap_or("the system");
        write!(f, "{} roots of {from}", self.count)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({self})")
    }
}

struct Found {
    store: RootCertStore,
    problems: Vec<String>,
}

impl Found {
    /// Adds the certificates of a variable's path.
    fn add(&mut self, variable: &str, path: &str, loaded: CertificateResult) {
        let path = path.escape_debug();
        for error in &loaded.errors {
            self.problems.push(match &error.kind {
                ErrorKind::Io { inner, path } => {
                    let path = path.display().to_string();
                    format!("{variable}: {} cannot be read: {inner}", path.escape_debug())
                }
                _ => format!("{variable}: {path} has a part that is not PEM"),
            });
        }
        let count = loaded.certs.len();
        let (_, unusable) = self.store.add_parsable_certificates(loaded.certs);
        if count == 0 && loaded.errors.is_empty() {
            self.problems.push(format!("{variable}: {path} holds no certificate in PEM form"));
        }
        if unusable > 0 {
            self.problems.push(format!(
                "{variable}: {unusable} of {count} certificates of {path} cannot be used as roots"
            ));
        }
    }
}

/// Loads a file. A byte order mark would hide its first certificate.
fn load_file(path: &Path) -> CertificateResult {
    let mut loaded = load_certs_from_paths(Some(path), None);
    if path.is_file()
        && let Ok(text) = fs::read(path)
        && let Some(rest) = text.strip_prefix(b"\xef\xbb\xbf")
    {
        loaded.certs = CertificateDer::pem_slice_iter(rest).flatten().collect();
    }
    loaded
}

/// The system's roots.
fn system() -> CertificateResult {
    // An empty value would be used as a file name.
    if std::env::var_os(FILE).is_none() {
        return load_native_certs();
    }
    let places = openssl_probe::probe();
    let mut all = load_certs_from_paths(places.cert_file.as_deref(), None);
    for directory in &places.cert_dir {
        let more = load_certs_from_paths(None, Some(directory));
        all.certs.extend(more.certs);
    }
    all.certs.sort_unstable_by(|a, b| a.cmp(b));
    all.certs.dedup();
    all
}
