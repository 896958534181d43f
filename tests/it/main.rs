//! What a user can run, tried as a sceptic would: the real binary, real HTTP, real gRPC.

mod binary;
mod support;
mod wire;
