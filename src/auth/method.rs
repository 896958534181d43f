//! The methods that `[callers]` rows can name.

/// A method that needs permission from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `TokenService.MintToken`.
    MintToken,
    /// `TokenService.MintTokens`.
    MintTokens,
    /// `GrantService.GetGrant`, and the health of single profiles.
    GetGrant,
    /// `GrantService.ListGrants`.
    ListGrants,
    /// `GrantService.WatchGrants`.
    WatchGrants,
    /// `GrantService.RefreshGrant`.
    RefreshGrant,
    /// `ServerReflection.ServerReflectionInfo`, in both versions.
    ServerReflectionInfo,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 7] = [
        Self::MintToken,
        Self::MintTokens,
        Self::GetGrant,
        Self::ListGrants,
        Self::WatchGrants,
        Self::RefreshGrant,
        Self::ServerReflectionInfo,
    ];

    /// The name in the protos and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MintToken => "MintToken",
            Self::MintTokens => "MintTokens",
            Self::GetGrant => "GetGrant",
            Self::ListGrants => "ListGrants",
            Self::WatchGrants => "WatchGrants",
            Self::RefreshGrant => "RefreshGrant",
            Self::ServerReflectionInfo => "ServerReflectionInfo",
        }
    }

    /// Whether a row must allow it even in observe mode: it does more than mint, or reveals how the
    /// server is built.
    #[must_use]
    pub const fn is_always_enforced(self) -> bool {
        matches!(self, Self::RefreshGrant | Self::ServerReflectionInfo)
    }

    /// Parses a name.
    ///
    /// # Errors
    ///
    /// The name is unknown; the error lists the known ones.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            format!("is not a method; expected one of {}", names.join(", "))
        })
    }
}

/// A set of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u8);

impl Methods {
    /// The default of a row: minting.
    pub const MINTING: Self = Self(1 << Method::MintToken as u8 | 1 << Method::MintTokens as u8);

    /// Whether the set contains `method`.
    #[must_use]
    pub const fn has(self, method: Method) -> bool {
        self.0 & 1 << method as u8 != 0
    }

    /// Whether the set contains only `method`.
    #[must_use]
    pub const fn is_only(self, method: Method) -> bool {
        self.0 == 1 << method as u8
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        Self(methods.into_iter().fold(0, |set, method| set | 1 << method as u8))
    }
}
