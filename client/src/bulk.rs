//! Many tokens.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Status, Streaming};

use crate::{
    Connection, Error, Options, Validity,
    chunks::{ReceivedChunk, mint_tokens},
    proto::{
        IdentityList, IdentitySeries, MintOptions, MintTokensRequest,
        mint_tokens_request::Selection,
    },
    retry::Resumption,
    token::Arrival,
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
///
/// A chunk that waited unread is returned even if its time is over, or if the server ends the call
/// because it waited (`CHUNK_STALE`). So check [`usable_for`](Validity::usable_for) before the tokens
/// are given to clients.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<T = String> {
    /// The index of the first token.
    pub first_index: usize,
    /// The tokens.
    pub tokens: Vec<T>,
    /// How long all of them are good for.
    pub validity: Validity,
}

/// A bulk in progress. It calls the server as chunks are requested, over as many calls as needed.
#[must_use = "a bulk mints nothing until its chunks are requested"]
pub struct Bulk {
    connection: Connection,
    identities: Identities,
    options: MintOptions,
    /// The next index to receive.
    next: usize,
    per_call: usize,
    /// The first index of the call, and the one after its last.
    call_start: usize,
    call_end: usize,
    call: Option<Streaming<ReceivedChunk>>,
    arrival: Arrival,
    resumption: Resumption,
    on_resume: Option<OnResume>,
}

