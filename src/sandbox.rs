//! Emulated upstreams over TCP, for demos, callers' CI and tests. Counters can be read and faults
//! changed at run time.
//!
//! This module is the engine. The kinds of profiles supply the emulated [endpoints](Endpoint). It
//! serves HTTP/1.1 on loopback only, since demo credentials are public. The control API is below
//! `/sandbox/`:
//!
//! - `GET /sandbox/counters`: the [`Counters`] as JSON.
//! - `GET /sandbox/requests`: the latest requests as JSON, without credentials and grants.
//! - `PUT /sandbox/fault`, with a [`Fault`] in its grammar or as a JSON object: replaces the faults
//!   for the same resource. `POST` appends a fault. `DELETE` clears all faults.
//! - `PUT /sandbox/scenario`, with a [`scenario`] file: replaces all faults.
//!
//! A fault applies where the failure it emulates would occur: a status, a hang or a reset before
//! the request is checked; a bad body or a shorter life when a grant would be issued. The
//! concurrency limit is checked before all faults.

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
    endpoint::{
        AnswerContext, Credential, Endpoint, Flaw, HeaderContext, Random, Recognized, bodies,
    },
    fault::{BadBody, Effect, Fault, FaultError, RetryAfter, When},
};
use crate::{
    clock::Clock,
    listen::{Listen, Listeners},
};

/// A handle to a running sandbox. It stops on [`Sandbox::stop`], or when the last clone is dropped.
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
    /// Binds `listen`, a loopback address (port 0 takes any free port), and serves. Fails if no
    /// endpoint can produce one of the configured faults.
    pub async fn bind(listen: Listen, config: Config, clock: Clock) -> io::Result<Self> {
        if !listen.is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the sandbox listens on loopback only, such as 127.0.0.1:8765: it serves plain \
                 HTTP, and any client that reaches it can change its faults",
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

    /// The listening address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// The base URL for a profile's `upstream`.
    #[must_use]
    pub fn base_url(&self) -> Uri {
        self.0.base.clone()
    }

    /// The base URL of the control API: `counters`, `requests`, `fault` and `scenario` are below it.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("{}{}", self.0.engine.base, control::PREFIX)
    }

    /// Replaces the faults for the same resource, or those for all resources. A fault that no
    /// endpoint can produce never applies.
    pub fn set_fault(&self, fault: Fault) {
        self.0.engine.change_script(|script, now| script.set(fault, now));
    }

    /// Appends `fault`; existing faults take precedence.
    pub fn add_fault(&self, fault: Fault) {
        self.0.engine.change_script(|script, now| script.add(fault, now));
    }

    /// Clears all faults. Requests that a fault already affects stay affected.
    pub fn clear_faults(&self) {
        self.0.engine.change_script(|script, _| script.clear());
    }

    /// The counters since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.engine.ledger.counters()
    }

    /// The latest requests for grants, up to 10,000, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.engine.ledger.requests()
    }

    /// Closes the listener and every connection.
    pub fn stop(&self) {
        self.0.serving.abort();
    }
}

async fn accept(listeners: Listeners, engine: Arc<Engine>) {
    // Dropping the set with this task closes every connection.
    let mut connections = JoinSet::new();
    loop {
        match listeners.accept().await {
            Ok((stream, _)) => {
                engine.ledger.connected();
                connections.spawn(connection::serve(stream, Arc::clone(&engine)));
            }
            // Out of file descriptors, or the client left before the connection was accepted.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
