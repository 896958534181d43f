//! Caller authentication and authorization: names, the `[callers]` entries that match them, and the
//! entries' rows and quotas.

pub mod bearer;
pub mod callers;
pub mod cause;
pub mod failures;
pub mod method;
pub mod name;
pub mod pattern;
pub mod peer;
pub mod policy;
pub mod quota;
pub mod refusal;
pub mod row;
pub mod string_pattern;
pub mod usage;
