//! Signs a token: in the call's task, in the pool where signatures are slow, or once for all calls
//! that share it.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{
    RESPONSE_ALLOWANCE,
    bulk::{Chunk, End, Signatures},
    candidate::Candidate,
    minter::{Cause, Minted, Minter, Unserved},
    plan::Plan,
    profile::Signing,
    terms::Terms,
};
use crate::{
    name::Identity,
    token::{
        CallSigner, SignError, Speed,
        id::{Serial, fingerprint},
        pool::{Lane, Pool, PoolError},
    },
};

impl Minter {
    /// Signs one token with a fast signature.
    pub(super) fn sign(
        &self,
        plan: &Plan,
        candidate: &Candidate,
        identity: &Identity,
    ) -> Result<Minted, Unserved> {
        let serial = self.serials.next();
        let call_signer = candidate.call_signer(plan)?;
        let token = String::from(call_signer.sign(identity.as_str(), serial)?);
        let token_id = call_signer.token_id(serial).unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms: candidate.terms })
    }

    /// Signs one token with a slow signature, or returns the shared one.
    pub(super) async fn sign_slowly(
        &self,
        plan: &Plan,
        candidate: &Candidate,
        identity: &Identity,
        deadline: Option<Instant>,
    ) -> Result<Minted, Unserved> {
        let (token, token_id) = match plan.signing {
            Signing::Shared(speed) => {
                let token = self.shared(plan, candidate, speed, deadline).await?;
                (String::from(&*token), None)
            }
            Signing::Own(speed) => {
                let (call_signer, serial) = (candidate.call_signer(plan)?, self.serials.next());
                let token_id = call_signer.token_id(serial);
                let sign = signing(call_signer, identity.as_str().to_owned(), serial);
                (one(self.pool(), speed, until(deadline), sign).await?, token_id)
            }
        };
        let terms = self.terms_after_wait(plan, candidate.terms)?;
        let token_id = token_id.unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms })
    }

    /// Signs a whole chunk.
    pub(super) async fn sign_chunk(
        &self,
        mut chunk: Chunk,
        plan: &Plan,
        candidate: &Candidate,
        deadline: Option<Instant>,
    ) -> Result<Chunk, End> {
        match (plan.signing, &chunk.signatures) {
            (Signing::Shared(speed), _) => {
                let token = self.shared(plan, candidate, speed, deadline).await;
                chunk.signatures = Signatures::Shared(token.map_err(End::Unserved)?);
            }
            (Signing::Own(Speed::Slow), Signatures::ToMake(call_signer, serials)) => {
                let (call_signer, serials) = (Arc::clone(call_signer), *serials);
                let last = serials.plus(chunk.count().saturating_sub(1) as u64);
                let ids = call_signer.token_id(serials).zip(call_signer.token_id(last));
                let (selection, start) = (Arc::clone(&chunk.selection), chunk.indices.start);
                let sign = move |number: usize| {
                    let further = u64::try_from(number).map_err(|_| SignError)?;
                    let mut buffer = String::new();
                    let index = start.saturating_add_unsigned(further);
                    let identity = selection.identity(index, &mut buffer).ok_or(SignError)?;
                    call_signer.sign(identity, serials.plus(further)).map(String::from)
                };
                let pool = self.pool().ok_or_else(|| End::Unserved(SignError.into()))?;
                let signed = pool.sign(Lane::Chunk, chunk.count(), until(deadline), sign).await;
                let signed = signed.map_err(|error| match error {
                    // The bulk call reached its own deadline.
                    PoolError::Late(_) => End::Deadline,
                    error => End::Unserved(error.into()),
                });
                chunk.signatures = Signatures::Made(signed?, ids);
            }
            (Signing::Own(_), _) => {}
        }
        chunk.terms = self.terms_after_wait(plan, chunk.terms).map_err(End::Unserved)?;
        Ok(chunk)
    }

    /// The token shared by all calls with the same claims.
    async fn shared(
        &self,
        plan: &Plan,
        candidate: &Candidate,
        speed: Speed,
        deadline: Option<Instant>,
    ) -> Result<Arc<str>, Unserved> {
        let shared = candidate.shared().ok_or(SignError)?;
        let call = plan.call();
        let make = || {
            // A shared token carries no identity.
            let sign = signing(candidate.call_signer(plan)?, String::new(), self.serials.next());
            let pool = self.pool().cloned();
            Ok(async move { one(pool.as_ref(), speed, None, sign).await })
        };
        let token = shared.get(candidate.terms.times(), &call, make);
        match until(deadline) {
            Some(until) => {
                timeout_at(until, token).await.unwrap_or_else(|_| Err(self.overloaded()))
            }
            None => token.await,
        }
    }

    /// The terms of a token after the wait for its signature.
    fn terms_after_wait(&self, plan: &Plan, terms: Terms) -> Result<Terms, Unserved> {
        let terms = terms.returned_at(self.clock.now());
        let terms = terms.filter(|terms| terms.use_within >= plan.request.min_remaining);
        terms.ok_or_else(|| self.overloaded())
    }

    /// The failure of a call that waited too long for a slow signature.
    fn overloaded(&self) -> Unserved {
        let retry_in = self.pool().map(|pool| pool.expected(Lane::One, 1)).unwrap_or_default();
        Unserved { cause: Cause::Overloaded, retry_in }
    }

    const fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }
}

/// Signs one token, in the pool if its signature is slow.
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

/// A closure that signs the token of one identity.
fn signing(
    call_signer: Arc<dyn CallSigner>,
    identity: String,
    serial: Serial,
) -> impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static {
    move |_| call_signer.sign(&identity, serial).map(String::from)
}

/// The latest time for a signature, leaving time to respond. A short deadline is halved.
fn until(deadline: Option<Instant>) -> Option<Instant> {
    deadline.map(|deadline| {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        now + left.saturating_sub(RESPONSE_ALLOWANCE).max(left / 2)
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
