//! What a user can run, tried as a sceptic would: the real binary, real HTTP, real gRPC.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod binary;
mod python;
mod support;
mod timeline;
