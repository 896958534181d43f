//! Why calls are refused.

use std::time::Duration;

use super::cause::Cause;

/// Why a call is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The call has no credential where one is needed, or an invalid bearer token.
    Unauthenticated(Cause),
    /// The bearer token cannot be verified now: its issuer's keys are not available.
    Unverifiable {
        /// When to retry.
        retry_in: Duration,
    },
    /// No entry matches the caller's name, or its names match different entries.
    Unknown,
    /// No row allows the method.
    Method,
    /// No row that allows the method allows the profile.
    Profile,
    /// No row that allows the method and profile allows the resource.
    Resource,
    /// No such row allows the identity.
    Identity {
        /// Its index in a list.
        index: Option<usize>,
    },
    /// No row that allows the identities allows the parameter.
    Param {
        /// Its name.
        name: String,
    },
    /// No such row allows the requested lifetime.
    Ttl {
        /// The longest lifetime that such a row allows.
        attainable_max: Duration,
    },
}

/// The reason for a caller over its quota.
pub const QUOTA_EXCEEDED: &str = "CALLER_QUOTA_EXCEEDED";

/// The reason for a caller with too many open streams.
pub const STREAMS_EXCEEDED: &str = "CALLER_STREAMS_EXCEEDED";

/// The reason for a caller without a valid credential.
pub const UNAUTHENTICATED: &str = "CALLER_UNAUTHENTICATED";

/// The reasons for refusing a caller without an entry.
pub const NO_ENTRY_REASONS: [&str; 3] = [UNAUTHENTICATED, "CALLER_UNVERIFIABLE", "CALLER_UNKNOWN"];

/// The reasons for refusing a caller with an entry.
pub const ENTRY_REASONS: [&str; 8] = [
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
    /// The reason code in the response.
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
