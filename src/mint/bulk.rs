//! Mints many tokens for identities known in advance, in chunks; each chunk uses one grant.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    RESPONSE_ALLOWANCE,
    candidate::Candidate,
    minter::{Draft, Minter, Unserved},
    options::{Field, Invalid, Violation},
    plan::Plan,
    profile::Signing,
    quota::{Charge, Ids, Issued, Quota, QuotaError, Recipients, Wanted},
    resolve::ResourceEntry,
    terms::Terms,
    wait::WaitLimit,
};
use crate::{
    drain::Phase,
    name::Identity,
    telemetry::ProfileMetrics,
    token::{
        CallSigner, SignError, Speed, Token,
        id::{Fingerprint, Serial},
    },
};

/// The maximum bytes of tokens in a chunk: what a stalled reader holds in memory.
pub const CHUNK_BYTES: usize = 96 * 1024;

/// Identities validated before the task yields.
pub const SLICE: usize = 1_024;

/// Tokens in a chunk with slow signatures: all of them are signed before the chunk is sent.
const SLOW_CHUNK: i64 = 64;

/// The smallest chunk that a short quota produces, unless fewer tokens are left or the quota can
/// never hold that many: sending chunks of one token costs more than signing them.
const MIN_CHUNK: u64 = 16;

/// The identities to mint for, by index.
#[derive(Debug)]
pub enum Selection {
    /// Listed identities.
    List(Vec<Identity>),
    /// A prefix followed by the decimal index, for indices below the count.
    Series {
        /// What precedes the index.
        prefix: String,
        /// The number of identities.
        count: i64,
    },
}

impl Selection {
    /// Validates listed identities, yielding during long lists. Reports the first bad one.
    pub async fn list(identities: Vec<String>) -> Result<Self, Violation> {
        let mut parsed = Vec::with_capacity(identities.len());
        for (index, identity) in identities.into_iter().enumerate() {
            if index % SLICE == SLICE - 1 {
                tokio::task::yield_now().await;
            }
            parsed.push(Identity::parse(identity).map_err(|error| {
                let field = Field::ListedIdentity(index);
                Violation::new(field, Invalid::Identity, error.as_str())
            })?);
        }
        Ok(Self::List(parsed))
    }

    /// Identities built from a prefix and an index.
    pub fn series(prefix: String, count: i64) -> Result<Self, Violation> {
        let last = count.saturating_sub(1).max(0);
        match Identity::parse(format!("{prefix}{last}")) {
            Ok(_) => Ok(Self::Series { prefix, count }),
            Err(error) => {
                Err(Violation::new(Field::SeriesPrefix, Invalid::Identity, error.as_str()))
            }
        }
    }

    /// Checks the identities against the rule of the call's profile, those of a series from
    /// `start_index` on. Yields during long lists.
    ///
    /// # Errors
    ///
    /// Reports the first identity that the profile's tokens cannot carry.
    pub async fn check(&self, start_index: i64, draft: &Draft<'_>) -> Result<(), Violation> {
        match self {
            Self::List(identities) => {
                for (index, identity) in identities.iter().enumerate() {
                    if index % SLICE == SLICE - 1 {
                        tokio::task::yield_now().await;
                    }
                    draft.check_identity(identity.as_str(), Field::ListedIdentity(index))?;
                }
                Ok(())
            }
            Self::Series { prefix, count } => {
                // The first and the last: a kind may refuse the shortest as well as the longest.
                [start_index.max(0), count.saturating_sub(1).max(0)].into_iter().try_for_each(
                    |index| draft.check_identity(&format!("{prefix}{index}"), Field::SeriesPrefix),
                )
            }
        }
    }

    /// The number of identities.
    #[must_use]
    pub fn count(&self) -> i64 {
        match self {
            Self::List(identities) => i64::try_from(identities.len()).unwrap_or(i64::MAX),
            Self::Series { count, .. } => *count,
        }
    }

