//! `[callers.NAME]`: who may call, which calls, and how many. The section can be read separately,
//! for a reload.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use super::{Profile, Supply};
use crate::{
    auth::{
        method::{Method, Methods},
        pattern::CallerPattern,
        policy::{Entries, Entry, EntryName, Limits, Policy},
        quota::{MAX_RATE, Rate},
        row::{Profiles, Resources, Row},
        string_pattern::{StringPattern, StringPatterns},
        usage::Quota,
    },
    mint::terms::min_ttl,
    name::ProfileName,
    settings::{Document, Env, Problem, Problems, Section, shown},
};

/// The profiles and issuers that rows may name.
pub(super) struct Loaded<'a> {
    /// The valid profiles.
    pub(super) profiles: &'a [&'a Profile],
    /// The names of all configured profiles.
    pub(super) names: &'a [ProfileName],
    /// The names of all configured issuers.
    pub(super) issuers: &'a [String],
    /// How to treat the name of another profile or issuer.
    pub(super) unknown: UnknownNames,
}

/// How to treat names of profiles or issuers that are not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownNames {
    /// As a problem: at the start the file must be valid.
    Refused,
    /// Kept, but allows nothing: profiles are loaded only at the start.
    Kept,
}

/// Reads only `[callers.*]` of a file, for a server that runs with these profiles and issuers.
/// Returns the entries and warnings.
///
/// # Errors
///
/// The entries are invalid, or the section is missing.
pub fn reread(
    file: &str,
    text: &str,
    env: Env<'_>,
    profiles: &[Profile],
    issuers: &[String],
) -> Result<(Entries, Vec<Problem>), Problems> {
    let document = Document::parse(file, text, env)?;
    let names: Vec<_> = profiles.iter().map(|profile| profile.name.clone()).collect();
    let profiles: Vec<_> = profiles.iter().collect();
    let loaded =
        Loaded { profiles: &profiles, names: &names, issuers, unknown: UnknownNames::Kept };
    let mut root = document.root();
    let entries = match read(&mut root, &loaded) {
        Some(Policy::Entries(entries)) => Some(entries),
        Some(Policy::Open) => {
            root.problem(
                "callers",
                "is missing: opening the server to every client needs a restart",
            );
            None
        }
        None => None,
    };
    let warnings = document.warnings();
    document.conclude(entries.map(|entries| (entries, warnings)))
}

/// Reads `[callers]`; none if it is invalid, after reporting its problems.
pub(super) fn read(root: &mut Section<'_>, loaded: &Loaded<'_>) -> Option<Policy> {
    if !root.has("callers") {
        return Some(Policy::Open);
    }
    let sections = root.sections("callers");
    if sections.is_empty() {
        root.problem("callers", "needs at least one entry: [callers.NAME]");
        return None;
    }
    let (mut entries, mut owners) = (Vec::new(), HashMap::new());
    let count = sections.len();
    for (name, mut section) in sections {
        match EntryName::parse(name) {
            Ok(name) => {
                entries.extend(read_entry(name, &mut section, &mut owners, loaded));
            }
            Err(error) => section.problem_here(error),
        }
    }
    if entries.len() < count {
        return None;
    }
    Some(Policy::Entries(Entries::new(entries)))
}

