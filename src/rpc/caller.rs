//! Identifies a call's caller.

use std::{future::pending, sync::Arc};

use crate::{
    auth::{bearer::Session, name::CallerName, peer::Peer, refusal::Denied},
    drain::lifetime::{AuthenticatedCall, Lifetime},
};

/// The caller of a call.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The peer of the connection.
    Peer(Arc<Peer>),
    /// The subject of a bearer token.
    Bearer {
        session: Session,
        /// Keeps the connection from being closed as idle while the call lasts.
        #[expect(dead_code, reason = "it counts until it is dropped")]
        call: AuthenticatedCall,
    },
}

impl Caller {
    /// A caller authenticated by a bearer token.
    pub(super) fn bearer(session: Session, lifetime: &Lifetime) -> Self {
        Self::Bearer { session, call: lifetime.authenticated_call() }
    }

    /// The peer of the connection.
    pub(super) const fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Peer(peer) => peer,
            Self::Bearer { session, .. } => session.peer(),
        }
    }

    /// All names of the caller.
    pub(super) fn names(&self) -> impl Iterator<Item = &CallerName> {
        let (first, also) = match self {
            Self::Peer(peer) => (peer.name.as_ref(), &*peer.other_names),
            Self::Bearer { session, .. } => (Some(session.name()), &[][..]),
        };
        first.into_iter().chain(also)
    }

    /// Checks that the bearer token, if there is one, is still valid.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(super) fn is_valid(&self) -> Result<(), Denied> {
        match self {
            Self::Peer(_) => Ok(()),
            Self::Bearer { session, .. } => session.check(),
        }
    }

    /// Returns when the bearer token is no longer valid; never returns without one.
    pub(super) async fn ended(&self) -> Denied {
        match self {
            Self::Peer(_) => pending().await,
            Self::Bearer { session, .. } => session.ended().await,
        }
    }
}