    /// The recipients of the tokens with these indices.
    fn recipients(&self, indices: &Range<i64>) -> Recipients<'_> {
        let Range { start, end } = *indices;
        match self {
            Self::List(identities) => {
                let position = |index| usize::try_from(index).unwrap_or_default();
                let chosen = identities.get(position(start)..position(end)).unwrap_or_default();
                Recipients::List(chosen, start)
            }
            Self::Series { prefix, .. } => {
                let count = u64::try_from(end.saturating_sub(start)).unwrap_or_default();
                Recipients::Series { prefix, first_index: start, count }
            }
        }
    }

    /// Writes the identity of `index` to `buffer`, or borrows the listed one.
    pub(super) fn identity<'a>(&'a self, index: i64, buffer: &'a mut String) -> Option<&'a str> {
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

    /// The longest prefix of `indices` whose tokens fit in a chunk, at least one index, and an
    /// upper bound of those tokens' bytes.
    fn fitting(
        &self,
        indices: Range<i64>,
        token_bytes: impl Fn(&str) -> usize,
    ) -> (Range<i64>, usize) {
        let mut buffer = String::new();
        let mut bytes_of = |index| self.identity(index, &mut buffer).map_or(1, &token_bytes);
        match self {
            Self::List(_) => {
                let mut bytes = 0;
                for index in indices.clone() {
                    bytes += bytes_of(index);
                    if bytes > CHUNK_BYTES && index > indices.start {
                        return (indices.start..index, bytes);
                    }
                }
                (indices, bytes)
            }
            Self::Series { .. } => {
                // The last identity is the longest.
                let longest = bytes_of(indices.end - 1);
                let max = (CHUNK_BYTES / longest).max(1);
                let end = indices.clone().nth(max).unwrap_or(indices.end);
                let fitting = indices.start..end;
                let bytes = fitting.clone().count() * longest;
                (fitting, bytes)
            }
        }
    }
}

/// Tokens for consecutive indices, all from one grant, signed when they are requested.
#[derive(Debug)]
pub struct Chunk {
    pub(super) signatures: Signatures,
    pub(super) selection: Arc<Selection>,
    pub(super) indices: Range<i64>,
    bytes: usize,
    pub(super) terms: Terms,
    entry: ResourceEntry,
    charge: Charge<Arc<dyn Quota>>,
}

/// The signatures of a chunk.
pub(super) enum Signatures {
    /// Not made yet: each is made when it is requested, with consecutive serials.
    ToMake(Arc<dyn CallSigner>, Serial),
    /// Made, with the ids of the first and the last token where tokens have ids.
    Made(Vec<String>, Option<(String, String)>),
    /// One signature for all tokens.
    Shared(Arc<str>),
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signatures")
    }
}

impl Chunk {
    /// The index of the first token.
    #[must_use]
    pub fn first_index(&self) -> i64 {
        self.indices.start
    }

    /// The number of tokens.
    #[must_use]
    pub fn count(&self) -> usize {
        self.indices.clone().count()
    }

