//! Who makes a call.

use std::{future::pending, sync::Arc};

use crate::{
    auth::{
        bearer::{Bearers, Verified},
        name::CallerName,
        peer::Peer,
        refusal::Denied,
    },
    drain::lifetime::{KnownCall, Lifetime},
};

/// Who makes a call.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever is at the other end of its connection.
    Peer(Arc<Peer>),
    /// Whom its bearer token names.
    Bearer {
        verified: Arc<Verified>,
        bearers: Arc<Bearers>,
        peer: Arc<Peer>,
        /// Its connection lives on with it.
        #[expect(dead_code, reason = "it counts until it is dropped")]
        call: KnownCall,
    },
}

impl Caller {
    /// Whom a bearer token names.
    pub(super) fn bearer(
        verified: Arc<Verified>,
        bearers: &Arc<Bearers>,
        peer: &Arc<Peer>,
        lifetime: &Lifetime,
    ) -> Self {
        let (bearers, peer) = (Arc::clone(bearers), Arc::clone(peer));
        Self::Bearer { verified, bearers, peer, call: lifetime.known_call() }
    }

    /// The other end of its connection.
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Peer(peer) | Self::Bearer { peer, .. } => peer,
        }
    }

    /// All names that it may go by.
    pub(super) fn names(&self) -> impl Iterator<Item = &CallerName> {
        let (first, also) = match self {
            Self::Peer(peer) => (peer.name.as_ref(), &*peer.also),
            Self::Bearer { verified, .. } => (Some(&verified.name), &[][..]),
        };
        first.into_iter().chain(also)
    }

    /// Whether its token has expired since the call began.
    ///
    /// # Errors
    ///
    /// It has.
    pub(super) fn is_valid(&self) -> Result<(), Denied> {
        match self {
            Self::Bearer { verified, bearers, peer, .. } if bearers.left(verified).is_none() => {
                Err(bearers.expire(verified, peer))
            }
            _ => Ok(()),
        }
    }

    /// Returns when its token has expired; never for one without.
    pub(super) async fn expired(&self) -> Denied {
        match self {
            Self::Peer(_) => pending().await,
            Self::Bearer { verified, bearers, peer, .. } => {
                bearers.expired(verified).await;
                bearers.expire(verified, peer)
            }
        }
    }
}
