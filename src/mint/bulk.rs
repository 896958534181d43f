//! Many tokens for identities that are known now, a chunk at a time, each chunk of one grant.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    hold::Hold,
    minter::{ANSWER_ALLOWANCE, Draft, Minter, Plan, Unserved},
    offer::Offer,
    options::{Field, Invalid, Violation},
    profile::Signing,
    quota::{Charge, Ids, Issued, Quota, Recipients, Short, Wanted},
    resolve::Seat,
    terms::Terms,
};
use crate::{
    drain::Phase,
    name::Identity,
    token::{
        SignError, Speed, Stamped, Token,
        id::{Fingerprint, Serial},
    },
};

/// Bytes of tokens in a chunk at the most: what a reader that stops holds in memory.
pub const CHUNK_BYTES: usize = 96 * 1024;

/// Identities that are validated before other tasks get a turn.
pub const SLICE: usize = 1_024;

/// Tokens in a chunk whose signatures are slow: all of them are signed before it is sent.
const SLOW_CHUNK: i64 = 64;

/// The fewest tokens that a chunk is cut to for want of quota, unless fewer are left or the
/// quota never holds so many: a stream of chunks of one costs more than it signs.
const LEAST_CHUNK: u64 = 16;

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
                let field = Field::ListedIdentity(index);
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
                Err(Violation::new(Field::SeriesPrefix, Invalid::Identity, error.as_str()))
            }
        }
    }

    /// Checks the identities by the rule of the call's profile, those of a series from an index
    /// on; long lists give other tasks a turn.
    ///
    /// # Errors
    ///
    /// The first that the profile's tokens cannot be for.
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

    /// How many identities there are.
    #[must_use]
    pub fn count(&self) -> i64 {
        match self {
            Self::List(identities) => i64::try_from(identities.len()).unwrap_or(i64::MAX),
            Self::Series { count, .. } => *count,
        }
    }

    /// Who gets the tokens of these indices.
    fn recipients(&self, indices: &Range<i64>) -> Recipients<'_> {
        let Range { start, end } = *indices;
        match self {
            Self::List(identities) => {
                let place = |index| usize::try_from(index).unwrap_or_default();
                let chosen = identities.get(place(start)..place(end)).unwrap_or_default();
                Recipients::List(chosen, start)
            }
            Self::Series { prefix, .. } => {
                let count = u64::try_from(end.saturating_sub(start)).unwrap_or_default();
                Recipients::Series { prefix, first_index: start, count }
            }
        }
    }

    /// Writes the identity of `index` to `buffer`, or lends the listed one.
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

    /// The first of `indices`, as many as have tokens that fit in a chunk, but one at least; and
    /// bytes that those tokens do not exceed.
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
                // None is longer than the last.
                let longest = bytes_of(indices.end - 1);
                let most = (CHUNK_BYTES / longest).max(1);
                let end = indices.clone().nth(most).unwrap_or(indices.end);
                let fitting = indices.start..end;
                let bytes = fitting.clone().count() * longest;
                (fitting, bytes)
            }
        }
    }
}

/// Tokens for consecutive indices, all of one grant, signed when they are asked for.
#[derive(Debug)]
pub struct Chunk {
    pub(super) signatures: Signatures,
    pub(super) selection: Arc<Selection>,
    pub(super) indices: Range<i64>,
    bytes: usize,
    pub(super) terms: Terms,
    seat: Seat,
    charge: Charge<Arc<dyn Quota>>,
}

/// The signatures of a chunk.
pub(super) enum Signatures {
    /// Made when they are asked for, with consecutive serials.
    ToMake(Arc<dyn Stamped>, Serial),
    /// Made; with the ids of the first and the last, where they have ids.
    Made(Vec<String>, Option<(String, String)>),
    /// One for all.
    Shared(Arc<str>),
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signatures")
    }
}

impl Chunk {
    /// The index of the first.
    #[must_use]
    pub fn first_index(&self) -> i64 {
        self.indices.start
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.indices.clone().count()
    }

    /// Bytes that all of them together do not exceed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long they are good for.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Each of them, signed now unless it was signed before.
    pub fn tokens(&self) -> impl Iterator<Item = Result<Token<'_>, SignError>> {
        let mut buffer = String::new();
        self.indices.clone().zip(0..).map_while(move |(index, number)| match &self.signatures {
            Signatures::ToMake(stamped, serials) => {
                let identity = self.selection.identity(index, &mut buffer)?;
                Some(stamped.sign(identity, serials.plus(number)))
            }
            Signatures::Made(tokens, _) => {
                let token = tokens.get(usize::try_from(number).ok()?)?;
                Some(Ok(Token::whole(token)))
            }
            Signatures::Shared(token) => Some(Ok(Token::whole(token))),
        })
    }

    /// The ids that the chunk is recorded with: those that are not known before the tokens are
    /// signed must be added.
    #[must_use]
    pub fn ids(&self) -> ChunkIds {
        let each = |count| ChunkIds::Each { of: Vec::with_capacity(count), count };
        if !self.charge.is_recorded() {
            return each(0);
        }
        let last = self.count().saturating_sub(1) as u64;
        match &self.signatures {
            Signatures::ToMake(stamped, serial) => {
                let range = stamped.token_id(*serial).zip(stamped.token_id(serial.plus(last)));
                range.map_or_else(|| each(self.count()), |(a, b)| ChunkIds::Range(a, b))
            }
            Signatures::Made(_, Some((first, last))) => {
                ChunkIds::Range(first.clone(), last.clone())
            }
            Signatures::Made(_, None) => each(self.count()),
            Signatures::Shared(_) => each(1),
        }
    }

    /// All of them are signed, and are handed out next: what was taken for them is spent, and
    /// they are recorded with these ids.
    pub fn spend(self, ids: &ChunkIds) {
        let Self { signatures, selection, indices, terms, seat, charge, .. } = self;
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
            origin: seat.origin(),
        });
    }
}

