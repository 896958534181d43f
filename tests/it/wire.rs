//! The API over real gRPC, with a sandbox over real HTTP: valid and invalid values for every field
//! of every call, and the limits of the transport and of the upstream client.

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
