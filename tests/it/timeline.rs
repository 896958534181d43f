//! Refresh as timelines in paused time: the production code from the budget to the minter,
//! over an upstream that does what each scenario says.

#![expect(
    clippy::unchecked_time_subtraction,
    clippy::cast_precision_loss,
    reason = "a test that is wrong may panic"
)]

mod account;
mod clocks;
mod demand;
mod faults;
mod refusals;
mod throttle;
mod world;