/// The ids of a chunk's tokens, as far as it is recorded.
#[derive(Debug)]
pub enum ChunkIds {
    /// The first and the last: their serials follow each other.
    Range(String, String),
    /// Fingerprints, so many of them.
    Each {
        /// Those so far.
        of: Vec<Fingerprint>,
        /// How many there will be.
        count: usize,
    },
}

impl ChunkIds {
    /// Adds that of the next token, if it is wanted.
    pub fn add(&mut self, token: &Token<'_>) {
        if let Self::Each { of, count } = self
            && of.len() < *count
        {
            of.push(token.fingerprint());
        }
    }
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
    plan: Plan,
    selection: Arc<Selection>,
    indices: Range<i64>,
    chunk_tokens: i64,
    deadline: Option<Instant>,
    quota: Arc<dyn Quota>,
}

impl Bulk {
    /// The whole selection from `start_index` on, in chunks of at most `chunk_size` tokens
    /// (0: as many as the limits allow).
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
        let most = i64::try_from(minter.limits.chunk_tokens).unwrap_or(i64::MAX);
        let chunk_tokens = if chunk_size <= 0 { most } else { most.min(chunk_size.into()) };
        let indices = start_index..selection.count();
        let selection = Arc::new(selection);
        Self { minter, plan, selection, indices, chunk_tokens, deadline, quota }
    }

    /// Goes on by other rights of its caller.
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

    /// Whether every index has been answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.indices.is_empty()
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
        if self.is_done() {
            return Ok(None);
        }
        let quota = Arc::clone(&self.quota);
        let mut hold = Hold::new(&self.plan, self.deadline, &*quota);
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() + ANSWER_ALLOWANCE >= deadline) {
                return Err(End::Deadline);
            }
            if self.minter.drain.reached(Phase::Draining) {
                return Err(End::Unserved(Minter::draining()));
            }
            let offer = self.minter.offer(&self.plan, &mut hold).await.map_err(End::Unserved)?;
            match self.chunk(&offer)? {
                Ok(chunk) => {
                    let chunk = self.signed(chunk, &offer).await?;
                    self.indices.start = chunk.indices.end;
                    return Ok(Some(chunk));
                }
                Err(Short::Record) => return Err(End::Unserved(Minter::unrecorded())),
                Err(Short::Units(refill)) => {
                    let waited = self.minter.wait_for_units(refill, &mut hold).await;
                    waited.map_err(End::Unserved)?;
                }
            }
        }
    }

    /// The chunk, with its signatures where they are not to be made when it is written.
    async fn signed(&self, chunk: Chunk, offer: &Offer) -> Result<Chunk, End> {
        match self.plan.signing {
            Signing::Own(Speed::Fast) => Ok(chunk),
            _ => self.minter.sign_chunk(chunk, &self.plan, offer, self.deadline).await,
        }
    }

    /// The next chunk, as long as it may be; else what there is too little of.
    fn chunk(&self, offer: &Offer) -> Result<Result<Chunk, Short>, End> {
        let stamped = offer.stamped(&self.plan).map_err(|error| End::Unserved(error.into()))?;
        let token_bytes = |identity: &str| stamped.token_bytes(identity);
        let Range { start, end } = self.indices;
        let most = match self.plan.signing {
            Signing::Own(Speed::Slow) => self.chunk_tokens.min(SLOW_CHUNK),
            Signing::Own(Speed::Fast) | Signing::Shared(_) => self.chunk_tokens,
        };
        let wanted = start..end.min(start.saturating_add(most));
        let (mut indices, mut bytes) = self.selection.fitting(wanted, token_bytes);
        let most = indices.clone().count() as u64;
        let wanted = Wanted {
            least: LEAST_CHUNK.min(most),
            most,
            each: self.plan.units,
            recipients: self.selection.recipients(&indices),
        };
        let taken = match self.quota.take(&wanted) {
            Ok(taken) => taken,
            Err(short) => return Ok(Err(short)),
        };
        let tokens = taken.tokens;
        let charge = Charge::new(Arc::clone(&self.quota), taken);
        if tokens < most {
            let cut = start..start.saturating_add_unsigned(tokens);
            (indices, bytes) = self.selection.fitting(cut, token_bytes);
        }
        let serials = self.minter.serials.range(indices.clone().count() as u64);
        let signatures = Signatures::ToMake(stamped, serials);
        let (selection, terms) = (Arc::clone(&self.selection), offer.terms);
        let seat = self.plan.seat.clone();
        Ok(Ok(Chunk { signatures, selection, indices, bytes, terms, seat, charge }))
    }
}
