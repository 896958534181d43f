//! grantmint mints unique client tokens around one shared, short-lived upstream grant.
//!
//! ```text
//!                      write side                                read side
//!  config ─► source ──────────► refresh ─►  grant  ◄─ mint ◄─ rpc ◄─ caller
//!     └────────── app builds both sides and manages their lifetime ────┘
//! ```
//!
//! Grants flow right and stop in [`grant`]; requests flow left and stop there too. The two sides
//! share only that module. A test checks every import against this order:
//!
//! - [`clock`], [`name`], `hmac`, [`settings`], [`listen`], [`telemetry`], [`drain`]: used by all
//!   others
//! - [`grant`]: the cell of the current grant, and its status
//! - [`egress`]: the route to an upstream, and the roots for its certificate
//! - [`source`]: sources of grants, within an account's budget
//! - [`token`]: tokens whose shared part is encoded and hashed once a second, keys, and the pool
//!   for slow signatures
//! - [`reading`]: decodes tokens without verifying them
//! - [`sandbox`]: the engine of emulated upstreams, which the kinds provide
//! - [`provider`]: a folder per kind of profile; no other module knows a provider
//! - [`refresh`]: fetches the next grant in time
//! - [`mint`]: selects the grant for a request, and mints
//! - [`audit`]: records every token before its response is sent
//! - [`auth`]: identifies callers and authorizes their calls
//! - [`issuers`]: fetches the keys that verify callers' bearer tokens
//! - [`tls`]: the server's certificate, its trust in clients, and their verified names
//! - [`otlp`]: exports traces
//! - [`ready`]: whether this replica is ready
//! - [`rpc`], [`server`]: the gRPC API and its transport; [`admin`]: the operator's pages
//! - [`systemd`]: notifications to the supervisor that started the process
//! - [`config`], [`app`]: the configuration, and the process that runs it
//!
//! Invariants:
//!
//! - A token never carries an expired grant. The clock that indicates the older grant wins.
//! - Readers do no work that can be done at publish, and never wait for a lock. Exception: with
//!   `[audit]`, a mint locks the mutex of one of 16 buffers for a short time.
//! - With `[audit]`, a token is recorded before it is returned.
//! - A failed refresh has no effect while the current grant is live.
//! - The budget limits requests to the upstream, whatever the logic above it does.
//! - Secrets, grants and tokens never reach a log, a metric or an error.

#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod admin;
pub mod app;
pub mod audit;
pub mod auth;
pub mod clock;
pub mod config;
pub mod drain;
pub mod egress;
pub mod grant;
mod hmac;
pub mod issuers;
pub mod listen;
pub mod mint;
pub mod name;
pub mod otlp;
pub mod provider;
pub mod reading;
pub mod ready;
pub mod refresh;
pub mod rpc;
pub mod sandbox;
pub mod server;
pub mod settings;
pub mod source;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod token;
