//! Timelines of refreshes in paused time: the production code from the budget to the minter, with
//! an upstream that follows each test's script.

mod account;
mod caches;
mod clocks;
mod demand;
mod faults;
mod fixture;
mod outages;
mod refusals;
mod throttle;
