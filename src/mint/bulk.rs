//! Many tokens for identities that are known now, a chunk at a time, each chunk of one grant.

use std::{ops::Range, sync::Arc};

use tokio::time::Instant;

use super::{
    minter::{ANSWER_ALLOWANCE, Minter, Plan, Unserved},
    options::{Invalid, Violation},
    terms::Terms,
};
use crate::{
    drain::{Drain, Phase},
    name::Identity,
};

/// Bytes of tokens in a chunk at the most: what a reader that stops holds in memory.
const CHUNK_BYTES: usize = 96 * 1024;

/// Identities that are validated before other tasks get a turn.
const SLICE: usize = 1_024;

/// Whose tokens, by index.
#[derive(Debug)]
pub enum Selection {
    /// These.
    List(Vec<Identity>),
    /// This prefix and the index in decimal, for indices below the count.
    Series {
        /// What stands before the number.
        prefix: String,
        /// How many.
        count: i64,
    },
}

impl Selection {
    /// Identities by name, validated; long lists give other tasks a turn. The first bad one
    /// is told.
    pub async fn list(identities: Vec<String>) -> Result<Self, Violation> {
        let mut parsed = Vec::with_capacity(identities.len());
        for (index, identity) in identities.into_iter().enumerate() {
            if index % SLICE == SLICE - 1 {
                tokio::task::yield_now().await;
            }
            parsed.push(Identity::parse(identity).map_err(|error| {
                let field = format!("identity_list.identities[{index}]");
                Violation::new(field, Invalid::Identity, error.as_str())
            })?);
        }
        Ok(Self::List(parsed))
    }

    /// Identities by number.
    pub fn series(prefix: String, count: i64) -> Result<Self, Violation> {
        let last = count.saturating_sub(1).max(0);
        match Identity::parse(format!("{prefix}{last}")) {
            Ok(_) => Ok(Self::Series { prefix, count }),
            Err(error) => {
                let field = "identity_series.prefix";
                Err(Violation::new(field, Invalid::Identity, error.as_str()))
            }
        }
    }

    /// How many identities there are.
    #[must_use]
    pub fn count(&self) -> i64 {
        match self {
            Self::List(identities) => i64::try_from(identities.len()).unwrap_or(i64::MAX),
            Self::Series { count, .. } => *count,
        }
    }

    /// Writes the identity of `index` to `buffer`, or lends the listed one.
    fn identity<'a>(&'a self, index: i64, buffer: &'a mut String) -> Option<&'a str> {
        match self {
            Self::List(identities) => {
                identities.get(usize::try_from(index).ok()?).map(Identity::as_str)
            }
            Self::Series { prefix, .. } => {
                buffer.clear();
                buffer.push_str(prefix);
                buffer.push_str(itoa::Buffer::new().format(index));
                Some(buffer)
            }
        }
    }
}

/// Tokens for consecutive indices, all of one grant.
pub struct Chunk {
    /// The credentials: secrets.
    pub tokens: Vec<String>,
    /// The index of the first.
    pub first_index: i64,
    /// How long they are good for.
    pub terms: Terms,
}

/// Why a bulk ended before its last index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No grant will do, now, or the server goes away.
    Unserved(Unserved),
    /// The deadline is about to pass.
    Deadline,
}

/// A bulk under way. It is pulled: a chunk is minted when it is asked for, nothing is queued.
#[derive(Debug)]
pub struct Bulk {
    minter: Arc<Minter>,
    drain: Drain,
    plan: Plan,
    selection: Selection,
    indices: Range<i64>,
    chunk_tokens: i64,
    deadline: Option<Instant>,
}

impl Bulk {
    /// The whole selection from `start_index` on, in chunks of at most `chunk_size` tokens
    /// (0: as many as the limits allow).
    #[must_use]
    pub fn new(
        minter: Arc<Minter>,
        drain: Drain,
        plan: Plan,
        selection: Selection,
        start_index: i64,
        chunk_size: i32,
        deadline: Option<Instant>,
    ) -> Self {
        let most = i64::try_from(minter.limits.chunk_tokens).unwrap_or(i64::MAX);
        let chunk_tokens = if chunk_size <= 0 { most } else { most.min(chunk_size.into()) };
        let indices = start_index..selection.count();
        Self { minter, drain, plan, selection, indices, chunk_tokens, deadline }
    }

    /// The index that the next chunk starts with.
    #[must_use]
    pub fn next_index(&self) -> i64 {
        self.indices.start
    }

    /// The grant that it is served from.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        self.plan.grant_name()
    }

    /// The deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The next chunk; none after the last index.
    pub async fn next_chunk(&mut self) -> Result<Option<Chunk>, End> {
        if self.indices.is_empty() {
            return Ok(None);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() + ANSWER_ALLOWANCE >= deadline) {
            return Err(End::Deadline);
        }
        if self.drain.reached(Phase::Draining) {
            return Err(End::Unserved(Minter::draining()));
        }
        let offer = self.minter.offer(&self.plan, self.deadline).await.map_err(End::Unserved)?;

        let first_index = self.indices.start;
        let wanted = (self.indices.end - first_index).min(self.chunk_tokens);
        let serials = self.minter.serials.range(wanted.unsigned_abs());
        let stamped = offer.stamped();
        let (mut tokens, mut bytes, mut buffer) = (Vec::new(), 0, String::new());
        for (further, index) in (0..).zip(first_index..first_index + wanted) {
            let Some(identity) = self.selection.identity(index, &mut buffer) else { break };
            let token = stamped.sign(identity, serials.plus(further));
            if tokens.is_empty() {
                let fit = (CHUNK_BYTES / token.len().max(1)).max(1);
                tokens.reserve_exact(fit.min(usize::try_from(wanted).unwrap_or(fit)));
            }
            let length = token.len();
            if bytes + length > CHUNK_BYTES && !tokens.is_empty() {
                break;
            }
            tokens.push(token);
            bytes += length;
            self.indices.start = index + 1;
            // Tokens of a chunk are much alike: one more is not signed only to be dropped.
            if bytes + length > CHUNK_BYTES {
                break;
            }
        }
        Ok(Some(Chunk { tokens, first_index, terms: offer.terms }))
    }
}
