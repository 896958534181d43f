//! Many tokens.

use std::{fmt, time::Duration};

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Streaming};

use crate::{
    Connection, Error, Options, Validity,
    proto::{
        IdentityList, IdentitySeries, MintOptions, MintTokensRequest, MintTokensResponse,
        mint_tokens_request::Selection, token_service_client::TokenServiceClient,
    },
    retry,
};

/// Indices requested by one call; it is halved where the server allows fewer.
const SERIES_PER_CALL: usize = 1_000_000;

/// Identities sent by one call.
const LIST_PER_CALL: usize = 10_000;

/// Whose tokens to mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identities {
    /// These.
    List(Vec<String>),
    /// The prefix followed by 0, 1 and so on.
    Series {
        /// What precedes the number.
        prefix: String,
        /// How many.
        count: usize,
    },
}

/// Tokens for consecutive indices: bearer secrets, which its `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The index of the first token.
    pub first_index: usize,
    /// The tokens.
    pub tokens: Vec<String>,
    /// How long all of them are good for.
    pub validity: Validity,
}

/// A bulk in progress. It calls the server as chunks are requested, over as many calls as needed.
#[must_use = "a bulk mints nothing until its chunks are requested"]
pub struct Bulk {
    connection: Connection,
    identities: Identities,
    options: MintOptions,
    patience: Duration,
    /// The next index to receive.
    next: usize,
    per_call: usize,
    call: Option<Streaming<MintTokensResponse>>,
    /// When a token was last received.
    progress: Instant,
    /// Failures since then.
    failures: u32,
    on_resume: Option<OnResume>,
}

type OnResume = Box<dyn FnMut(usize, &Error) + Send + Sync>;

impl Identities {
    /// A series: `prefix0`, `prefix1` and so on.
    #[must_use]
    pub fn series(prefix: impl Into<String>, count: usize) -> Self {
        Self::Series { prefix: prefix.into(), count }
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::List(identities) => identities.len(),
            Self::Series { count, .. } => *count,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn per_call(&self) -> usize {
        match self {
            Self::List(_) => LIST_PER_CALL,
            Self::Series { .. } => SERIES_PER_CALL,
        }
    }

    /// The selection of the indices from `start` to before `end`, and its first index.
    fn select(&self, start: usize, end: usize) -> (Selection, i64) {
        let index = |index: usize| i64::try_from(index).unwrap_or(i64::MAX);
        match self {
            Self::List(identities) => {
                let identities = identities.get(start..end).unwrap_or_default().to_vec();
                (Selection::IdentityList(IdentityList { identities }), 0)
            }
            Self::Series { prefix, .. } => {
                let series = IdentitySeries { prefix: prefix.clone(), count: index(end) };
                (Selection::IdentitySeries(series), index(start))
            }
        }
    }
}

impl Bulk {
    pub(crate) fn new(
        connection: Connection,
        identities: Identities,
        options: &Options,
        patience: Duration,
    ) -> Self {
        Self {
            connection,
            per_call: identities.per_call(),
            identities,
            options: options.message.clone(),
            patience,
            next: 0,
            call: None,
            progress: Instant::now(),
            failures: 0,
            on_resume: None,
        }
    }

    /// Starts at this index instead of 0: the one after the last that was received.
    pub fn start_at(mut self, index: usize) -> Self {
        self.next = index;
        self
    }

    /// Calls `report` with the next index and the error before each resumption, for example to log it.
    pub fn on_resume(mut self, report: impl FnMut(usize, &Error) + Send + Sync + 'static) -> Self {
        self.on_resume = Some(Box::new(report));
        self
    }

    /// The index of the next token: where to resume after an error.
    #[must_use]
    pub fn next_index(&self) -> usize {
        self.next
    }

    /// Receives the next chunk; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The server refuses, or there was no progress for the client's patience. Tokens received
    /// before stay good, and a call after an error resumes.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        while self.next < self.identities.len() {
            let error = match self.receive().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => continue,
                Err(error) => error,
            };
            self.call = None;
            if error.reason() == Some("BULK_TOO_LARGE") && self.per_call > 1 {
                self.per_call /= 2;
                continue;
            }
            let ended = matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled);
            if !(error.is_retryable() || ended) || self.progress.elapsed() > self.patience {
                self.progress = Instant::now();
                return Err(error);
            }
            self.failures = self.failures.saturating_add(1);
            if let Some(report) = &mut self.on_resume {
                report(self.next, &error);
            }
            let pause = error.retry_after().unwrap_or_else(|| retry::backoff(self.failures));
            sleep(pause).await;
        }
        Ok(None)
    }

    /// The chunks as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Chunk, Error>> + Send {
        stream::try_unfold(self, async |mut bulk| {
            let chunk = bulk.next().await?;
            Ok(chunk.map(|chunk| (chunk, bulk)))
        })
    }

    /// Receives the next chunk of the call, which is made if there is none; `None` at its end.
    async fn receive(&mut self) -> Result<Option<Chunk>, Error> {
        let call = if let Some(call) = &mut self.call {
            call
        } else {
            let call = self.start().await?;
            self.call.insert(call)
        };
        let Some(message) = call.message().await? else {
            self.call = None;
            return Ok(None);
        };
        let chunk = Chunk {
            // The indices of a call for a part of a list start at 0, so they are counted here.
            first_index: self.next,
            validity: Validity::received(message.validity.unwrap_or_default()),
            tokens: message.tokens,
        };
        self.next += chunk.tokens.len();
        (self.progress, self.failures) = (Instant::now(), 0);
        Ok(Some(chunk))
    }

    async fn start(&self) -> Result<Streaming<MintTokensResponse>, Error> {
        let end = self.identities.len().min(self.next.saturating_add(self.per_call));
        let (selection, start_index) = self.identities.select(self.next, end);
        let request = MintTokensRequest {
            options: Some(self.options.clone()),
            selection: Some(selection),
            start_index,
            chunk_size: 0,
        };
        let mut service = TokenServiceClient::new(self.connection.clone());
        Ok(service.mint_tokens(Request::new(request)).await?.into_inner())
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("next", &self.next)
            .field("of", &self.identities.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("first_index", &self.first_index)
            .field("tokens", &self.tokens.len())
            .field("validity", &self.validity)
            .finish()
    }
}
