//! How tokens end.

use std::{fmt, time::Duration};

use crate::settings::{Section, shown};

/// What a fresh grant may have lost of its life before a token is made with it.
const FULL_TTL_RESERVE: Duration = Duration::from_secs(2);

/// What a token's expiry does at the end of the grant in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// A token never outlives its grant.
    ClampToGrant,
    /// Only a grant that outlives the token will do.
    RequireFullTtl,
    /// A token may outlive its grant.
    Independent,
}

/// How tokens end.
pub(super) struct Expiry {
    pub(super) policy: ExpiryPolicy,
    pub(super) allow_independent: bool,
}

impl Expiry {
    /// Reads the keys; `lives` are a grant's and a token's.
    pub(super) fn read(section: &mut Section<'_>, lives: Option<(Duration, Duration)>) -> Self {
        let policy = section.parsed("expiry_policy", ExpiryPolicy::parse);
        let policy = policy.unwrap_or(ExpiryPolicy::ClampToGrant);
        let allow_independent = section.flag("allow_independent").unwrap_or(false);
        match (policy, lives) {
            (ExpiryPolicy::Independent, _) if !allow_independent => {
                section.problem("expiry_policy", "needs allow_independent = true");
            }
            (ExpiryPolicy::RequireFullTtl, Some((grant_ttl, token_ttl))) => {
                let most = grant_ttl.saturating_sub(FULL_TTL_RESERVE);
                if token_ttl > most {
                    let key = if section.has("token_ttl") { "token_ttl" } else { "expiry_policy" };
                    let (most, is) = (shown(most), shown(token_ttl));
                    section.problem(
                        key,
                        format!(
                            "cannot be met: with require-full-ttl a token_ttl of {most} is the \
                             most that a grant can give; it is {is}"
                        ),
                    );
                }
            }
            _ => {}
        }
        Self { policy, allow_independent }
    }
}

impl ExpiryPolicy {
    const ALL: [Self; 3] = [Self::ClampToGrant, Self::RequireFullTtl, Self::Independent];

    /// The policy as the file names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClampToGrant => "clamp-to-grant",
            Self::RequireFullTtl => "require-full-ttl",
            Self::Independent => "independent",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
            format!("is not a policy that there is: {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

impl fmt::Display for ExpiryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
