//! The settings of a profile's token claims, shared by all kinds that sign.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    provider::{IdentityRule, Parameter, Scope, Setter, TimeRule, TokenRules, Tokens},
    settings::{Section, shown, unknown_key},
};

/// The maximum backdating of a time: more would hide a broken clock.
const MAX_BACKDATE: Duration = Duration::from_secs(60 * 60);

/// The default period of a shared signature.
const REUSE_FOR: Duration = Duration::from_secs(1);

const MAX_REUSE: Duration = Duration::from_secs(60 * 60);

/// A key is invalid; the problem has been reported.
struct Invalid;

/// Reads the keys; none if one is invalid. Tokens around a grant are never shared.
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

/// The keys, for display.
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

/// The seconds by which a time is backdated; none if tokens omit it.
fn read_time(
    section: &mut Section<'_>,
    key: &'static str,
    rule: TimeRule,
) -> Result<Option<u32>, Invalid> {
    let default = match rule {
        TimeRule::Fixed => return Ok(None),
        TimeRule::IfSet => None,
        TimeRule::Always(seconds) => Some(seconds),
    };
    if !section.has(key) {
        return Ok(default);
    }
    let backdate = section.duration(key).ok_or(Invalid)?;
    let seconds = u32::try_from(backdate.as_secs()).ok();
    let is_whole = backdate.subsec_nanos() == 0 && backdate <= MAX_BACKDATE;
    let seconds = seconds.filter(|_| is_whole);
    if seconds.is_none() {
        let max = shown(MAX_BACKDATE);
        section.problem(key, format!("must be whole seconds, at most {max}"));
    }
    seconds.map(Some).ok_or(Invalid)
}

/// The constant parameters, each checked against its shape, and the defaults of the others.
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

/// Reports required parameters that neither the profile nor a call can set.
fn require(
    section: &Section<'_>,
    declared: &[Parameter],
    constants: &Map<String, Value>,
    open: &[String],
) {
    let required = declared.iter().filter(|it| it.setter == Setter::RequiredCall);
    let is_set = |name: &String| constants.contains_key(name) || open.contains(name);
    for Parameter { name, .. } in required.filter(|it| !is_set(&it.name)) {
        let needed = format!("{name}: is required; set it here or add it to caller_params");
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
            Err("can only be set by the profile: it grants rights that a call must not".into())
        }
        Some(_) => Ok(text.to_owned()),
    }
}

fn parse_identity(text: &str) -> Result<(), &'static str> {
    if text == "none" {
        Ok(())
    } else {
        Err("must be \"none\", for tokens without an identity, or omitted")
    }
}

/// The period of a shared signature; none if each token is unique. Sharing must be configured
/// explicitly, even for tokens that are equal in any case.
fn read_sharing(
    section: &mut Section<'_>,
    rules: &TokenRules,
    has_identity: bool,
) -> Result<Option<Duration>, Invalid> {
    let unique = section.flag("unique").unwrap_or(true);
    let bounds = Duration::from_secs(1)..=MAX_REUSE;
    let reuse_for = section.duration_within("reuse_for", REUSE_FOR, bounds).ok_or(Invalid)?;
    let problem = match (unique, has_identity || rules.has_id) {
        _ if reuse_for.subsec_nanos() != 0 => ("reuse_for", "must be whole seconds"),
        (true, true) if section.has("reuse_for") => ("reuse_for", "requires unique = false"),
        (true, true) => return Ok(None),
        (false, false) => return Ok(Some(reuse_for)),
        (true, false) => (
            "unique",
            "must be false: these tokens contain nothing unique, so that callers share one \
             signature",
        ),
        (false, true) if rules.has_id => ("unique", "must be true: each token has its own id"),
        (false, true) if rules.identity == IdentityRule::Optional => {
            ("unique", "requires identity = \"none\": each token contains an identity")
        }
        (false, true) => ("unique", "must be true: each token contains an identity"),
    };
    section.problem(problem.0, problem.1);
    Err(Invalid)
}