fn read_entry(
    name: EntryName,
    section: &mut Section<'_>,
    owners: &mut HashMap<CallerPattern, EntryName>,
    loaded: &Loaded<'_>,
) -> Option<Entry> {
    let mut unknown = Vec::new();
    let matches = section.list("match", |text| {
        let pattern = CallerPattern::parse(text).map_err(|error| error.to_string())?;
        if let Some(issuer) = pattern.issuer()
            && !loaded.issuers.iter().any(|it| it == issuer.as_str())
        {
            match loaded.unknown {
                UnknownNames::Refused => {
                    return Err(format!(
                        "names an unknown issuer: [issuers.{issuer}] does not exist"
                    ));
                }
                UnknownNames::Kept => unknown.push(issuer.clone()),
            }
        }
        match owners.insert(pattern.clone(), name.clone()) {
            Some(owner) if owner == name => Err("is a duplicate".to_owned()),
            Some(owner) => Err(format!("is also in [callers.{owner}]; it must be in one entry")),
            None => Ok(pattern),
        }
    });
    for issuer in unknown {
        let message = format!(
            "names an issuer that is not loaded: {issuer}:… matches nothing until a restart"
        );
        section.warn("match", message);
    }
    if matches.as_ref().is_some_and(Vec::is_empty) || !section.has("match") {
        section.problem("match", r#"needs at least one caller, as ["spiffe://…"]"#);
    }
    let (tokens, bulk_tokens) =
        (read_rate(section, Quota::Tokens), read_rate(section, Quota::BulkTokens));
    let default = Limits::default();
    let mut limit = |key, default| section.integer(key, 1..=1_000_000).unwrap_or(default);
    let limits = Limits {
        tokens: tokens.ok().flatten(),
        bulk_tokens: bulk_tokens.ok().flatten(),
        streams: limit("streams", default.streams),
        waiting: limit("waiting", default.waiting),
        connections: section.integer("connections", 1..=1_000_000),
    };
    if !section.has("allow") {
        section.problem("allow", "is missing: a list of rows, as [{ profiles = [\"…\"] }]");
    }
    let tables = section.tables("allow");
    let count = tables.len();
    let rows: Vec<_> =
        tables.into_iter().filter_map(|mut table| read_row(&mut table, loaded)).collect();
    for (quota, method) in
        [(Quota::Tokens, Method::MintToken), (Quota::BulkTokens, Method::MintTokens)]
    {
        check_burst(section, quota, method, &limits, &rows, loaded);
    }
    section.finish();
    if rows.len() < count {
        return None;
    }
    Some(Entry { name, matches: matches?, rows, limits })
}

/// A key is invalid; the problem has been reported.
struct Invalid;

/// A rate with its burst, if set.
fn read_rate(section: &mut Section<'_>, quota: Quota) -> Result<Option<Rate>, Invalid> {
    let key = quota.as_str();
    if !section.has(key) {
        return Ok(None);
    }
    let mut section = section.section(key);
    for key in ["rate", "burst"] {
        if !section.has(key) {
            section.problem(key, "is missing");
        }
    }
    let (rate, burst) =
        (section.integer("rate", 1..=MAX_RATE), section.integer("burst", 1..=MAX_RATE));
    section.finish();
    rate.zip(burst).map(|(rate, burst)| Some(Rate { rate, burst })).ok_or(Invalid)
}

fn read_row(section: &mut Section<'_>, loaded: &Loaded<'_>) -> Option<Row> {
    let methods = if section.has("methods") {
        section.list("methods", Method::parse).map(Methods::from_iter)
    } else {
        Some(Methods::MINTING)
    };
    let is_reflection = methods.is_some_and(|it| it.is_only(Method::ServerReflectionInfo));
    let profiles = if section.has("profiles") {
        read_profiles(section, loaded)
    } else if is_reflection {
        Some(Profiles::Named(Vec::new()))
    } else {
        section.problem("profiles", "is missing: names of profiles, or [\"*\"] for all");
        None
    };
    let texts = |section: &mut Section<'_>, key| section.list(key, StringPattern::parse);
    let resources = optional(section, "resources", texts);
    let identities = optional(section, "identities", texts);
    let any_name = |name: &str| Ok::<_, Infallible>(name.to_owned());
    let params = optional(section, "params", |section, key| section.list(key, any_name));
    let max_ttl = optional(section, "max_ttl", Section::duration);
    section.finish();

    let (methods, profiles, resources) = (methods?, profiles?, resources.ok()?);
    let (identities, params, max_ttl) = (identities.ok()?, params.ok()?, max_ttl.ok()?);
    let named = || loaded.profiles.iter().filter(|it| profiles.allow(it.name.as_str()));
    let mints = methods.has(Method::MintToken) || methods.has(Method::MintTokens);
    for profile in named().filter(|_| mints) {
        if let Some(max_ttl) = max_ttl {
            check_max_ttl(section, profile, max_ttl);
        }
        if identities.is_some() && profile.is_anonymous() {
            let name = &profile.name;
            section.warn(
                "identities",
                format!(
                    "are only compared with requests: tokens of profile {name} contain no \
                     identity, and any holder can use them"
                ),
            );
        }
    }
    let known = named().filter_map(|profile| {
        let texts = resources.as_ref()?.iter().map(|text| in_known_form(text, profile));
        let texts: Vec<_> = texts.collect();
        (Some(&texts) != resources.as_ref())
            .then(|| (profile.name.clone(), texts.into_iter().collect()))
    });
    let known = known.collect();
    let texts = |list: Option<Vec<StringPattern>>| {
        list.map_or(StringPatterns::Any, |list| list.into_iter().collect())
    };
    let resources = Resources { written: texts(resources), known };
    Some(Row { methods, profiles, resources, identities: texts(identities), params, max_ttl })
}

/// A resource in the form of the profile's kind.
fn in_known_form(text: &StringPattern, profile: &Profile) -> StringPattern {
    match text {
        StringPattern::Exact(written) => match (profile.rules.parse_resource)(written) {
            Ok(resource) => StringPattern::Exact(resource.as_str().to_owned()),
            Err(_) => text.clone(),
        },
        StringPattern::Any | StringPattern::Prefix(_) => text.clone(),
    }
}

/// The value of a key, if set.
fn optional<'a, T>(
    section: &mut Section<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Section<'a>, &'static str) -> Option<T>,
) -> Result<Option<T>, Invalid> {
    if section.has(key) { read(section, key).map(Some).ok_or(Invalid) } else { Ok(None) }
}