type OnResume = Box<dyn FnMut(usize, &Error, Duration) + Send + Sync>;

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

    /// The identity at this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Cow<'_, str>> {
        match self {
            Self::List(identities) => identities.get(index).map(|it| it.as_str().into()),
            Self::Series { prefix, count } => {
                (index < *count).then(|| format!("{prefix}{index}").into())
            }
        }
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
    /// A bulk over a connection of your own; [`Client::bulk`](crate::Client::bulk) starts one
    /// over the client's.
    pub fn new(connection: Connection, identities: Identities, options: &Options) -> Self {
        Self {
            connection,
            per_call: identities.per_call(),
            identities,
            options: options.message.clone(),
            next: 0,
            call_start: 0,
            call_end: 0,
            call: None,
            arrival: Arrival::default(),
            resumption: Resumption::new(),
            on_resume: None,
        }
    }

    /// Starts at this index instead of 0: the one after the last that was received.
    pub fn start_at(mut self, index: usize) -> Self {
        self.next = index;
        self
    }

    /// How long to wait for the next chunk, from the request for it and over all attempts. Zero: one
    /// attempt, which may be silent for 15 s. Default: the client's, 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.resumption.set_patience(patience);
        self
    }

    /// Calls `report` before each resumption, for example to log it, with the next index, the
    /// error, and the pause that follows.
    pub fn on_resume(
        mut self,
        report: impl FnMut(usize, &Error, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.on_resume = Some(Box::new(report));
        self
    }

    /// Whose tokens are minted.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The index of the next token: where to resume after an error.
    #[must_use]
    pub fn next_index(&self) -> usize {
        self.next
    }

    /// Receives the next chunk; `None` after the last one. It is cancel safe: a call after a
    /// dropped one continues to wait. If the call to the server was not open yet, it is made
    /// again.
    ///
    /// # Errors
    ///
    /// The server refuses, or no chunk arrives for the client's patience. Tokens received before
    /// stay good, and a call after an error resumes. Indices in an error count from the start of
    /// the bulk.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let Some(Chunk { first_index, tokens, validity }) = self.next_bytes().await? else {
            return Ok(None);
        };
        let text = |token: &Bytes| str::from_utf8(token).map(str::to_owned);
        let Ok(tokens) = tokens.iter().map(text).collect() else {
            (self.next, self.call) = (first_index, None);
            return Err(Status::internal("the server sent a token that is not UTF-8").into());
        };
        Ok(Some(Chunk { first_index, tokens, validity }))
    }

    /// The same with tokens in the buffer in which they were received, for callers that only write
    /// them: no token is copied, or checked to be UTF-8.
    pub async fn next_bytes(&mut self) -> Result<Option<Chunk<Bytes>>, Error> {
        while self.next < self.identities.len() {
            self.resumption.ready().await;
            let error = match self.receive().await {
                Ok(chunk) => return Ok(Some(chunk)),
                Err(error) => error,
            };
            let is_end = self.next == self.call_end;
            self.call = None;
            if is_end {
                continue;
            }
            if error.reason() == Some("BULK_TOO_LARGE") && self.per_call > 1 {
                self.per_call /= 2;
                continue;
            }
            let Some(pause) = self.resumption.after(&error) else { return Err(error) };
            if let Some(report) = &mut self.on_resume {
                report(self.next, &error, pause);
            }
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

    /// Receives the next chunk of the call, which is made if there is none.
    async fn receive(&mut self) -> Result<Chunk<Bytes>, Error> {
        let end = self.resumption.wait();
        if self.call.is_none() {
            self.call_start = self.next;
            self.call_end = self.identities.len().min(self.next.saturating_add(self.per_call));
            let call =
                before(end, self.start()).await.ok_or_else(|| self.resumption.silence())??;
            (self.call, self.arrival) = (Some(call), Arrival::default());
        }
        let ended = || Status::unavailable("the call ended before its last token");
        let call = self.call.as_mut().ok_or_else(ended)?;
        let message = before(end, call.message()).await;
        let message = message.ok_or_else(|| self.resumption.silence())?;
        let message = message.map_err(|status| Error::from(status).moved(self.offset()))?;
        let message = message.ok_or_else(ended)?;
        let index = usize::try_from(message.first_index).ok();
        if index.and_then(|it| it.checked_add(self.offset())) != Some(self.next) {
            let text = format!("the server sent index {} out of order", message.first_index);
            return Err(Status::internal(text).into());
        }
        let chunk = Chunk {
            first_index: self.next,
            validity: self.arrival.validity(message.validity.unwrap_or_default()),
            tokens: message.tokens,
        };
        self.next += chunk.tokens.len();
        self.resumption.progressed();
        Ok(chunk)
    }

    async fn start(&self) -> Result<Streaming<ReceivedChunk>, Error> {
        let (selection, start_index) = self.identities.select(self.call_start, self.call_end);
        let request = MintTokensRequest {
            options: Some(self.options.clone()),
            selection: Some(selection),
            start_index,
            chunk_size: 0,
        };
        let call = mint_tokens(self.connection.clone(), Request::new(request)).await;
        call.map_err(|status| Error::from(status).moved(self.offset()))
    }

    /// The index in the bulk from which the indices of the call count: a call for a part of a list
    /// starts at 0.
    fn offset(&self) -> usize {
        match self.identities {
            Identities::List(_) => self.call_start,
            Identities::Series { .. } => 0,
        }
    }
}

/// The result of this future; `None` if it is not ready by this instant.
async fn before<F: Future>(end: Option<Instant>, future: F) -> Option<F::Output> {
    match end {
        Some(end) => timeout_at(end, future).await.ok(),
        None => Some(future.await),
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

impl<T> fmt::Debug for Chunk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("first_index", &self.first_index)
            .field("tokens", &self.tokens.len())
            .field("validity", &self.validity)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Ready, pending, ready},
        task::{Context, Poll},
    };

    use http::{StatusCode, Uri};
    use http_body_util::Full;
    use hyper_util::rt::TokioIo;
    use prost::Message;
    use tokio::{
        io::{DuplexStream, duplex},
        time::sleep,
    };
    use tonic::{
        Code, codec::Codec, service::interceptor::InterceptedService, transport::Endpoint,
    };
    use tonic_prost::ProstCodec;
    use tower_service::Service;

    use super::*;
    use crate::Bearer;

    /// Connects to a server that accepts connections and never answers.
    struct Silent;

    impl Service<Uri> for Silent {
        type Response = TokioIo<DuplexStream>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            let (ours, theirs) = duplex(64 * 1024);
            tokio::spawn(async move {
                let _open = theirs;
                pending::<()>().await;
            });
            ready(Ok(TokioIo::new(ours)))
        }
    }

    fn silent(patience: Duration) -> Bulk {
        let channel = Endpoint::from_static("http://server").connect_with_connector_lazy(Silent);
        let connection = InterceptedService::new(channel, Bearer::default());
        Bulk::new(connection, Identities::series("a", 3), &Options::new()).patience(patience)
    }

    /// A bulk from index 1 whose call was answered with this chunk.
    fn answered(identities: Identities, chunk: &ReceivedChunk) -> Bulk {
        let message = chunk.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        let body = Full::new(Bytes::from(body));
        let decoder = ProstCodec::<(), ReceivedChunk>::default().decoder();
        let call = Streaming::new_response(decoder, body, StatusCode::OK, None, None);
        let channel = Endpoint::from_static("http://server").connect_with_connector_lazy(Silent);
        let connection = InterceptedService::new(channel, Bearer::default());
        let mut bulk = Bulk::new(connection, identities, &Options::new()).start_at(1);
        (bulk.call_start, bulk.call_end, bulk.call) = (1, 3, Some(call));
        bulk
    }

    fn chunk(first_index: i64, token: &'static [u8]) -> ReceivedChunk {
        ReceivedChunk { tokens: vec![token.into()], first_index, validity: None }
    }

    #[tokio::test(start_paused = true)]
    async fn chunk_must_start_at_the_next_index() {
        let series = || Identities::series("a", 3);
        let list = || Identities::List(vec!["a".to_owned(); 3]);
        for (identities, first_index, is_good) in [
            (series(), 1, true),
            (series(), 0, false),
            (series(), 2, false),
            (series(), -1, false),
            // A call for the rest of a list starts at 0.
            (list(), 0, true),
            (list(), 1, false),
            (list(), i64::MAX, false),
        ] {
            let ended = answered(identities, &chunk(first_index, b"token")).next().await;
            let ended = ended.map(|chunk| chunk.unwrap().first_index).map_err(|it| it.code());
            let expected = if is_good { Ok(1) } else { Err(Code::Internal) };
            assert_eq!(ended, expected, "{first_index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn token_that_is_not_text_is_an_error() {
        let mut bulk = answered(Identities::series("a", 3), &chunk(1, b"tok\xffen"));
        assert_eq!(bulk.next().await.unwrap_err().code(), Code::Internal);
        assert_eq!(bulk.next_index(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_server_is_given_up_when_the_patience_ends() {
        for (patience, limit) in [(5, 5), (60, 60), (0, 15)]
            .map(|(patience, limit)| (Duration::from_secs(patience), Duration::from_secs(limit)))
        {
            let (mut bulk, started) = (silent(patience), Instant::now());
            let error = bulk.next().await.unwrap_err();
            assert_eq!(error.code(), Code::DeadlineExceeded);
            assert_eq!(started.elapsed(), limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_request_for_a_chunk_does_not_extend_the_patience() {
        let (mut bulk, started) = (silent(Duration::from_secs(5)), Instant::now());
        let ended = loop {
            tokio::select! {
                ended = bulk.next() => break ended,
                () = sleep(Duration::from_secs(2)) => {}
            }
        };
        assert!(ended.is_err());
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }
}
