//! The entries of `[callers]`, with their quotas converted to tokens of each profile.

use grantmint::{
    auth::{
        method::Method,
        pattern::CallerPattern,
        policy::{Entry, Policy},
        quota::Rate,
        usage::Quota,
    },
    config::Config,
};
use serde_json::{Map, Number, Value, json};

use super::{Part, keys::Keys};

/// A quota, and the method that is charged to it.
const QUOTAS: [(Quota, Method); 2] =
    [(Quota::Tokens, Method::MintToken), (Quota::BulkTokens, Method::MintTokens)];

/// What each entry may do, and its quotas.
pub(super) fn parts(config: &Config) -> Vec<Part> {
    let Policy::Entries(entries) = &config.callers else {
        let open = "no [callers]: any client that can connect may call every method";
        return vec![Part { title: "callers".to_owned(), lines: vec![open.to_owned()] }];
    };
    let part = |entry: &Entry| {
        let mut lines = vec![format!("rows: {}", entry.rows.len())];
        let quotas = in_tokens(entry, config).map(|(quota, profile, InTokens { rate, burst })| {
            let key = quota.as_str();
            format!("{key}: {rate} tokens of {profile} a second, bursts of {burst}")
        });
        lines.extend(quotas);
        Part { title: format!("caller {}", entry.name), lines }
    };
    entries.all().iter().map(part).collect()
}

/// The entries as JSON; none without `[callers]`.
pub(super) fn json(config: &Config) -> Option<Value> {
    let Policy::Entries(entries) = &config.callers else { return None };
    let entries = entries.all().iter().map(|entry| {
        let mut keys: Map<String, Value> =
            keys(entry).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut tokens = Map::new();
        for (quota, profile, InTokens { rate, burst }) in in_tokens(entry, config) {
            let of_quota = tokens.entry(quota.as_str()).or_insert_with(|| json!({}));
            of_quota[profile] = json!({"rate": rate, "burst": burst});
        }
        keys.insert("rows".to_owned(), json!(entry.rows.len()));
        keys.insert("quota_in_tokens".to_owned(), Value::Object(tokens));
        (entry.name.to_string(), Value::Object(keys))
    });
    Some(Value::Object(entries.collect()))
}

/// The keys of an entry.
pub(super) fn keys(entry: &Entry) -> Keys {
    let matches: Vec<_> = entry.matches.iter().map(CallerPattern::to_string).collect();
    let limits = &entry.limits;
    let mut keys = vec![("match", json!(matches))];
    for (quota, _) in QUOTAS {
        let rate = quota.rate(limits);
        let shown = rate.map(|it| json!({"rate": it.rate, "burst": it.burst}));
        keys.extend(shown.map(|shown| (quota.as_str(), shown)));
    }
    keys.extend([("streams", json!(limits.streams)), ("waiting", json!(limits.waiting))]);
    keys.extend(limits.connections.map(|it| ("connections", json!(it))));
    keys
}

/// A quota in tokens of one profile.
struct InTokens {
    /// Tokens a second, with one decimal, or three for a rate below 0.1.
    rate: Number,
    /// The burst in whole tokens.
    burst: u32,
}

impl InTokens {
    fn new(Rate { rate, burst }: Rate, units: u32) -> Self {
        let exact = f64::from(rate) / f64::from(units);
        let steps = if exact < 0.1 { 1_000.0 } else { 10.0 };
        let rounded = Number::from_f64((exact * steps).round() / steps);
        let shown = rounded.filter(|_| !rate.is_multiple_of(units));
        Self { rate: shown.unwrap_or_else(|| (rate / units).into()), burst: burst / units }
    }
}

/// The quotas in tokens of each profile that rows allow minting with.
fn in_tokens<'a>(
    entry: &'a Entry,
    config: &'a Config,
) -> impl Iterator<Item = (Quota, &'a str, InTokens)> {
    QUOTAS.into_iter().flat_map(move |(quota, method)| {
        let rate = quota.rate(&entry.limits);
        let allowed = config.profiles.iter().filter(move |profile| {
            let name = profile.name.as_str();
            entry.rows.iter().any(|row| row.methods.has(method) && row.profiles.allow(name))
        });
        allowed.filter_map(move |profile| {
            let (rate, units) = (rate?, profile.token_format().units());
            Some((quota, profile.name.as_str(), InTokens::new(rate, units)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_below_one_token_is_not_rounded_to_zero() {
        for (rate, units, shown) in
            [(70, 1, "70"), (70, 35, "2"), (50, 35, "1.4"), (1, 35, "0.029"), (39, 400, "0.098")]
        {
            let rate = Rate { rate, burst: 400 };
            assert_eq!(InTokens::new(rate, units).rate.to_string(), shown);
        }
    }
}
