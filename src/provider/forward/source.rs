//! A recipe's endpoint as a [`GrantSource`].

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use zeroize::Zeroizing;

use super::{
    answer::{age, date, extract},
    config::Config,
    life::LifeBasis,
    template::Values,
};
use crate::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    source::{FetchError, FetchRequest, Fetched, GrantSource, http::HttpClient},
};

/// Fetches credentials from an upstream and returns them unchanged.
#[derive(Debug)]
pub(super) struct Credentials {
    client: HttpClient,
    config: Arc<Config>,
    /// The life to request; `None` if the recipe requests none.
    grant_ttl: Option<Duration>,
}

impl Credentials {
    /// Credentials by `config`'s recipe with a requested life of `grant_ttl`.
    pub(super) fn new(
        config: Arc<Config>,
        client: HttpClient,
        grant_ttl: Option<Duration>,
    ) -> Self {
        let grant_ttl = grant_ttl.filter(|_| config.recipe.requests_life());
        Self { client, config, grant_ttl }
    }

    async fn fetch_once(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let Config { recipe, secret, .. } = &*self.config;
        let resource = request.resource.as_str();
        // Extracted before connecting: the credential's life can only start later.
        let anchor = self.client.clock().now();
        let assertion = self.assertion(anchor.wall, resource)?;
        let grant_ttl = self.grant_ttl.map_or_else(String::new, |ttl| ttl.as_secs().to_string());
        let values = Values {
            resource,
            grant_ttl: &grant_ttl,
            secret: secret.as_ref().map_or("", |secret| secret.expose()),
            assertion: &assertion,
        };
        let requests_life = self.grant_ttl.is_some() && self.grant_ttl != recipe.default_life;
        let request =
            recipe.request(self.client.uri(&recipe.target(&values))?, &values, requests_life)?;
        let answer = self.client.exchange(request).await?;
        recipe.errors.classify(&answer, self.client.clock().now().wall)?;
        let at = LifeBasis {
            anchor: anchor.wall,
            date: date(&answer.headers),
            requested: self.grant_ttl,
            age: age(&answer.headers),
        };
        let taken = extract(&recipe.credential, &recipe.life, &answer.headers, answer.body()?, at)?;
        let (content, granted, mark) = (taken.content, taken.granted, taken.mark);
        Ok(Fetched { content, anchor, granted, mark })
    }

    fn assertion(&self, now: WallTime, resource: &str) -> Result<Zeroizing<String>, Fault> {
        let Some(assertion) = &self.config.assertion else { return Ok(Zeroizing::default()) };
        let signed = assertion.sign(now, resource);
        signed.map_err(|_| Fault::new(FaultClass::Misconfigured, "ASSERTION_NOT_SIGNED"))
    }
}

impl GrantSource for Credentials {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.fetch_once(request).boxed()
    }

    fn clock_skew(&self) -> Option<f64> {
        self.client.clock_skew()
    }
}
