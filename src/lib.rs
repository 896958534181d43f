//! grantmint mints unique client tokens around one shared, short-lived upstream grant.
//!
//! ```text
//!                      write side                                read side
//!  config ─► source ──────────► refresh ─►  grant  ◄─ mint ◄─ rpc ◄─ caller
//!     └─────────────── app builds both sides and owns their life ──────┘
//! ```
//!
//! Grants travel right and stop in [`grant`]; requests travel left and stop there too. The
//! halves share that module and nothing else, and a test holds every import to this order:
//!
//! - [`clock`], [`name`], `hmac`, [`settings`], [`listen`], [`telemetry`], [`drain`]: what all
//!   others use
//! - [`grant`]: the present grant in its two-ended cell, and how it fares
//! - [`egress`]: which way an upstream is reached, and the roots that it is verified with
//! - [`source`]: where grants come from, under an account's budget
//! - [`token`]: tokens whose shared part is encoded and hashed once a second, keys, and the pool
//!   of slow signatures
//! - [`reading`]: what a token says, read without trust
//! - [`sandbox`]: the engine of emulated upstreams, which kinds bring
//! - [`provider`]: a folder per kind of profile, the only ones that know a provider
//! - [`refresh`]: getting the next grant in time
//! - [`mint`]: which grant will do, and the minting
//! - [`audit`]: a record of every token, before its answer leaves
//! - [`auth`]: who calls, and what that caller may do
//! - [`issuers`]: getting the keys that callers' bearer tokens are verified with
//! - [`tls`]: what the server shows, whom it trusts, and the names that clients prove
//! - [`ready`]: whether this replica is ready
//! - [`rpc`], [`server`]: the gRPC API and its transport; [`admin`]: the operator's pages
//! - [`config`], [`app`]: what is to run, and running it
//!
//! What always holds:
//!
//! - A token never carries a dead grant: whichever clock says that it is older wins.
//! - Readers do no work that can be done at publish, and never wait on a lock; but with `[audit]`
//!   a mint takes a short mutex, that of one of 16 buffers.
//! - With `[audit]`, a token is recorded before it is handed out.
//! - A failed refresh changes nothing while the present grant lives.
//! - The upstream is never stormed, whatever the logic above the budget says.
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
pub mod provider;
pub mod reading;
pub mod ready;
pub mod refresh;
pub mod rpc;
pub mod sandbox;
pub mod server;
pub mod settings;
pub mod source;
pub mod telemetry;
pub mod tls;
pub mod token;
