//! Emulated upstreams over real TCP, for demos, callers' CI and tests, with counters to read and
//! faults to switch at run time.
//!
//! This is the engine; what is emulated are its [endpoints](Endpoint), which the kinds of
//! profiles bring. It serves HTTP/1.1 on loopback only, since demo credentials are public. The
//! paths below `/sandbox/` are its own:
//!
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
mod config;
mod connection;
mod control;
mod counters;
mod delivery;
mod endpoint;
mod engine;
mod fault;
pub mod request;
pub mod scenario;
mod script;
#[cfg(test)]
mod tests;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use tokio::task::{AbortHandle, JoinSet};

use self::engine::Engine;
pub use self::{
    answer::Answer,
    config::{Config, MAX_CONCURRENT},
    counters::{Counters, Request},
    endpoint::{Credential, Endpoint, Flaw, Moment, Random, Recognised, Served, bodies},
    fault::{BadBody, Effect, Fault, FaultError, RetryAfter, When},
};
use crate::{
    clock::Clock,
    listen::{Listen, Listeners},
};

/// A running sandbox. Clones are of the same one; it ends when it is told to stop, or with
/// the last of them.
#[derive(Clone)]
pub struct Sandbox(Arc<Running>);

struct Running {
    engine: Arc<Engine>,
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
    /// Binds `listen`, an address on loopback (port 0: any free one), and serves. All faults
    /// must be ones that some endpoint can do.
    pub async fn bind(listen: Listen, config: Config, clock: Clock) -> io::Result<Self> {
        if !listen.is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the sandbox listens on loopback only, such as 127.0.0.1:8765: it speaks plain \
                 HTTP, and anybody who reaches it can switch its faults",
            ));
        }
        let own = bodies(&config.endpoints);
        for fault in &config.faults {
            fault.check(&own).map_err(|why| {
                let why = format!("the fault {fault}: {why}");
                io::Error::new(io::ErrorKind::InvalidInput, why)
            })?;
        }
        let listeners = Listeners::bind(listen).await?;
        let addr = listeners.addr()?;
        let base = format!("http://{addr}");
        let engine = Arc::new(Engine::new(config, base.clone(), clock));
        let base = base.parse().map_err(io::Error::other)?;
        let serving = tokio::spawn(accept(listeners, Arc::clone(&engine))).abort_handle();
        Ok(Self(Arc::new(Running { engine, addr, base, serving })))
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
        format!("{}{}", self.0.engine.base, control::OWN)
    }

    /// Puts `fault` in the place of those that stand for the same resource, or for all. One
    /// that no endpoint can do never strikes.
    pub fn set_fault(&self, fault: Fault) {
        self.0.engine.direct(|script, now| script.set(fault, now));
    }

    /// Adds `fault` behind those that stand, which come first.
    pub fn add_fault(&self, fault: Fault) {
        self.0.engine.direct(|script, now| script.add(fault, now));
    }

    /// Clears all faults. Requests that already met one are not helped by it.
    pub fn clear_faults(&self) {
        self.0.engine.direct(|script, _| script.clear());
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.engine.ledger.counters()
    }

    /// The latest requests for grants, at most 10,000, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.engine.ledger.requests()
    }

    /// Stops: closes the listener and cuts every connection.
    pub fn stop(&self) {
        self.0.serving.abort();
    }
}

async fn accept(listeners: Listeners, engine: Arc<Engine>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        match listeners.accept().await {
            Ok((stream, _)) => {
                engine.ledger.connected();
                connections.spawn(connection::serve(stream, Arc::clone(&engine)));
            }
            // Out of file descriptors, or a connection gone before it was taken.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
