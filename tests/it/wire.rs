//! The API over real gRPC, against the sandbox over real HTTP: every field of every call asked
//! wrongly and rightly, and what the transport and the upstream's client let through.

mod bulk;
mod callers;
mod compression;
mod endless;
mod grants;
pub(crate) mod harness;
mod listener;
mod minting;
mod options;
mod outages;
mod panics;
mod random;
mod reflection;
mod refresh;
mod streams;
mod transport;
mod upstream;
