//! Refresh as timelines in paused time: the production code from the budget to the minter,
//! over an upstream that does what each scenario says.

mod account;
mod caches;
mod clocks;
mod demand;
mod faults;
mod outages;
mod refusals;
mod throttle;
mod world;
