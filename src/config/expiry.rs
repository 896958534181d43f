//! The expiry of tokens around a grant.

use std::time::Duration;

use crate::{
    mint::terms::{ExpiryPolicy, dependable_ttl},
    settings::{Section, shown},
};

/// The expiry of tokens around a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The policy of calls that set none.
    pub policy: ExpiryPolicy,
    /// Whether calls may request tokens that outlive their grant.
    pub allow_independent: bool,
}

impl Expiry {
    /// Reads the keys; `lives` are the lifetimes of grants and of tokens.
    pub(super) fn read(section: &mut Section<'_>, lives: Option<(Duration, Duration)>) -> Self {
        let policy = section.parsed("expiry_policy", parse_policy);
        let policy = policy.unwrap_or(ExpiryPolicy::ClampToGrant);
        let allow_independent = section.flag("allow_independent").unwrap_or(false);
        match (policy, lives) {
            (ExpiryPolicy::Independent, _) if !allow_independent => {
                section.problem("expiry_policy", "requires allow_independent = true");
            }
            (ExpiryPolicy::RequireFullTtl, Some((grant_ttl, token_ttl))) => {
                let max = dependable_ttl(grant_ttl);
                if token_ttl > max {
                    let key = if section.has("token_ttl") { "token_ttl" } else { "expiry_policy" };
                    let (max, is) = (shown(max), shown(token_ttl));
                    section.problem(
                        key,
                        format!(
                            "cannot be met: with require-full-ttl, token_ttl must be at most \
                             {max}; it is {is}"
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
        format!("unknown policy; expected one of {names}")
    })
}
