//! Signs what was offered: in the task of the call, in the pool where signatures are slow, or once
//! for all calls that share a token.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    bulk::{Chunk, Signatures},
    minter::{ANSWER_ALLOWANCE, Cause, Minted, Minter, Plan, Unserved},
    offer::Offer,
    profile::Signing,
};
use crate::{
    name::Identity,
    token::{
        SignError, Speed, Stamped,
        id::{Serial, fingerprint},
        pool::{Lane, Unsigned},
    },
};

impl Minter {
    /// A token of a fast signature.
    pub(super) fn sign(
        &self,
        plan: &Plan,
        offer: &Offer,
        identity: &Identity,
    ) -> Result<Minted, Unserved> {
        let serial = self.serials.next();
        let stamped = offer.stamped(plan)?;
        let token = String::from(stamped.sign(identity.as_str(), serial)?);
        let token_id = stamped.token_id(serial).unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms: offer.terms })
    }

    /// A token of a slow signature, or of one that is shared.
    pub(super) async fn sign_slowly(
        &self,
        plan: &Plan,
        offer: &Offer,
        identity: &Identity,
        deadline: Option<Instant>,
    ) -> Result<Minted, Unserved> {
        let (token, token_id) = match plan.signing {
            Signing::Shared(speed) => {
                let token = self.shared(plan, offer, speed, Lane::One, deadline).await?;
                (String::from(&*token), None)
            }
            Signing::Own(speed) => {
                let (stamped, serial) = (offer.stamped(plan)?, self.serials.next());
                let token_id = stamped.token_id(serial);
                let identity = identity.as_str().to_owned();
                let sign = signing(stamped, identity, serial);
                (self.one(speed, Lane::One, deadline, sign).await?, token_id)
            }
        };
        let terms = offer.terms.handed_out_at(self.clock.now()).ok_or(OVERLOADED)?;
        let token_id = token_id.unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms })
    }

    /// A chunk with its signatures made.
    pub(super) async fn sign_chunk(
        &self,
        mut chunk: Chunk,
        plan: &Plan,
        offer: &Offer,
        deadline: Option<Instant>,
    ) -> Result<Chunk, Unserved> {
        match (plan.signing, &chunk.signatures) {
            (Signing::Shared(speed), _) => {
                let token = self.shared(plan, offer, speed, Lane::Chunk, deadline).await?;
                chunk.signatures = Signatures::Shared(token);
            }
            (Signing::Own(Speed::Slow), Signatures::ToMake(stamped, serials)) => {
                let (stamped, serials) = (Arc::clone(stamped), *serials);
                let (selection, start) = (Arc::clone(&chunk.selection), chunk.indices.start);
                let sign = move |number: usize| {
                    let further = u64::try_from(number).map_err(|_| SignError)?;
                    let mut buffer = String::new();
                    let index = start.saturating_add_unsigned(further);
                    let identity = selection.identity(index, &mut buffer).ok_or(SignError)?;
                    stamped.sign(identity, serials.plus(further)).map(String::from)
                };
                let pool = self.pool.as_ref().ok_or(SignError)?;
                let signed = pool.sign(Lane::Chunk, chunk.count(), until(deadline), sign);
                chunk.signatures = Signatures::Made(signed.await?);
            }
            (Signing::Own(_), _) => {}
        }
        chunk.terms = chunk.terms.handed_out_at(self.clock.now()).ok_or(OVERLOADED)?;
        Ok(chunk)
    }

    /// The token that all calls share which say the same.
    async fn shared(
        &self,
        plan: &Plan,
        offer: &Offer,
        speed: Speed,
        lane: Lane,
        deadline: Option<Instant>,
    ) -> Result<Arc<str>, Unserved> {
        let shared = offer.shared().ok_or(SignError)?;
        let make = async || {
            // It names nobody.
            let sign = signing(offer.stamped(plan)?, String::new(), self.serials.next());
            self.one(speed, lane, deadline, sign).await
        };
        let call = plan.call();
        let token = shared.get(offer.terms.times(), &call, make);
        match until(deadline) {
            Some(until) => timeout_at(until, token).await.unwrap_or(Err(OVERLOADED)),
            None => token.await,
        }
    }

    /// One token, in the pool where its signature is slow.
    async fn one(
        &self,
        speed: Speed,
        lane: Lane,
        deadline: Option<Instant>,
        sign: impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static,
    ) -> Result<String, Unserved> {
        match speed {
            Speed::Fast => Ok(sign(0)?),
            Speed::Slow => {
                let pool = self.pool.as_ref().ok_or(SignError)?;
                let mut tokens = pool.sign(lane, 1, until(deadline), sign).await?;
                Ok(tokens.pop().ok_or(SignError)?)
            }
        }
    }
}

const OVERLOADED: Unserved = Unserved { cause: Cause::Overloaded, retry_in: Duration::ZERO };

/// Signs the token of one identity.
fn signing(
    stamped: Arc<dyn Stamped>,
    identity: String,
    serial: Serial,
) -> impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static {
    move |_| stamped.sign(&identity, serial).map(String::from)
}

/// When a signature must be made, so that there is time to answer.
fn until(deadline: Option<Instant>) -> Option<Instant> {
    deadline.map(|deadline| deadline.checked_sub(ANSWER_ALLOWANCE).unwrap_or(deadline))
}

impl From<Unsigned> for Unserved {
    fn from(unsigned: Unsigned) -> Self {
        match unsigned {
            Unsigned::Failed => SignError.into(),
            Unsigned::Overloaded(retry_in) => Self { retry_in, ..OVERLOADED },
            Unsigned::Closed => Minter::draining(),
        }
    }
}
