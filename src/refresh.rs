//! Getting the next grant in time: [`schedule`] is the arithmetic, [`state`] decides without
//! I/O or clock, [`keeper`] is the task that performs it, woken by [`jump`] where a clock
//! jumped. [`lineage`] refuses an answer that brings no new life.

pub mod jump;
pub mod keeper;
pub mod lineage;
pub mod schedule;
pub mod state;