    /// An upper bound of the tokens' total bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The tokens' validity.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Each token, signed now unless it was signed before.
    pub fn tokens(&self) -> impl Iterator<Item = Result<Token<'_>, SignError>> {
        let mut buffer = String::new();
        self.indices.clone().zip(0..).map_while(move |(index, number)| match &self.signatures {
            Signatures::ToMake(call_signer, serials) => {
                let identity = self.selection.identity(index, &mut buffer)?;
                Some(call_signer.sign(identity, serials.plus(number)))
            }
            Signatures::Made(tokens, _) => {
                let token = tokens.get(usize::try_from(number).ok()?)?;
                Some(Ok(Token::whole(token)))
            }
            Signatures::Shared(token) => Some(Ok(Token::whole(token))),
        })
    }

    /// The ids to record for the chunk. Ids that are unknown before signing are added with
    /// [`ChunkIds::add`].
    #[must_use]
    pub fn ids(&self) -> ChunkIds {
        let each = |count| ChunkIds::Each { of: Vec::with_capacity(count), count };
        if !self.charge.is_recorded() {
            return each(0);
        }
        let last = self.count().saturating_sub(1) as u64;
        match &self.signatures {
            Signatures::ToMake(call_signer, serial) => {
                let range =
                    call_signer.token_id(*serial).zip(call_signer.token_id(serial.plus(last)));
                range.map_or_else(|| each(self.count()), |(a, b)| ChunkIds::Range(a, b))
            }
            Signatures::Made(_, Some((first, last))) => {
                ChunkIds::Range(first.clone(), last.clone())
            }
            Signatures::Made(_, None) => each(self.count()),
            Signatures::Shared(_) => each(1),
        }
    }

    /// Spends what was taken for the chunk and records these ids. All tokens are signed by now and
    /// are returned next.
    pub fn spend(self, ids: &ChunkIds) {
        let Self { signatures, selection, indices, terms, entry, charge, .. } = self;
        charge.spend(|| Issued {
            recipients: selection.recipients(&indices),
            ids: match (ids, signatures) {
                (ChunkIds::Range(first, last), _) => Ids::Range(first, last),
                (ChunkIds::Each { of, .. }, Signatures::Shared(_)) => {
                    Ids::One(of.first().map_or("", Fingerprint::as_str))
                }
                (ChunkIds::Each { of, .. }, _) => Ids::Each(of),
            },
            terms: &terms,
            origin: entry.origin(),
        });
    }
}

/// The ids of a chunk's tokens, as far as they are recorded.
#[derive(Debug)]
pub enum ChunkIds {
    /// The first and the last of consecutive serials.
    Range(String, String),
    /// One fingerprint a token.
    Each {
        /// The fingerprints so far.
        of: Vec<Fingerprint>,
        /// The number of fingerprints to record.
        count: usize,
    },
}

impl ChunkIds {
    /// Adds the fingerprint of the next token, if it is recorded.
    pub fn add(&mut self, token: &Token<'_>) {
        if let Self::Each { of, count } = self
            && of.len() < *count
        {
            of.push(token.fingerprint());
        }
    }
}

/// Why a bulk call ended before its last index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No grant can be used now, or the server is draining.
    Unserved(Unserved),
    /// The deadline is about to pass.
    Deadline,
}

/// A bulk call in progress. It is pulled: each chunk is minted on request, and nothing is queued.
#[derive(Debug)]
pub struct Bulk {
    minter: Arc<Minter>,
    plan: Plan,
    selection: Arc<Selection>,
    indices: Range<i64>,
    chunk_tokens: i64,
    deadline: Option<Instant>,
    quota: Arc<dyn Quota>,
}

impl Bulk {
    /// Covers the selection from `start_index` on, in chunks of up to `chunk_size` tokens (0: as
    /// many as the limits allow).
    #[must_use]
    pub fn new(
        minter: Arc<Minter>,
        plan: Plan,
        selection: Selection,
        start_index: i64,
        chunk_size: i32,
        deadline: Option<Instant>,
        quota: Arc<dyn Quota>,
    ) -> Self {
        let max = i64::try_from(minter.limits.chunk_tokens).unwrap_or(i64::MAX);
        let chunk_tokens = if chunk_size <= 0 { max } else { max.min(chunk_size.into()) };
        let indices = start_index..selection.count();
        let selection = Arc::new(selection);
        Self { minter, plan, selection, indices, chunk_tokens, deadline, quota }
    }

    /// Continues with changed rights of the caller.
    pub fn change(&mut self, max_ttl: Option<Duration>, quota: Arc<dyn Quota>) {
        self.plan.limit_ttl(max_ttl);
        self.quota = quota;
    }

