//! An emulated upstream over real TCP, for demos, callers' CI and tests: Twilio Live's
//! `PlaybackGrant` endpoint, with counters to read and faults to switch at run time.
//!
//! It serves HTTP/1.1 on loopback only, since its demo credential is public:
//!
//! - `POST /v1/PlayerStreamers/{VJ…}/PlaybackGrant`, with the key's SID and secret as Basic
//!   credential: a fresh grant.
//! - `GET /sandbox/counters`: the [`Counters`] as JSON.
//! - `GET /sandbox/requests`: the latest requests as JSON, without credentials and grants.
//! - `PUT /sandbox/fault`, with a [`Fault`] in its grammar or as a JSON object: sets it in the
//!   place of those for the same resource. `POST` adds it behind those that stand. `DELETE`
//!   clears all.
//! - `PUT /sandbox/scenario`, with a [`scenario`] file: sets its faults in the place of all.
//!
//! A fault strikes where its kind of failure does: a status, a hang or a reset before the
//! request is checked; a bad body or a shorter life where a grant would be given. The
//! concurrency ceiling is before all of them.

mod answer;
mod connection;
mod control;
mod counters;
mod delivery;
mod fault;
pub mod scenario;
mod script;
#[cfg(test)]
mod tests;
mod upstream;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use secrecy::SecretString;
use tokio::task::{AbortHandle, JoinSet};

use self::upstream::Upstream;
pub use self::{
    counters::{Counters, Request},
    fault::{BadBody, Effect, Fault, FaultError, RetryAfter, When},
};
use crate::{
    clock::Clock,
    listen::{Listen, Listeners},
};

/// The demo's account.
pub const DEMO_ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";

/// The demo's API key.
pub const DEMO_API_KEY_SID: &str = "SK0123456789abcdef0123456789abcdef";

/// The demo's secret: public, and good for nothing but the sandbox.
pub const DEMO_API_KEY_SECRET: &str = "public-demo-secret-of-the-sandbox-only";

/// The demo's resource.
pub const DEMO_RESOURCE: &str = "VJ0123456789abcdef0123456789abcdef";

/// An account that the sandbox knows, with one API key.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's SID.
    pub account_sid: String,
    /// The API key's SID.
    pub api_key_sid: String,
    /// The API key's secret.
    pub api_key_secret: SecretString,
}

/// What a sandbox is and does.
#[derive(Clone, Debug)]
pub struct Config {
    /// The accounts that may ask.
    pub accounts: Vec<Account>,
    /// Requests at work at once, beyond which 429 is answered.
    pub max_concurrent: usize,
    /// The faults that stand at the start. A request meets the first that is for its
    /// resource and strikes then, else the first that is for all.
    pub faults: Vec<Fault>,
    /// What its random values start from.
    pub seed: u64,
}

impl Config {
    /// The demo's account, no faults, and the ceiling that Twilio is said to have.
    #[must_use]
    pub fn demo() -> Self {
        let account = Account {
            account_sid: DEMO_ACCOUNT_SID.into(),
            api_key_sid: DEMO_API_KEY_SID.into(),
            api_key_secret: DEMO_API_KEY_SECRET.into(),
        };
        Self { accounts: vec![account], max_concurrent: 100, faults: Vec::new(), seed: 0 }
    }
}

/// A running sandbox. Clones are of the same one; it ends when it is told to stop, or with
/// the last of them.
#[derive(Clone)]
pub struct Sandbox(Arc<Running>);

struct Running {
    upstream: Arc<Upstream>,
    addr: SocketAddr,
    base: Uri,
    serving: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sandbox").field(&self.0.addr).finish()
    }
}

impl Sandbox {
    /// Binds `listen`, an address on loopback (port 0: any free one), and serves.
    pub async fn bind(listen: Listen, config: Config, clock: Clock) -> io::Result<Self> {
        if !listen.is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the sandbox listens on loopback only, such as 127.0.0.1:8765: it speaks plain \
                 HTTP, and anybody who reaches it can switch its faults",
            ));
        }
        let listeners = Listeners::bind(listen).await?;
        let addr = listeners.addr()?;
        let base = format!("http://{addr}");
        let upstream = Arc::new(Upstream::new(config, base.clone(), clock));
        let base = base.parse().map_err(io::Error::other)?;
        let serving = tokio::spawn(accept(listeners, Arc::clone(&upstream))).abort_handle();
        Ok(Self(Arc::new(Running { upstream, addr, base, serving })))
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// The base URL that a profile's `upstream` takes.
    #[must_use]
    pub fn base_url(&self) -> Uri {
        self.0.base.clone()
    }

    /// Where its own side is: `counters`, `requests`, `fault` and `scenario` lie below.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("{}{}", self.0.upstream.base, control::OWN)
    }

    /// Puts `fault` in the place of those that stand for the same resource, or for all.
    pub fn set_fault(&self, fault: Fault) {
        self.0.upstream.direct(|script, now| script.set(fault, now));
    }

    /// Adds `fault` behind those that stand, which come first.
    pub fn add_fault(&self, fault: Fault) {
        self.0.upstream.direct(|script, now| script.add(fault, now));
    }

    /// Clears all faults. Requests that already met one are not helped by it.
    pub fn clear_faults(&self) {
        self.0.upstream.direct(|script, _| script.clear());
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.upstream.ledger.counters()
    }

    /// The latest requests for grants, at most 10,000, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.upstream.ledger.requests()
    }

    /// Stops: closes the listener and cuts every connection.
    pub fn stop(&self) {
        self.0.serving.abort();
    }
}

async fn accept(listeners: Listeners, upstream: Arc<Upstream>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        match listeners.accept().await {
            Ok(stream) => {
                upstream.ledger.connected();
                connections.spawn(connection::serve(stream, Arc::clone(&upstream)));
            }
            // Out of file descriptors, or a connection gone before it was taken.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
