//! Who makes a call.

use std::{future::pending, sync::Arc};

use crate::{
    auth::{bearer::Session, name::CallerName, peer::Peer, refusal::Denied},
    drain::lifetime::{KnownCall, Lifetime},
};

/// Who makes a call.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever is at the other end of its connection.
    Peer(Arc<Peer>),
    /// Whom its bearer token names.
    Bearer {
        session: Session,
        /// Its connection stays open with it.
        #[expect(dead_code, reason = "it counts until it is dropped")]
        call: KnownCall,
    },
}

impl Caller {
    /// Whom a bearer token names.
    pub(super) fn bearer(session: Session, lifetime: &Lifetime) -> Self {
        Self::Bearer { session, call: lifetime.known_call() }
    }

    /// The other end of its connection.
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Peer(peer) => peer,
            Self::Bearer { session, .. } => session.peer(),
        }
    }

    /// All names that it may go by.
    pub(super) fn names(&self) -> impl Iterator<Item = &CallerName> {
        let (first, also) = match self {
            Self::Peer(peer) => (peer.name.as_ref(), &*peer.other_names),
            Self::Bearer { session, .. } => (Some(session.name()), &[][..]),
        };
        first.into_iter().chain(also)
    }

    /// Whether its token, if it has one, still names it.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(super) fn is_valid(&self) -> Result<(), Denied> {
        match self {
            Self::Peer(_) => Ok(()),
            Self::Bearer { session, .. } => session.check(),
        }
    }

    /// Returns when its token no longer names it; never for one without.
    pub(super) async fn ended(&self) -> Denied {
        match self {
            Self::Peer(_) => pending().await,
            Self::Bearer { session, .. } => session.ended().await,
        }
    }
}
