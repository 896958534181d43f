//! Validates the calls of both methods, in the order in which violations are reported.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Tokens, rights::Rights};
use crate::{
    auth::{method::Method, row::RequestedIdentities, usage::Quota},
    mint::{
        bulk::{Bulk, Selection},
        minter::{Draft, Plan},
        options::{self, Field},
    },
    name::Identity,
    rpc::{
        access::{Access, CallerQuota},
        convert, params,
        proto::{
            IdentityList, IdentitySeries, MintTokenRequest, MintTokensRequest,
            mint_tokens_request as selection,
        },
        violation::{
            BULK_TOO_LARGE, IDENTITY_INVALID, OPTION_INVALID, Refusal, SELECTION_INVALID,
            Violation, combine,
        },
    },
};

impl Tokens {
    /// Plans a call of `MintToken`.
    pub(super) fn plan_one(
        &self,
        request: MintTokenRequest,
        access: &Access,
    ) -> Result<(Plan, Identity), Refusal> {
        let MintTokenRequest { options, identity } = request;
        let params = params::read(options.as_ref().and_then(|options| options.params.as_ref()));
        let (options, before) = convert::options(options.as_ref(), &params);
        let mut after = Vec::new();
        let identity = Identity::parse(identity).map_err(|error| {
            after.push(Violation::new("identity", IDENTITY_INVALID, error.as_str()));
        });
        let target = self.minter.target(&options);
        let reach = match target.profile() {
            Some(profile) => access.reach(Method::MintToken, profile, target.resource())?,
            // A call without a profile is refused for every caller.
            None => None,
        };
        let draft = self.minter.draft(&target, &options);
        if let (Ok(draft), Ok(identity)) = (&draft, &identity) {
            let formed = draft.check_identity(identity.as_str(), Field::Identity);
            after.extend(formed.map_err(Violation::from).err());
        }
        let mut max_ttl = None;
        if let (Some(reach), Ok(draft), Ok(identity)) = (reach, &draft, &identity)
            && draft.is_good()
            && before.is_empty()
            && after.is_empty()
        {
            let params = options.params.iter().map(|(name, _)| name.as_str());
            let decision =
                reach.authorize(RequestedIdentities::One(identity.as_str()), &params, options.ttl);
            max_ttl = access.decide(decision)?.and_then(|allowed| allowed.max_ttl);
        }
        let plan = planned(draft, max_ttl, before, after)?;
        identity.map(|identity| (plan, identity)).map_err(|()| Refusal::Invalid(Vec::new()))
    }

    /// Plans a call of `MintTokens`.
    pub(super) async fn plan_bulk(
        &self,
        request: MintTokensRequest,
        deadline: Option<Instant>,
        access: &Access,
    ) -> Result<(Bulk, Rights), Refusal> {
        let MintTokensRequest { options, selection, start_index, chunk_size } = request;
        let params = params::read(options.as_ref().and_then(|options| options.params.as_ref()));
        let (options, before) = convert::options(options.as_ref(), &params);
        let mut after = Vec::new();
        let limits = self.minter.limits();
        let target = self.minter.target(&options);
        let rights = Rights {
            profile: target.profile().unwrap_or_default().to_owned(),
            resource: target.resource().to_owned(),
            params: options.params.iter().map(|(name, _)| name.clone()).collect(),
            ttl: options.ttl,
        };
        // A call without a profile is refused for every caller.
        let reach = if target.profile().is_some() { rights.reach(access)? } else { None };
        let selection = read_selection(selection, limits.identities).await;
        let selection = selection.map_err(|violation| after.push(violation));
        let draft = self.minter.draft(&target, &options);
        let max = draft.as_ref().map_or(limits.indices, |draft| draft.max_indices(limits));
        check_range(selection.as_ref().ok(), start_index, max, &mut after);
        if chunk_size < 0 {
            after.push(Violation::new("chunk_size", OPTION_INVALID, "is negative"));
        }
        if let (Ok(draft), Ok(selection)) = (&draft, &selection) {
            let formed = selection.check(start_index, draft).await;
            after.extend(formed.map_err(Violation::from).err());
        }
        let mut max_ttl = None;
        if let (Some(reach), Ok(draft), Ok(selection)) = (reach, &draft, &selection)
            && draft.is_good()
            && before.is_empty()
            && after.is_empty()
        {
            max_ttl = rights.evaluate(access, &reach, selection, start_index).await?;
        }
        let plan = planned(draft, max_ttl, before, after)?;
        let selection = selection.map_err(|()| Refusal::Invalid(Vec::new()))?;
        let bulk = Bulk::new(
            Arc::clone(&self.minter),
            plan,
            selection,
            start_index,
            chunk_size,
            deadline,
            Arc::new(CallerQuota::new(access.clone(), Quota::BulkTokens)),
        );
        Ok((bulk, rights))
    }
}

/// The plan, if there are no violations before and after its own fields.
fn planned(
    draft: Result<Draft<'_>, options::Refusal>,
    max_ttl: Option<Duration>,
    before: Vec<Violation>,
    after: Vec<Violation>,
) -> Result<Plan, Refusal> {
    match draft.and_then(|draft| draft.plan(max_ttl)) {
        Ok(plan) if before.is_empty() && after.is_empty() => Ok(plan),
        planned => Err(combine(planned.err(), before, after)),
    }
}

const LIST: &str = "identity_list.identities";
const COUNT: &str = "identity_series.count";
const TOO_LARGE: &str = "has more than one call may request";

async fn read_selection(
    selection: Option<selection::Selection>,
    max: usize,
) -> Result<Selection, Violation> {
    match selection {
        None => Err(Violation::new("selection", SELECTION_INVALID, "is missing")),
        Some(selection::Selection::IdentityList(IdentityList { identities }))
            if identities.len() > max =>
        {
            Err(Violation::new(LIST, BULK_TOO_LARGE, TOO_LARGE))
        }
        Some(selection::Selection::IdentityList(IdentityList { identities })) => {
            Selection::list(identities).await.map_err(Violation::from)
        }
        Some(selection::Selection::IdentitySeries(IdentitySeries { prefix, count })) => {
            Selection::series(prefix, count).map_err(Violation::from)
        }
    }
}

/// Checks the range of a selection; for an invalid selection, what can be checked without it.
fn check_range(selection: Option<&Selection>, start: i64, max: i64, bad: &mut Vec<Violation>) {
    let count = selection.map(Selection::count);
    let field = match selection {
        Some(Selection::Series { .. }) => COUNT,
        _ => LIST,
    };
    if count.is_some_and(|count| count <= 0) {
        bad.push(Violation::new(field, SELECTION_INVALID, "selects nothing"));
    }
    match count {
        Some(count) if count > 0 && start >= 0 && count - start > max => {
            bad.push(Violation::new(field, BULK_TOO_LARGE, TOO_LARGE));
        }
        count if start < 0 || count.is_some_and(|count| (1..start).contains(&count)) => {
            let outside = "is outside the selection";
            bad.push(Violation::new("start_index", SELECTION_INVALID, outside));
        }
        _ => {}
    }
}
