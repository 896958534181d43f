//! Reads the files of `[server.tls]`.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    config::{Authorities, BundleOrigin, Certificate, Config, Pair},
    identity::Identity,
    trust::{Contents, DomainContents, FileTrust},
};
use crate::{
    clock::WallTime,
    settings::{Followed, is_readable_by_others, open_regular},
};

/// The maximum file size. The largest files are revocation lists.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// `[server.tls]` with the contents of its files.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The certificate and its key.
    pub identity: LoadedIdentity,
    /// The authorities and their revocation lists.
    pub trust: Arc<FileTrust>,
    /// The files of the authorities.
    pub of_trust: Followed,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// The certificate and its key.
#[derive(Clone)]
pub enum LoadedIdentity {
    /// Read from these files.
    Files(Arc<Identity>, Followed),
    /// To be received from the Workload API.
    Awaited,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct LoadError {
    /// The key in `[server.tls]`.
    pub key: &'static str,
    /// The reason; continues the key's name.
    pub why: String,
}

impl Loaded {
    /// Whether the certificate must first be received from the Workload API.
    #[must_use]
    pub const fn awaits_certificate(&self) -> bool {
        matches!(self.identity, LoadedIdentity::Awaited)
    }
}

impl Config {
    /// Reads the files for a server that starts `now`. Errors of both groups are returned together.
    pub fn load(self, now: WallTime) -> Result<Loaded, Vec<LoadError>> {
        let mut of_trust = Followed::default();
        let identity = self.certificate.load(now);
        let trust = self.authorities.load(&mut of_trust);
        match (identity, trust) {
            (Ok((identity, mut warnings)), Ok(trust)) => {
                warnings.extend(trust.warnings());
                let trust = Arc::new(trust);
                Ok(Loaded { config: self, identity, trust, of_trust, warnings })
            }
            (identity, trust) => Err(identity.err().into_iter().chain(trust.err()).collect()),
        }
    }
}

impl Certificate {
    /// Reads the certificate, with warnings.
    fn load(&self, now: WallTime) -> Result<(LoadedIdentity, Vec<String>), LoadError> {
        let Self::Files(pair) = self else { return Ok((LoadedIdentity::Awaited, Vec::new())) };
        let mut followed = Followed::default();
        let identity = pair.load(now, &mut followed)?;
        let mut warnings = identity.warnings();
        warnings.extend(readable_by_others(&pair.key));
        Ok((LoadedIdentity::Files(Arc::new(identity), followed), warnings))
    }
}

impl Pair {
    /// Reads the certificate and its key. The files are added to `followed` even if they cannot be
    /// used.
    pub fn load(&self, now: WallTime, followed: &mut Followed) -> Result<Identity, LoadError> {
        let of = |key| move |why| LoadError { key, why };
        let cert = read(&self.cert, followed).map_err(of("cert"));
        let key = Zeroizing::new(read(&self.key, followed).map_err(of("key"))?);
        Identity::from_pem(&cert?, &key, now).map_err(|error| {
            let (key, why) = error.parts();
            LoadError { key, why: why.to_owned() }
        })
    }
}

impl Authorities {
    /// Reads the authorities, their revocation lists and the bundles. The files are added to
    /// `followed` even if they cannot be used.
    pub fn load(&self, followed: &mut Followed) -> Result<FileTrust, LoadError> {
        let of = |key| move |why| LoadError { key, why };
        let mut read_some =
            |path: &Option<PathBuf>| path.as_deref().map(|path| read(path, followed)).transpose();
        let (client_ca, client_crl) = (read_some(&self.client_ca), read_some(&self.client_crl));
        let domains: Vec<_> = self
            .trust_domains
            .iter()
            .map(|(domain, origin)| {
                let contents = match origin {
                    BundleOrigin::WorkloadApi => DomainContents::WorkloadApi,
                    BundleOrigin::File(path) => {
                        let bundle = read(path, followed);
                        let bundle = bundle.map_err(|why| format!("{domain}: its file {why}"));
                        DomainContents::File(bundle.map_err(of("trust_domains"))?)
                    }
                };
                Ok((domain.clone(), contents))
            })
            .collect();
        let contents = Contents {
            client_ca: client_ca.map_err(of("client_ca"))?,
            client_crl: client_crl.map_err(of("client_crl"))?,
            trust_domains: domains.into_iter().collect::<Result<_, _>>()?,
        };
        FileTrust::new(&contents, self.crl_expired)
            .map_err(|error| LoadError { key: error.key, why: error.why })
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

fn read(path: &Path, followed: &mut Followed) -> Result<Vec<u8>, String> {
    let read = read_file(path);
    match &read {
        Ok(contents) => followed.add(path, contents),
        Err(_) => followed.add_unreadable(path),
    }
    read.map_err(|error| format!("cannot be read: {error}"))
}

/// Reads a PEM file. The error message continues the file's name.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    // Allocates the full size: reallocation would leave copies of a key in memory.
    let length = file.metadata()?.len().min(MAX_BYTES);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is far too large"));
    }
    Ok(bytes)
}

/// A warning if other users can read a private key.
#[must_use]
pub fn readable_by_others(path: &Path) -> Option<String> {
    let named = path.display().to_string();
    let named = named.escape_debug();
    is_readable_by_others(path)
        .then(|| format!("all users of this machine can read the key in {named}: chmod o-r it"))
}
