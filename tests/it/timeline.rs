//! Refresh as timelines in paused time: the production code from the budget to the minter,
//! over an upstream that does what each scenario says.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unchecked_time_subtraction,
    reason = "a test says what it holds by failing"
)]

mod account;
mod clocks;
mod demand;
mod faults;
mod refusals;
mod throttle;
mod world;
