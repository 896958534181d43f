//! What a message of the Workload API is good for: the SVID to show, and the bundles.

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
        certificate::Read,
        identity::{Identity, IdentityError},
        trust::ReceivedBundles,
    },
};

/// A message that can be used.
#[derive(Debug)]
pub(super) struct Context {
    /// The name of the server.
    pub(super) id: SpiffeId,
    pub(super) identity: Arc<Identity>,
    pub(super) bundles: Arc<ReceivedBundles>,
    /// Trust domains whose new bundle cannot be used, and why.
    pub(super) unusable: Vec<(String, String)>,
}

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SvidError {
    #[error("there is no SVID in it")]
    None,
    #[error("none of its SVIDs is {0}")]
    NotFound(String),
    #[error("an SVID of it has no SPIFFE ID")]
    NoId,
    #[error("the chain of {0} is not a sequence of certificates")]
    NotDer(String),
    #[error("the certificate of {id} cannot be a workload's: {}", .cause.as_str())]
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

/// Which SVID of a message is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice<'a> {
    /// This one alone.
    Only(&'a SpiffeId),
    /// This one, which is in force, or the first one where it is no longer sent.
    Rather(&'a SpiffeId),
    /// The first one.
    First,
}

impl Context {
    /// Takes the SVID that is chosen. A federated bundle that cannot be used leaves the former
    /// one.
    pub(super) fn read(
        response: &X509SvidResponse,
        choice: Choice<'_>,
        former: &ReceivedBundles,
        now: WallTime,
    ) -> Result<Self, SvidError> {
        let (id, svid) = choose(&response.svids, choice)?;
        let identity = identity(&id, svid, now)?;
        let own = id.trust_domain().to_owned();
        let of_own = bundle(&svid.bundle).and_then(|it| it.ok_or_else(|| "is empty".to_owned()));
        let of_own = of_own.map_err(|why| SvidError::Bundle { domain: own.clone(), why })?;
        let (mut bundles, mut unusable) = (BTreeMap::new(), Vec::new());
        for (name, ders) in &response.federated_bundles {
            let Some(domain) = trust_domain(name) else {
                unusable.push((name.clone(), "is no trust domain".to_owned()));
                continue;
            };
            match bundle(ders) {
                Ok(Some(bundle)) => drop(bundles.insert(domain.to_owned(), Arc::new(bundle))),
                Ok(None) => {}
                Err(why) => {
                    let former = former.bundles.get(domain).cloned();
                    bundles.extend(former.map(|former| (domain.to_owned(), former)));
                    unusable.push((domain.to_owned(), why));
                }
            }
        }
        bundles.insert(own.clone(), Arc::new(of_own));
        let bundles = Arc::new(ReceivedBundles { own, bundles });
        Ok(Self { id, identity: Arc::new(identity), bundles, unusable })
    }
}

/// The chosen SVID and its name.
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
        Choice::Rather(id) => find(id),
        Choice::First => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let first = svids.first().ok_or(SvidError::None)?;
    let id = SpiffeId::parse(&first.spiffe_id).map_err(|_| SvidError::NoId)?;
    Ok((id, first))
}

/// The certificate and key of an SVID.
fn identity(id: &SpiffeId, svid: &X509Svid, now: WallTime) -> Result<Identity, SvidError> {
    let shown = || id.as_str().to_owned();
    let chain = certificates(&svid.chain).ok_or_else(|| SvidError::NotDer(shown()))?;
    let leaf = chain.first().ok_or_else(|| SvidError::NotDer(shown()))?;
    let unfit = |cause| SvidError::Certificate { id: shown(), cause };
    let read = Read::new(leaf).map_err(unfit)?;
    if read.is_authority() {
        return Err(unfit(Cause::WrongUsage));
    }
    let (name, _) = read.names().map_err(unfit)?.into_callers();
    if name != CallerName::Spiffe(id.clone()) {
        return Err(SvidError::OtherName(shown()));
    }
    // Its chain is not verified by its own bundle: the agent is trusted with both, and a bundle
    // that withdraws an authority must not wait for an SVID of another.
    Identity::from_der(chain, &svid.key, now).map_err(|error| match error {
        IdentityError::Certificate(why) => SvidError::Chain { id: shown(), why },
        IdentityError::Key(why) => SvidError::Key { id: shown(), why },
    })
}

/// A bundle; none where it is empty. The error follows its name.
fn bundle(ders: &[u8]) -> Result<Option<Bundle>, String> {
    let certificates = certificates(ders).ok_or("is not a sequence of certificates")?;
    if certificates.is_empty() { Ok(None) } else { Bundle::new(&certificates).map(Some) }
}

/// Certificates in DER, one after the other.
fn certificates(ders: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut reader = SliceReader::new(ders).ok()?;
    let mut all = Vec::new();
    while !reader.is_finished() {
        all.push(CertificateDer::from(reader.tlv_bytes().ok()?.to_vec()));
    }
    Some(all)
}

/// The trust domain that a bundle is sent for: as a SPIFFE ID, which has no path.
fn trust_domain(name: &str) -> Option<&str> {
    let domain = name.strip_prefix("spiffe://").unwrap_or(name);
    let domain = domain.strip_suffix('/').unwrap_or(domain);
    is_trust_domain(domain).then_some(domain)
}