fn read_profiles(section: &mut Section<'_>, loaded: &Loaded<'_>) -> Option<Profiles> {
    let mut any = false;
    let mut others = Vec::new();
    let names = section.list("profiles", |text| {
        if text == "*" {
            any = true;
            return Ok(None);
        }
        let name = ProfileName::parse(text).map_err(|error| error.to_string())?;
        if loaded.names.contains(&name) {
            return Ok(Some(name));
        }
        match loaded.unknown {
            UnknownNames::Refused => {
                let names: Vec<_> = loaded.names.iter().map(ProfileName::as_str).collect();
                Err(format!("unknown profile; expected one of {}", names.join(", ")))
            }
            UnknownNames::Kept => {
                others.push(name.clone());
                Ok(Some(name))
            }
        }
    })?;
    for name in others {
        let message = format!("{name} is not loaded: the row allows nothing of it until a restart");
        section.warn("profiles", message);
    }
    Some(if any { Profiles::Any } else { Profiles::Named(names.into_iter().flatten().collect()) })
}

fn check_max_ttl(section: &Section<'_>, profile: &Profile, max_ttl: Duration) {
    let name = &profile.name;
    let least = min_ttl(profile.margin, profile.tokens.spent()).max(profile.rules.min_token_ttl);
    if max_ttl < least {
        let least = shown(least);
        section.problem(
            "max_ttl",
            format!("must be at least {least}, the minimum lifetime of tokens of profile {name}"),
        );
    }
    if let Supply::Forwarded(grants) = &profile.supply
        && let Some(life) = grants.policy.grant_ttl()
        && max_ttl < life
    {
        let life = shown(life);
        section.problem(
            "max_ttl",
            format!(
                "must be at least {life}, the lifetime of the credential that profile {name} \
                 forwards unchanged"
            ),
        );
    }
}

/// Checks that a burst allows one token; otherwise calls would wait indefinitely.
fn check_burst(
    section: &Section<'_>,
    quota: Quota,
    method: Method,
    limits: &Limits,
    rows: &[Row],
    loaded: &Loaded<'_>,
) {
    let Some(Rate { burst, .. }) = quota.rate(limits) else { return };
    for profile in loaded.profiles {
        let name = profile.name.as_str();
        let allowed = rows.iter().any(|row| row.methods.has(method) && row.profiles.allow(name));
        let units = profile.token_format().units();
        if allowed && burst < units {
            section.problem(
                quota.as_str(),
                format!(
                    "has a burst of {burst}, but one token of profile {name} costs {units}: set \
                     burst = {units} or more"
                ),
            );
        }
    }
}
