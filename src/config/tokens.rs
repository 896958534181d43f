//! What a profile says of its tokens' claims: keys that all kinds that sign have alike.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    provider::{IdentityRule, Parameter, Scope, Setter, TimeRule, TokenRules, Tokens},
    settings::{Section, shown, unknown_key},
};

/// The farthest that a time is put before the issue: more would hide a broken clock.
const MAX_BACKDATE: Duration = Duration::from_secs(60 * 60);

/// How long a shared signature is used for, unless the profile says otherwise.
const REUSE_FOR: Duration = Duration::from_secs(1);

const MAX_REUSE: Duration = Duration::from_secs(60 * 60);

/// A key is wrong, as the section was told.
struct Wrong;

/// Reads the keys; none where one of them is wrong. Tokens around a grant are never shared.
pub(super) fn read(
    section: &mut Section<'_>,
    rules: &TokenRules,
    has_grants: bool,
) -> Option<Tokens> {
    let iat = read_time(section, "iat_backdate", rules.iat);
    let nbf = read_time(section, "nbf_backdate", rules.nbf);
    let declared = &rules.parameters;
    let constants = read_constants(section, declared);
    let open = if rules.all_open {
        Some(declared.iter().map(|parameter| parameter.name.clone()).collect())
    } else if declared.iter().any(|parameter| parameter.setter != Setter::Profile) {
        section.list_or_empty("caller_params", |name| parse_name(name, declared))
    } else {
        Some(Vec::new())
    };
    let allow_unscoped = match rules.scope {
        Scope::One => false,
        Scope::OneOrAll => section.flag("allow_unscoped").unwrap_or(false),
        Scope::None => true,
    };
    let has_identity = match rules.identity {
        IdentityRule::Always => true,
        IdentityRule::Optional => section.parsed("identity", parse_identity).is_none(),
        IdentityRule::Never => false,
    };
    if let (Some(constants), Some(open)) = (&constants, &open) {
        require(section, declared, constants, open);
    }
    let reuse_for = if has_grants { Ok(None) } else { read_sharing(section, rules, has_identity) };
    Some(Tokens {
        declared: rules.parameters.clone(),
        constants: constants?,
        open: open?,
        iat: iat.ok()?,
        nbf: nbf.ok()?,
        allow_unscoped,
        has_identity,
        reuse_for: reuse_for.ok()?,
    })
}

/// The keys as they may be shown.
pub(super) fn shown_keys(tokens: &Tokens, rules: &TokenRules) -> Vec<(&'static str, Value)> {
    let mut keys = Vec::new();
    let times = [("iat_backdate", rules.iat, tokens.iat), ("nbf_backdate", rules.nbf, tokens.nbf)];
    for (key, rule, back) in times {
        let back = back.filter(|_| rule != TimeRule::Fixed);
        keys.extend(back.map(|back| (key, json!(format!("{back}s")))));
    }
    if !tokens.constants.is_empty() {
        keys.push(("params", json!(tokens.constants)));
    }
    if !tokens.open.is_empty() && !rules.all_open {
        keys.push(("caller_params", json!(tokens.open)));
    }
    if rules.scope == Scope::OneOrAll && tokens.allow_unscoped {
        keys.push(("allow_unscoped", json!(true)));
    }
    if rules.identity == IdentityRule::Optional && !tokens.has_identity {
        keys.push(("identity", json!("none")));
    }
    if let Some(reuse_for) = tokens.reuse_for {
        keys.extend([("unique", json!(false)), ("reuse_for", json!(shown(reuse_for)))]);
    }
    keys
}

/// How many seconds before the issue a time lies; none where tokens do not say it.
fn read_time(
    section: &mut Section<'_>,
    key: &'static str,
    rule: TimeRule,
) -> Result<Option<u32>, Wrong> {
    let default = match rule {
        TimeRule::Fixed => return Ok(None),
        TimeRule::IfSet => None,
        TimeRule::Always(seconds) => Some(seconds),
    };
    if !section.has(key) {
        return Ok(default);
    }
    let backdate = section.duration(key).ok_or(Wrong)?;
    let seconds = u32::try_from(backdate.as_secs()).ok();
    let is_whole = backdate.subsec_nanos() == 0 && backdate <= MAX_BACKDATE;
    let seconds = seconds.filter(|_| is_whole);
    if seconds.is_none() {
        let most = shown(MAX_BACKDATE);
        section.problem(key, format!("must be whole seconds, at most {most}"));
    }
    seconds.map(Some).ok_or(Wrong)
}

