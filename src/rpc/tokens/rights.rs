//! The rights that a bulk call needs, checked at its start and again when its caller's entry
//! changes.

use std::time::Duration;

use tokio::task::yield_now;

use crate::{
    auth::{
        method::Method,
        refusal::Denied,
        row::{Reach, RequestedIdentities},
    },
    mint::bulk::{SLICE, Selection},
    rpc::access::Access,
};

/// What a call of `MintTokens` requests, as far as rows restrict it.
#[derive(Debug)]
pub(super) struct Rights {
    pub(super) profile: String,
    pub(super) resource: String,
    /// The names of the parameters that it sets.
    pub(super) params: Vec<String>,
    /// The requested token lifetime.
    pub(super) ttl: Option<Duration>,
}

impl Rights {
    /// The caller's rows that allow the profile and resource; none if everything is allowed.
    pub(super) fn reach<'a>(&'a self, access: &'a Access) -> Result<Option<Reach<'a>>, Denied> {
        access.reach(Method::MintTokens, &self.profile, &self.resource)
    }

    /// The longest token lifetime allowed by a row that also allows the selection from index `from`
    /// on. Yields during long lists.
    pub(super) async fn evaluate(
        &self,
        access: &Access,
        reach: &Reach<'_>,
        selection: &Selection,
        from: i64,
    ) -> Result<Option<Duration>, Denied> {
        let params = self.params.iter().map(String::as_str);
        let decision = match selection {
            Selection::Series { prefix, .. } => {
                reach.authorize(RequestedIdentities::Series(prefix), &params, self.ttl)
            }
            Selection::List(identities) => {
                let mut check = reach.check_list();
                let from = usize::try_from(from).unwrap_or_default();
                for (index, identity) in identities.iter().enumerate().skip(from) {
                    if index % SLICE == SLICE - 1 {
                        yield_now().await;
                    }
                    check.add(index, identity.as_str());
                }
                check.finish(&params, self.ttl)
            }
        };
        Ok(access.decide(decision)?.and_then(|allowed| allowed.max_ttl))
    }
}
