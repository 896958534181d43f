//! Getting the next grant in time: [`schedule`] is the arithmetic, [`state`] decides without
//! I/O or clock, [`keeper`] is the task that performs it, woken by [`jump`] where a clock
//! jumped.

pub mod jump;
pub mod keeper;
pub mod schedule;
pub mod state;
