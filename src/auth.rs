//! Who calls, and what that caller may do: names, the entries of `[callers]` that they are in,
//! and the rows and quotas of these.

pub mod bearer;
pub mod callers;
pub mod failures;
pub mod method;
pub mod name;
pub mod pattern;
pub mod peer;
pub mod policy;
pub mod quota;
pub mod refusal;
pub mod row;
pub mod text;
pub mod usage;
