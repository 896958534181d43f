//! grantmint mints unique client tokens around one shared, short-lived upstream grant.

pub mod clock;
pub mod config;
pub mod drain;
pub mod grant;
pub mod name;
pub mod provider;
pub mod refresh;
pub mod settings;
pub mod source;
pub mod token;
