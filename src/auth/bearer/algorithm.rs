//! The supported signature algorithms: only asymmetric ones.

/// A JWS algorithm (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names from the RFCs")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    ///
    /// The name is unknown; the error lists the supported ones.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            format!("is not a supported algorithm; expected one of {}", names.join(", "))
        })
    }

    pub(super) const fn of_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms(u16);

impl Algorithms {
    /// The algorithms of RSA keys.
    pub(super) const RSA: Self = Self(0b11_1111);

    /// The default for issuers without configured algorithms.
    pub const DEFAULT: Self = Self::one(Algorithm::RS256)
        .and(Self::one(Algorithm::ES256))
        .and(Self::one(Algorithm::EdDSA));

    /// A set of one algorithm.
    #[must_use]
    pub const fn one(algorithm: Algorithm) -> Self {
        Self(1 << algorithm as u16)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set contains `algorithm`.
    #[must_use]
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & Self::one(algorithm).0 != 0
    }

    /// The algorithms in the set.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |it| self.has(*it))
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(all: I) -> Self {
        all.into_iter().fold(Self(0), |set, one| set.and(Self::one(one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_and_none_are_not_supported() {
        for name in ["HS256", "HS384", "HS512", "none", "None", "rs256", "ES512", "ES256K", ""] {
            assert!(Algorithm::parse(name).is_err(), "{name}");
        }
        let names: Vec<_> = Algorithms::DEFAULT.iter().map(Algorithm::as_str).collect();
        assert_eq!(names, ["RS256", "ES256", "EdDSA"]);
        assert!(Algorithms::RSA.iter().all(|it| it.as_str().contains('S') && it as u16 <= 5));
        assert_eq!(Algorithms::RSA.iter().count(), 6);
    }
}
