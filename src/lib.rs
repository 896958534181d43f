//! grantmint mints unique client tokens around one shared, short-lived upstream grant.

pub mod clock;
pub mod config;
pub mod drain;
pub mod grant;
pub mod mint;
pub mod name;
pub mod provider;
pub mod ready;
pub mod refresh;
pub mod rpc;
pub mod settings;
pub mod source;
pub mod telemetry;
pub mod token;
