//! Why a call's credential does not authenticate its caller.

/// Why a call's credential does not authenticate its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none.
    NoCredential,
    /// It is no token that can be read, or one of a form that is never accepted.
    Malformed,
    /// No configured issuer has issued it.
    UnknownIssuer,
    /// Its issuer has no key of that id.
    UnknownKey,
    /// No key that it may be signed with verifies it.
    BadSignature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is meant for somebody else.
    WrongAudience,
    /// It is valid for longer than its issuer's tokens may be.
    TooLongLived,
    /// It is bound to a key that its sender does not prove to have.
    NotBound,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoCredential,
        Self::Malformed,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongAudience,
        Self::TooLongLived,
        Self::NotBound,
    ];

    /// As callers are told, and as it is logged and counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::Malformed => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::TooLongLived => "too_long_lived",
            Self::NotBound => "not_bound",
        }
    }
}
