//! Integration tests of what users run: the real binary, real HTTP and real gRPC.

mod attacks;
mod audit;
mod bearer;
mod binary;
mod channels;
mod client;
mod deploy;
mod examples;
mod forward;
mod frames;
mod kinds;
mod markers;
mod operations;
mod own_kind;
mod page;
mod prometheus;
mod python;
mod readme;
mod sandbox;
mod support;
mod timeline;
mod tls;
mod unix;
mod wire;