/// The constants, each of its parameter's shape, and what is the same without the profile's word.
fn read_constants(section: &mut Section<'_>, declared: &[Parameter]) -> Option<Map<String, Value>> {
    let defaults = declared.iter().filter_map(|it| Some((it.name.clone(), it.default.clone()?)));
    let mut constants: Map<String, Value> = defaults.collect();
    if declared.is_empty() || !section.has("params") {
        return Some(constants);
    }
    let params: Map<String, Value> = section.deserialized("params")?;
    let mut all_fit = true;
    for (name, value) in &params {
        let parameter = declared.iter().find(|parameter| parameter.name == *name);
        let problem = match parameter {
            Some(parameter) => parameter.shape.claim(value).err(),
            None => Some(unknown_key(name, &names(declared))),
        };
        if let Some(problem) = problem {
            section.problem("params", format!("{}: {problem}", name.escape_debug()));
            all_fit = false;
        }
    }
    constants.extend(params);
    all_fit.then_some(constants)
}

/// Tells of what must be in each token, and which neither the profile nor a call can set.
fn require(
    section: &Section<'_>,
    declared: &[Parameter],
    constants: &Map<String, Value>,
    open: &[String],
) {
    let required = declared.iter().filter(|it| it.setter == Setter::RequiredCall);
    let is_set = |name: &String| constants.contains_key(name) || open.contains(name);
    for Parameter { name, .. } in required.filter(|it| !is_set(&it.name)) {
        let needed = format!("{name}: is required: set it here, or let calls by caller_params");
        section.problem("params", needed);
    }
}

fn names(declared: &[Parameter]) -> Vec<&str> {
    declared.iter().map(|parameter| parameter.name.as_str()).collect()
}

/// The name of a parameter that calls may set.
fn parse_name(text: &str, declared: &[Parameter]) -> Result<String, String> {
    match declared.iter().find(|parameter| parameter.name == text) {
        None => Err(unknown_key(text, &names(declared))),
        Some(parameter) if parameter.setter == Setter::Profile => {
            Err("is set by the profile alone: it gives rights that no call may give itself".into())
        }
        Some(_) => Ok(text.to_owned()),
    }
}

fn parse_identity(text: &str) -> Result<(), &'static str> {
    if text == "none" {
        Ok(())
    } else {
        Err("is \"none\", for tokens that name nobody, or is left out")
    }
}

/// How long a signature is used for; none where each token is its own. A shared one is written
/// by a person, never a default; so it is demanded where tokens would be alike anyhow.
fn read_sharing(
    section: &mut Section<'_>,
    rules: &TokenRules,
    has_identity: bool,
) -> Result<Option<Duration>, Wrong> {
    let unique = section.flag("unique").unwrap_or(true);
    let bounds = Duration::from_secs(1)..=MAX_REUSE;
    let reuse_for = section.duration_within("reuse_for", REUSE_FOR, bounds).ok_or(Wrong)?;
    let problem = match (unique, has_identity || rules.has_id) {
        _ if reuse_for.subsec_nanos() != 0 => ("reuse_for", "must be whole seconds"),
        (true, true) if section.has("reuse_for") => ("reuse_for", "needs unique = false"),
        (true, true) => return Ok(None),
        (false, false) => return Ok(Some(reuse_for)),
        (true, false) => (
            "unique",
            "must be false: nothing in these tokens is a token's own, so that one signature is \
             shared by many callers",
        ),
        (false, true) if rules.has_id => {
            ("unique", "must be true: each token has an id of its own")
        }
        (false, true) if rules.identity == IdentityRule::Optional => {
            ("unique", "needs identity = \"none\": each token names who it is for")
        }
        (false, true) => ("unique", "must be true: each token names who it is for"),
    };
    section.problem(problem.0, problem.1);
    Err(Wrong)
}
