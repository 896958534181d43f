//! How tokens end.

use std::time::Duration;

use crate::{
    mint::terms::{ExpiryPolicy, dependable_ttl},
    settings::{Section, shown},
};

/// How tokens end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What happens at a grant's end, where a call does not say.
    pub policy: ExpiryPolicy,
    /// Whether calls may ask for tokens that outlive their grant.
    pub allow_independent: bool,
}

impl Expiry {
    /// Reads the keys; `lives` are a grant's and a token's.
    pub(super) fn read(section: &mut Section<'_>, lives: Option<(Duration, Duration)>) -> Self {
        let policy = section.parsed("expiry_policy", parse_policy);
        let policy = policy.unwrap_or(ExpiryPolicy::ClampToGrant);
        let allow_independent = section.flag("allow_independent").unwrap_or(false);
        match (policy, lives) {
            (ExpiryPolicy::Independent, _) if !allow_independent => {
                section.problem("expiry_policy", "needs allow_independent = true");
            }
            (ExpiryPolicy::RequireFullTtl, Some((grant_ttl, token_ttl))) => {
                let most = dependable_ttl(grant_ttl);
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

fn parse_policy(text: &str) -> Result<ExpiryPolicy, String> {
    ExpiryPolicy::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
        let names = ExpiryPolicy::ALL.map(ExpiryPolicy::as_str).join(", ");
        format!("is not a policy that there is: {names}")
    })
}
