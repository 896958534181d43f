//! Why a credential does not authenticate a caller.

/// Why a credential does not authenticate a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The call has none.
    NoCredential,
    /// The token cannot be parsed or has an unsupported form.
    Malformed,
    /// No configured issuer matches its `iss` claim.
    UnknownIssuer,
    /// The issuer has no key with its key ID.
    UnknownKey,
    /// No applicable key verifies the signature.
    BadSignature,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The token is for another audience.
    WrongAudience,
    /// Its lifetime exceeds the issuer's limit.
    TooLongLived,
    /// The token is bound to a key that the sender has not proved to hold.
    NotBound,
}

impl Cause {
    /// All causes.
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

    /// The name in responses, logs and metrics.
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
