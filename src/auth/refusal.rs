//! Why a caller is refused.

use std::time::Duration;

use super::bearer::Cause;

/// Why a call is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The caller shows nothing that names it, where a name is needed, or a bearer token that
    /// names nobody.
    Unauthenticated(Cause),
    /// The caller's bearer token cannot be verified now: its issuer's keys are not there.
    Unverifiable {
        /// When they may be.
        retry_in: Duration,
    },
    /// The caller's name is in no entry, or its names lead to two.
    Unknown,
    /// No row names the method.
    Method,
    /// No row that names the method names the profile.
    Profile,
    /// No row that names method and profile allows the resource.
    Resource,
    /// No such row allows the identity.
    Identity {
        /// Its place in a list.
        index: Option<usize>,
    },
    /// No such row that allows the identities allows the parameter.
    Param {
        /// Its name.
        name: String,
    },
    /// No such row allows a life of that length.
    Ttl {
        /// The longest that one of them allows.
        attainable_max: Duration,
    },
}

/// The reason of a caller that is over its quota.
pub const QUOTA_EXCEEDED: &str = "CALLER_QUOTA_EXCEEDED";

/// The reason of a caller that has as many streams open as it may.
pub const STREAMS_EXCEEDED: &str = "CALLER_STREAMS_EXCEEDED";

/// The reason of a caller that shows nothing that names it.
pub const UNAUTHENTICATED: &str = "CALLER_UNAUTHENTICATED";

/// The reasons for which a caller that is in no entry is refused.
pub const OF_NOBODY: [&str; 3] = [UNAUTHENTICATED, "CALLER_UNVERIFIABLE", "CALLER_UNKNOWN"];

/// The reasons for which a caller that is in an entry is refused.
pub const OF_AN_ENTRY: [&str; 8] = [
    "METHOD_NOT_ALLOWED",
    "PROFILE_NOT_ALLOWED",
    "RESOURCE_NOT_ALLOWED",
    "IDENTITY_NOT_ALLOWED",
    "PARAM_NOT_ALLOWED",
    "TTL_NOT_ALLOWED",
    QUOTA_EXCEEDED,
    STREAMS_EXCEEDED,
];

impl Denied {
    /// The reason that callers are told.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => UNAUTHENTICATED,
            Self::Unverifiable { .. } => "CALLER_UNVERIFIABLE",
            Self::Unknown => "CALLER_UNKNOWN",
            Self::Method => "METHOD_NOT_ALLOWED",
            Self::Profile => "PROFILE_NOT_ALLOWED",
            Self::Resource => "RESOURCE_NOT_ALLOWED",
            Self::Identity { .. } => "IDENTITY_NOT_ALLOWED",
            Self::Param { .. } => "PARAM_NOT_ALLOWED",
            Self::Ttl { .. } => "TTL_NOT_ALLOWED",
        }
    }
}
