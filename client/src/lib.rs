//! A client for grantmint, the service that mints client tokens.
//!
//! ```no_run
//! use grantmint_client::{Client, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("https://grantmint.media.svc:50051")
//!     .ca_file("/etc/grantmint/ca.pem")
//!     .certificate_files("/etc/tls/tls.crt", "/etc/tls/tls.key")
//!     .build()?;
//!
//! let options = Options::new().profile("room").resource("lobby").param("name", "Alice");
//! let token = client.mint("alice", &options).await?;
//! println!("{} is usable for {:?}", token.id(), token.usable_for());
//! # Ok(())
//! # }
//! ```
//!
//! - One [`Client`] serves the whole process: clones share its connection. It connects with the
//!   first call and reconnects after a failure.
//! - [`Client::mint`] retries what may succeed later, up to the deadline, as the server's
//!   pushback says. [`Client::mint_cached`] returns the same token again while it is usable.
//! - [`Client::bulk`] streams many tokens and resumes at the next index after a failure.
//! - [`Client::watch`] follows the state of grants and resumes after a failure.
//! - Certificates are read again for each connection and bearer tokens as calls are made, so
//!   both can be rotated while the client runs.
//! - [`Client::token_service`] and [`Client::grant_service`] are the generated clients, for
//!   everything else.

mod bearer;
mod builder;
mod bulk;
mod cache;
pub mod chunks;
mod client;
pub mod connect;
mod error;
mod options;
pub mod proto;
mod retry;
mod server;
pub mod tls;
mod token;
mod watch;

pub use self::{
    bearer::Bearer,
    builder::{BuildError, Builder},
    bulk::{Bulk, Chunk, Identities},
    client::Client,
    connect::Connection,
    error::{Error, FieldViolation},
    options::{ExpiryPolicy, Options},
    server::{Server, ServerError},
    token::{Token, Validity},
    watch::{Target, Watch},
};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
