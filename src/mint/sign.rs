//! Signs what was offered: in the task of the call, in the pool where signatures are slow, or once
//! for all calls that share a token.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{
    bulk::{Chunk, End, Signatures},
    minter::{ANSWER_ALLOWANCE, Cause, Minted, Minter, Plan, Unserved},
    offer::Offer,
    profile::Signing,
    terms::Terms,
};
use crate::{
    name::Identity,
    token::{
        SignError, Speed, Stamped,
        id::{Serial, fingerprint},
        pool::{Lane, Pool, PoolError},
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
                let token = self.shared(plan, offer, speed, deadline).await?;
                (String::from(&*token), None)
            }
            Signing::Own(speed) => {
                let (stamped, serial) = (offer.stamped(plan)?, self.serials.next());
                let token_id = stamped.token_id(serial);
                let sign = signing(stamped, identity.as_str().to_owned(), serial);
                (one(self.pool(), speed, until(deadline), sign).await?, token_id)
            }
        };
        let terms = self.handed_out(plan, offer.terms)?;
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
    ) -> Result<Chunk, End> {
        match (plan.signing, &chunk.signatures) {
            (Signing::Shared(speed), _) => {
                let token = self.shared(plan, offer, speed, deadline).await;
                chunk.signatures = Signatures::Shared(token.map_err(End::Unserved)?);
            }
            (Signing::Own(Speed::Slow), Signatures::ToMake(stamped, serials)) => {
                let (stamped, serials) = (Arc::clone(stamped), *serials);
                let last = serials.plus(chunk.count().saturating_sub(1) as u64);
                let ids = stamped.token_id(serials).zip(stamped.token_id(last));
                let (selection, start) = (Arc::clone(&chunk.selection), chunk.indices.start);
                let sign = move |number: usize| {
                    let further = u64::try_from(number).map_err(|_| SignError)?;
                    let mut buffer = String::new();
                    let index = start.saturating_add_unsigned(further);
                    let identity = selection.identity(index, &mut buffer).ok_or(SignError)?;
                    stamped.sign(identity, serials.plus(further)).map(String::from)
                };
                let pool = self.pool().ok_or_else(|| End::Unserved(SignError.into()))?;
                let signed = pool.sign(Lane::Chunk, chunk.count(), until(deadline), sign).await;
                let signed = signed.map_err(|error| match error {
                    // The bulk has come to its own end.
                    PoolError::Late(_) => End::Deadline,
                    error => End::Unserved(error.into()),
                });
                chunk.signatures = Signatures::Made(signed?, ids);
            }
            (Signing::Own(_), _) => {}
        }
        chunk.terms = self.handed_out(plan, chunk.terms).map_err(End::Unserved)?;
        Ok(chunk)
    }

    /// The token that all calls share which say the same.
    async fn shared(
        &self,
        plan: &Plan,
        offer: &Offer,
        speed: Speed,
        deadline: Option<Instant>,
    ) -> Result<Arc<str>, Unserved> {
        let shared = offer.shared().ok_or(SignError)?;
        let call = plan.call();
        let make = || {
            // It names nobody.
            let sign = signing(offer.stamped(plan)?, String::new(), self.serials.next());
            let pool = self.pool().cloned();
            Ok(async move { one(pool.as_ref(), speed, None, sign).await })
        };
        let token = shared.get(offer.terms.times(), &call, make);
        match until(deadline) {
            Some(until) => {
                timeout_at(until, token).await.unwrap_or_else(|_| Err(self.overloaded()))
            }
            None => token.await,
        }
    }

    /// The terms of a token now that its signature has been waited for.
    fn handed_out(&self, plan: &Plan, terms: Terms) -> Result<Terms, Unserved> {
        let terms = terms.handed_out_at(self.clock.now());
        let terms = terms.filter(|terms| terms.use_within >= plan.ask.min_remaining);
        terms.ok_or_else(|| self.overloaded())
    }

    /// What a call gets that has waited for a slow signature for too long.
    fn overloaded(&self) -> Unserved {
        let retry_in = self.pool().map(|pool| pool.expected(Lane::One, 1)).unwrap_or_default();
        Unserved { cause: Cause::Overloaded, retry_in }
    }

    const fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }
}

/// One token, in the pool where its signature is slow.
async fn one(
    pool: Option<&Pool>,
    speed: Speed,
    until: Option<Instant>,
    sign: impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static,
) -> Result<String, Unserved> {
    match speed {
        Speed::Fast => Ok(sign(0)?),
        Speed::Slow => {
            let pool = pool.ok_or(SignError)?;
            let mut tokens = pool.sign(Lane::One, 1, until, sign).await?;
            Ok(tokens.pop().ok_or(SignError)?)
        }
    }
}

/// Signs the token of one identity.
fn signing(
    stamped: Arc<dyn Stamped>,
    identity: String,
    serial: Serial,
) -> impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static {
    move |_| stamped.sign(&identity, serial).map(String::from)
}

/// When a signature must be made, so that there is time to answer; of what is left of a short
/// deadline, half.
fn until(deadline: Option<Instant>) -> Option<Instant> {
    deadline.map(|deadline| {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        now + left.saturating_sub(ANSWER_ALLOWANCE).max(left / 2)
    })
}

impl From<PoolError> for Unserved {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Failed => SignError.into(),
            PoolError::Overloaded(retry_in) | PoolError::Late(retry_in) => {
                Self { cause: Cause::Overloaded, retry_in }
            }
            PoolError::Closed => Minter::draining(),
        }
    }
}
