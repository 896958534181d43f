//! Refresh.

pub mod schedule;
