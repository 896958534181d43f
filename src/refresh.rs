//! Fetches the next grant in time.
//!
//! [`schedule`] is the arithmetic. [`state`] decides, without I/O or a clock. [`keeper`] is the
//! task that performs the decisions; [`jump`] wakes it when a clock jumped. [`lineage`] refuses a
//! response that does not extend the grant's life.

pub mod jump;
pub mod keeper;
pub mod lineage;
pub mod schedule;
pub mod state;
