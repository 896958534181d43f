//! Validates messages of the Workload API: the SVID to use, and the bundles.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::CertificateDer;
use x509_cert::der::{Reader, SliceReader};

use super::messages::{X509Svid, X509SvidResponse};
use crate::{
    auth::name::{CallerName, SpiffeId, is_trust_domain},
    clock::WallTime,
    tls::{
        bundle::Bundle,
        cause::Cause,
        certificate::ParsedCertificate,
        identity::{Identity, IdentityError},
        trust::ReceivedBundles,
    },
};

/// A validated message.
#[derive(Debug)]
pub(super) struct Context {
    /// The server's SPIFFE ID.
    pub(super) id: SpiffeId,
    pub(super) identity: Arc<Identity>,
    pub(super) bundles: Arc<ReceivedBundles>,
    /// Trust domains whose new bundle cannot be used, with the reasons.
    pub(super) unusable: Vec<(String, String)>,
}

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SvidError {
    #[error("it contains no SVID")]
    None,
    #[error("none of its SVIDs is {0}")]
    NotFound(String),
    #[error("an SVID has no SPIFFE ID")]
    NoId,
    #[error("the chain of {0} is not a sequence of certificates")]
    NotDer(String),
    #[error("the certificate of {id} is not valid for a workload: {}", .cause.as_str())]
    Certificate { id: String, cause: Cause },
    #[error("the certificate of {0} is for another name")]
    OtherName(String),
    #[error("the chain of {id} {why}")]
    Chain { id: String, why: String },
    #[error("the key of {id} {why}")]
    Key { id: String, why: String },
    #[error("the bundle of {domain} {why}")]
    Bundle { domain: String, why: String },
}

/// Which SVID of a message to use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice<'a> {
    /// Only this one.
    Only(&'a SpiffeId),
    /// This one, which is in use, or the first if it is no longer sent.
    Prefer(&'a SpiffeId),
    /// The first one.
    First,
}

impl Context {
    /// Validates a message and selects the SVID. For a federated bundle that cannot be used, the
    /// previous one is kept.
    pub(super) fn read(
        response: &X509SvidResponse,
        choice: Choice<'_>,
        previous: &ReceivedBundles,
        now: WallTime,
    ) -> Result<Self, SvidError> {
        let (id, svid) = choose(&response.svids, choice)?;
        let identity = identity(&id, svid, now)?;
        let own = id.trust_domain().to_owned();
        let own_bundle =
            bundle(&svid.bundle).and_then(|it| it.ok_or_else(|| "is empty".to_owned()));
        let own_bundle =
            own_bundle.map_err(|why| SvidError::Bundle { domain: own.clone(), why })?;
        let (mut bundles, mut unusable) = (BTreeMap::new(), Vec::new());
        for (name, ders) in &response.federated_bundles {
            let Some(domain) = trust_domain(name) else {
                unusable.push((name.clone(), "is not a trust domain".to_owned()));
                continue;
            };
            match bundle(ders) {
                Ok(Some(bundle)) => drop(bundles.insert(domain.to_owned(), Arc::new(bundle))),
                Ok(None) => {}
                Err(why) => {
                    let previous = previous.bundles.get(domain).cloned();
                    bundles.extend(previous.map(|previous| (domain.to_owned(), previous)));
                    unusable.push((domain.to_owned(), why));
                }
            }
        }
        bundles.insert(own.clone(), Arc::new(own_bundle));
        let bundles = Arc::new(ReceivedBundles { own, bundles });
        Ok(Self { id, identity: Arc::new(identity), bundles, unusable })
    }
}

/// Selects an SVID.
fn choose<'a>(
    svids: &'a [X509Svid],
    choice: Choice<'_>,
) -> Result<(SpiffeId, &'a X509Svid), SvidError> {
    let find = |id: &SpiffeId| {
        let named = |svid: &&X509Svid| SpiffeId::parse(&svid.spiffe_id).as_ref() == Ok(id);
        svids.iter().find(named).map(|svid| (id.clone(), svid))
    };
    let found = match choice {
        Choice::Only(id) => {
            return find(id).ok_or_else(|| SvidError::NotFound(id.as_str().to_owned()));
        }
        Choice::Prefer(id) => find(id),
        Choice::First => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let first = svids.first().ok_or(SvidError::None)?;
    let id = SpiffeId::parse(&first.spiffe_id).map_err(|_| SvidError::NoId)?;
    Ok((id, first))
}

/// Validates the certificate and key of an SVID.
fn identity(id: &SpiffeId, svid: &X509Svid, now: WallTime) -> Result<Identity, SvidError> {
    let shown = || id.as_str().to_owned();
    let chain = certificates(&svid.chain).ok_or_else(|| SvidError::NotDer(shown()))?;
    let leaf = chain.first().ok_or_else(|| SvidError::NotDer(shown()))?;
    let invalid = |cause| SvidError::Certificate { id: shown(), cause };
    let parsed = ParsedCertificate::new(leaf).map_err(invalid)?;
    if parsed.is_authority() {
        return Err(invalid(Cause::WrongUsage));
    }
    let (name, _) = parsed.names().map_err(invalid)?.into_callers();
    if name != CallerName::Spiffe(id.clone()) {
        return Err(SvidError::OtherName(shown()));
    }
    // The chain is not verified with the bundle. The agent is trusted for both, and a bundle that
    // withdraws an authority must apply before an SVID from another authority arrives.
    Identity::from_der(chain, &svid.key, now).map_err(|error| match error {
        IdentityError::Certificate(why) => SvidError::Chain { id: shown(), why },
        IdentityError::Key(why) => SvidError::Key { id: shown(), why },
    })
}

/// Parses a bundle; `None` if it is empty. The error message continues the bundle's name.
fn bundle(ders: &[u8]) -> Result<Option<Bundle>, String> {
    let certificates = certificates(ders).ok_or("is not a sequence of certificates")?;
    if certificates.is_empty() { Ok(None) } else { Bundle::new(&certificates).map(Some) }
}

/// Splits concatenated DER certificates.
fn certificates(ders: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut reader = SliceReader::new(ders).ok()?;
    let mut all = Vec::new();
    while !reader.is_finished() {
        all.push(CertificateDer::from(reader.tlv_bytes().ok()?.to_vec()));
    }
    Some(all)
}

/// The trust domain of a bundle, which is sent as a SPIFFE ID without a path.
fn trust_domain(name: &str) -> Option<&str> {
    let domain = name.strip_prefix("spiffe://").unwrap_or(name);
    let domain = domain.strip_suffix('/').unwrap_or(domain);
    is_trust_domain(domain).then_some(domain)
}