    /// The identities.
    #[must_use]
    pub fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// The index that the next chunk starts with.
    #[must_use]
    pub fn next_index(&self) -> i64 {
        self.indices.start
    }

    /// Whether tokens for every index were returned.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.indices.is_empty()
    }

    /// The name of the grant that serves the call.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        self.plan.grant_name()
    }

    /// Counts the tokens of the call's profile.
    #[must_use]
    pub fn profile_metrics(&self) -> &ProfileMetrics {
        self.plan.profile_metrics()
    }

    /// The deadline of the call.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the next chunk, or none after the last index.
    pub async fn next_chunk(&mut self) -> Result<Option<Chunk>, End> {
        if self.is_done() {
            return Ok(None);
        }
        let quota = Arc::clone(&self.quota);
        let mut wait = WaitLimit::new(&self.plan, self.deadline, &*quota);
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() + RESPONSE_ALLOWANCE >= deadline)
            {
                return Err(End::Deadline);
            }
            if self.minter.drain.reached(Phase::Draining) {
                return Err(End::Unserved(Minter::draining()));
            }
            let candidate =
                self.minter.candidate(&self.plan, &mut wait).await.map_err(End::Unserved)?;
            match self.chunk(&candidate)? {
                Ok(chunk) => {
                    let chunk = self.signed(chunk, &candidate).await?;
                    self.indices.start = chunk.indices.end;
                    return Ok(Some(chunk));
                }
                Err(QuotaError::Record) => return Err(End::Unserved(Minter::unrecorded())),
                Err(QuotaError::Units(refill)) => {
                    let waited = self.minter.wait_for_units(refill, &mut wait).await;
                    waited.map_err(End::Unserved)?;
                }
            }
        }
    }

    /// Signs the chunk now, unless its tokens are signed as they are written.
    async fn signed(&self, chunk: Chunk, candidate: &Candidate) -> Result<Chunk, End> {
        match self.plan.signing {
            Signing::Own(Speed::Fast) => Ok(chunk),
            _ => self.minter.sign_chunk(chunk, &self.plan, candidate, self.deadline).await,
        }
    }

    /// Builds the longest chunk that is allowed, or reports what it lacks.
    fn chunk(&self, candidate: &Candidate) -> Result<Result<Chunk, QuotaError>, End> {
        let call_signer =
            candidate.call_signer(&self.plan).map_err(|error| End::Unserved(error.into()))?;
        let token_bytes = |identity: &str| call_signer.token_bytes(identity);
        let Range { start, end } = self.indices;
        let max = match self.plan.signing {
            Signing::Own(Speed::Slow) => self.chunk_tokens.min(SLOW_CHUNK),
            Signing::Own(Speed::Fast) | Signing::Shared(_) => self.chunk_tokens,
        };
        let wanted = start..end.min(start.saturating_add(max));
        let (mut indices, mut bytes) = self.selection.fitting(wanted, token_bytes);
        let max = indices.clone().count() as u64;
        let wanted = Wanted {
            min: MIN_CHUNK.min(max),
            max,
            units_each: self.plan.units,
            recipients: self.selection.recipients(&indices),
        };
        let taken = match self.quota.take(&wanted) {
            Ok(taken) => taken,
            Err(error) => return Ok(Err(error)),
        };
        let tokens = taken.tokens;
        let charge = Charge::new(Arc::clone(&self.quota), taken);
        if tokens < max {
            let fewer = start..start.saturating_add_unsigned(tokens);
            (indices, bytes) = self.selection.fitting(fewer, token_bytes);
        }
        let serials = self.minter.serials.range(indices.clone().count() as u64);
        let signatures = Signatures::ToMake(call_signer, serials);
        let (selection, terms) = (Arc::clone(&self.selection), candidate.terms);
        let entry = self.plan.entry.clone();
        Ok(Ok(Chunk { signatures, selection, indices, bytes, terms, entry, charge }))
    }
}
