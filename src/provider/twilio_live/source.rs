//! Twilio's `PlaybackGrant` endpoint as a [`GrantSource`].

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::{config::Config, wire};
use crate::{
    grant::{Fault, FaultClass},
    provider::twilio::ids::{AccountSid, PlayerStreamerSid},
    source::{FetchError, FetchRequest, Fetched, GrantSource, Granted, http::HttpClient},
};

/// Fetches `PlaybackGrant`s from Twilio.
#[derive(Debug)]
pub struct PlaybackGrants {
    client: HttpClient,
    account: AccountSid,
    authorization: HeaderValue,
    ttl: Duration,
    allow_origin: Option<String>,
}

impl PlaybackGrants {
    /// Grants with a life of `ttl`, in whole seconds, under `config`'s account and key.
    #[must_use]
    pub fn new(config: &Config, client: HttpClient, ttl: Duration) -> Self {
        Self {
            client,
            account: config.account_sid.clone(),
            authorization: basic(config.api_key_sid.as_str(), config.api_key_secret.expose()),
            ttl,
            allow_origin: config.allow_origin.clone(),
        }
    }

    fn request(&self, streamer: &PlayerStreamerSid) -> Result<Request<Full<Bytes>>, Fault> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair(wire::TTL, &self.ttl.as_secs().to_string());
        if let Some(origin) = &self.allow_origin {
            form.append_pair(wire::ALLOW_ORIGIN, origin);
        }
        Request::builder()
            .method(Method::POST)
            .uri(self.client.uri(&wire::path(streamer.as_str()))?)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::from(form.finish()))
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "REQUEST_INVALID"))
    }
}

impl GrantSource for PlaybackGrants {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.fetch_once(request).boxed()
    }

    fn clock_skew(&self) -> Option<f64> {
        self.client.clock_skew()
    }
}

impl PlaybackGrants {
    async fn fetch_once(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let streamer = PlayerStreamerSid::parse(request.resource.as_str())
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "RESOURCE_INVALID"))?;
        // Taken before connecting: the grant's life can only start later.
        let anchor = self.client.clock().now();
        let answer = self.client.exchange(self.request(&streamer)?).await?;
        answer.by_status()?;
        let answered = wire::read_answer(answer.body()?, &self.account, &streamer)?;
        let life = answered.life.map_or(self.ttl, Duration::from_secs);
        let wire::Answered { content, mark, .. } = answered;
        // The response states the token's life from its issue, not how much of it remains.
        Ok(Fetched { content, anchor, granted: Granted::Assumed(life.min(self.ttl)), mark })
    }
}

/// The value of a Basic `Authorization` header, marked as sensitive so that it is not printed.
fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
