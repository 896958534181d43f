//! The client.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Status};

use crate::{
    Bulk, Connection, Error, Identities, Options, Target, Token, Watch,
    cache::Cache,
    proto::{
        Grant, MintTokenRequest, RefreshGrantRequest, grant_service_client::GrantServiceClient,
        token_service_client::TokenServiceClient,
    },
    retry,
};

/// A longer deadline is as good as none, and might not be representable.
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// Calls a grantmint server. Clones share its connection and its cache.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    deadline: Duration,
    patience: Duration,
    cache: Arc<Cache>,
}

impl Client {
    pub(crate) fn new(
        connection: Connection,
        deadline: Duration,
        patience: Duration,
        cache: Cache,
    ) -> Self {
        Self { connection, deadline, patience, cache: Arc::new(cache) }
    }

    /// Mints a new token. Failures that may pass are retried up to the deadline.
    pub async fn mint(&self, identity: &str, options: &Options) -> Result<Token, Error> {
        self.mint_request(request(identity, options)).await
    }

    /// Returns the last token minted for this identity and these options while it is usable for
    /// at least a quarter of the time for which it was usable at first, and for
    /// `min_remaining_validity`; otherwise mints a new one.
    ///
    /// Use it where one client may get the same token twice, such as a page that is loaded
    /// again. Concurrent first calls for one identity may each mint a token.
    pub async fn mint_cached(&self, identity: &str, options: &Options) -> Result<Token, Error> {
        let request = request(identity, options);
        let key = Cache::key(&request);
        let least = options.message.min_remaining_validity.unwrap_or_default();
        let least = Duration::try_from(least).unwrap_or_default();
        if let Some(token) = self.cache.get(&key, least) {
            return Ok(token);
        }
        let token = self.mint_request(request).await?;
        self.cache.put(key, &token);
        Ok(token)
    }

    /// Drops the cached token of this identity and these options, for example after a player
    /// refused it.
    pub fn forget(&self, identity: &str, options: &Options) {
        self.cache.remove(&Cache::key(&request(identity, options)));
    }

    /// Mints tokens for many identities, in chunks. A failure that may pass is retried from the
    /// next index.
    pub fn bulk(&self, identities: Identities, options: &Options) -> Bulk {
        Bulk::new(self.connection.clone(), identities, options).patience(self.patience)
    }

    /// Follows the state of grants. A failure that may pass starts a new snapshot.
    pub fn watch(&self, target: Target) -> Watch {
        Watch::new(self.connection.clone(), target).patience(self.patience)
    }

    /// Refreshes a grant now, by its name `profiles/{profile}/grants/{resource}`, and returns its
    /// state after the attempt. It is not retried.
    pub async fn refresh(&self, name: &str) -> Result<Grant, Error> {
        let by = self.deadline();
        let mut request = Request::new(RefreshGrantRequest { name: name.to_owned() });
        request.set_timeout(by.saturating_duration_since(Instant::now()));
        let mut service = self.grant_service();
        let called = timeout_at(by, service.refresh_grant(request)).await;
        let response = called.map_err(|_| Status::deadline_exceeded("the deadline passed"))??;
        Ok(response.into_inner().grant.unwrap_or_default())
    }

    /// The generated client of `TokenService`, with this client's connection.
    #[must_use]
    pub fn token_service(&self) -> TokenServiceClient<Connection> {
        TokenServiceClient::new(self.connection.clone())
    }

    /// The generated client of `GrantService`, with this client's connection.
    #[must_use]
    pub fn grant_service(&self) -> GrantServiceClient<Connection> {
        GrantServiceClient::new(self.connection.clone())
    }

    /// When a call that starts now must end.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now + self.deadline.min(MAX_DEADLINE)
    }

    async fn mint_request(&self, message: MintTokenRequest) -> Result<Token, Error> {
        let deadline = self.deadline();
        let mut failures = 0;
        loop {
            let error = match self.mint_once(message.clone(), deadline).await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            failures += 1;
            let pause = retry::pause(&error, failures);
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < deadline) else {
                return Err(error);
            };
            sleep(pause).await;
        }
    }

    async fn mint_once(&self, message: MintTokenRequest, by: Instant) -> Result<Token, Error> {
        let mut request = Request::new(message);
        request.set_timeout(by.saturating_duration_since(Instant::now()));
        let mut service = self.token_service();
        // The server keeps the deadline of the call; this one covers connecting.
        let called = timeout_at(by, service.mint_token(request)).await;
        let response = called.map_err(|_| Status::deadline_exceeded("the deadline passed"))??;
        Ok(Token::received(response.into_inner()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

fn request(identity: &str, options: &Options) -> MintTokenRequest {
    MintTokenRequest { options: Some(options.message.clone()), identity: identity.to_owned() }
}
