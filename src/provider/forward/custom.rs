//! A profile's own recipe.

mod life;
mod signed;

use http::{HeaderName, Method};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use super::{
    answer::CredentialAt,
    assertion::Assertion,
    errors::{ErrorCodes, Errors},
    json::Json,
    life::{LifeAt, LifeRule},
    parts::{Covers, Parts},
    pointer::Pointer,
    recipe::{Basic, Body, FormEncoded, Recipe, address, header_name, header_value, in_url, parse},
    secret::{self, Secret},
    template::{Placeholder, Template},
};
use crate::{
    grant::FaultClass,
    settings::{SecretKeys, SecretOrigin, Section},
};

/// The secret's keys.
pub(super) const SECRET: SecretKeys =
    SecretKeys { file: "secret_file", env: "secret_env", value: "secret" };

/// The keys of the credentials that authenticate the profile.
const PROOFS: [&str; 2] = [SECRET.value, signed::PRIVATE_KEY.value];

/// Reads its keys.
pub(super) fn read(section: &mut Section<'_>) -> Option<Parts> {
    if !section.has("url") {
        section.problem("url", "is missing: a profile of this kind needs a preset or a url");
    }
    let mut shown = Vec::new();
    let url = section.text("url");
    shown.extend(url.map(|url| ("url", json!(url))));
    let address = section.parsed("url", address);
    let method = read_method(section);
    let query = read_pairs(section, "query");
    let headers = read_headers(section);
    let basic = section.parsed("basic_user", parse_user);
    let body = read_body(section, &method);
    let credential = section.required("credential", parse_credential);
    let life = life::read(section);
    let errors = read_errors(section);
    let covers = section.parsed("covers", parse_covers);
    if query.iter().flatten().any(|(_, it)| it.places().any(Placeholder::is_secret)) {
        section.problem("query", in_url());
    }
    if basic.is_some() && headers.iter().flatten().any(|(name, _)| name == "authorization") {
        section.problem("basic_user", "conflicts with the header authorization: keep one of them");
    }

    let (base, path) = address?;
    let recipe = Recipe {
        method,
        base,
        path,
        query: query?,
        headers: headers?,
        basic: basic.map(|user| Basic { user, form_encoded: FormEncoded::No }),
        body: body?,
        default_life: None,
        credential: credential?,
        life: life?,
        errors: errors?,
    };
    let places = recipe.places();
    let (secret, assertion) = read_proofs(section, &places, &mut shown)?;
    life::check(section, &recipe, &places);
    if let Some(basic) = &recipe.basic {
        shown.push(("basic_user", json!(basic.user)));
    }
    shown.push(("method", json!(recipe.method.as_str())));
    shown.extend(recipe.names());
    for key in ["credential", "covers"] {
        shown.extend(section.text(key).map(|text| (key, json!(text))));
    }
    let life: Option<Value> = section.deserialized("life");
    shown.extend(life.map(|life| ("life", life)));
    // Without a user name, the location of the secret or key identifies the account, so that a
    // refusal of one account does not delay another.
    let proofs = shown.iter().filter(|(key, _)| PROOFS.contains(key)).map(|(_, at)| at.to_string());
    let proofs: Vec<_> = proofs.collect();
    let user = recipe.basic.as_ref().map_or("", |it| &it.user);
    let account = format!("{user} {} {}", url?, proofs.join(" "));
    Some(Parts { recipe, secret, assertion, account, shown, covers })
}

/// Reads the secret and the assertion that the recipe has placeholders for.
fn read_proofs(
    section: &mut Section<'_>,
    places: &[Placeholder],
    shown: &mut Vec<(&'static str, Value)>,
) -> Option<(Option<Secret>, Option<Assertion>)> {
    let asserts = section.has("assertion");
    let mut signed = section.section("assertion");
    let algorithm = if asserts { signed::read_algorithm(&mut signed) } else { None };
    let written = [SECRET.file, SECRET.env, SECRET.value].map(|key| section.has(key));
    let is_sent = places.contains(&Placeholder::Secret);
    let needed = is_sent || algorithm == Some(Algorithm::HS256);
    let secret: Option<(Secret, SecretOrigin)> =
        if needed || written.contains(&true) { Some(Secret::read(section, SECRET)?) } else { None };
    if let Some((_, origin)) = &secret {
        if !needed {
            let key = if section.has(SECRET.file) { SECRET.file } else { SECRET.env };
            section.problem(key, "is unused: there is no placeholder {secret} and no basic_user");
        }
        shown.push((SECRET.value, secret::shown(origin)));
    }
    let secret = secret.map(|(secret, _)| secret);
    let assertion = match algorithm {
        Some(algorithm) => Some(signed::read(section, signed, algorithm, secret.as_ref(), shown)?),
        None if asserts => return None,
        None => None,
    };
    match (assertion.is_some(), places.contains(&Placeholder::Assertion)) {
        (true, false) => {
            section.problem("assertion", "is unused: there is no placeholder {assertion}");
        }
        (false, true) => {
            section.problem("assertion", "is missing: the placeholder {assertion} needs it");
        }
        _ => {}
    }
    Some((secret, assertion))
}

fn read_method(section: &mut Section<'_>) -> Method {
    let parse = |text: &str| match text {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "GET" => Ok(Method::GET),
        _ => Err("must be POST, PUT or GET"),
    };
    section.parsed("method", parse).unwrap_or(Method::POST)
}

fn read_body(section: &mut Section<'_>, method: &Method) -> Option<Body> {
    let (form, json) = (section.has("form"), section.has("json"));
    if form && json {
        section.problem("json", "conflicts with form: keep one of them");
    }
    if (form || json) && *method == Method::GET {
        section.problem("method", "is GET, which has no body: form and json need POST or PUT");
    }
    if form {
        return read_pairs(section, "form").map(Body::Form);
    }
    if !json {
        return Some(Body::Empty);
    }
    let value: Value = section.deserialized("json")?;
    reported(section, "json", Json::parse(value)).map(Body::Json)
}

/// Names with templates; numbers and booleans are literals.
fn read_pairs(section: &mut Section<'_>, key: &'static str) -> Option<Vec<(String, Template)>> {
    let table = table(section, key)?;
    let pairs = table.into_iter().map(|(name, value)| {
        let template = match value {
            Value::String(text) => parse(&text),
            Value::Number(number) => Ok(Template::literal(number.to_string())),
            Value::Bool(flag) => Ok(Template::literal(flag.to_string())),
            _ => Err("must be a string, a number, true or false".to_owned()),
        };
        let template = template.map_err(|error| format!("{}: {error}", name.escape_debug()))?;
        Ok::<_, String>((name, template))
    });
    reported(section, key, pairs.collect())
}

fn read_headers(section: &mut Section<'_>) -> Option<Vec<(HeaderName, Template)>> {
    let table = table(section, "headers")?;
    let headers = table.into_iter().map(|(name, value)| {
        let text = value.as_str().ok_or_else(|| "must be a string".to_owned());
        let header = text.and_then(|text| Ok((header_name(&name)?, header_value(text)?)));
        header.map_err(|error| format!("{}: {error}", name.escape_debug()))
    });
    reported(section, "headers", headers.collect::<Result<_, _>>())
}

/// A table as JSON; empty if the key is absent.
fn table(section: &mut Section<'_>, key: &'static str) -> Option<Map<String, Value>> {
    if section.has(key) { section.deserialized(key) } else { Some(Map::new()) }
}

fn read_errors(section: &mut Section<'_>) -> Option<Errors> {
    const KEYS: [(&str, FaultClass); 5] = [
        ("transient", FaultClass::Transient),
        ("throttled", FaultClass::Throttled),
        ("credential", FaultClass::Credential),
        ("resource", FaultClass::Resource),
        ("misconfigured", FaultClass::Misconfigured),
    ];
    if !section.has("errors") {
        return Some(Errors::default());
    }
    let mut errors = section.section("errors");
    let pointer: Option<Pointer> = errors.required("pointer", str::parse);
    let mut classes: Vec<(String, FaultClass)> = Vec::new();
    for (key, class) in KEYS {
        let codes: Vec<Value> =
            if errors.has(key) { errors.deserialized(key)? } else { Vec::new() };
        for code in codes {
            let code = match code {
                Value::String(text) if !text.is_empty() => text,
                Value::Number(number) if number.is_i64() => number.to_string(),
                _ => {
                    errors.problem(key, "has a code that is neither a string nor a whole number");
                    continue;
                }
            };
            if code == "0" || classes.iter().any(|(other, _)| *other == code) {
                errors.problem(key, "has 0 or a duplicate code");
            }
            classes.push((code, class));
        }
    }
    errors.finish();
    let codes = Some(ErrorCodes { pointer: pointer?, classes });
    Some(Errors { codes, ..Errors::default() })
}

fn parse_credential(text: &str) -> Result<CredentialAt, &'static str> {
    if text == "text" { Ok(CredentialAt::Text) } else { text.parse().map(CredentialAt::Json) }
}

fn parse_user(text: &str) -> Result<String, &'static str> {
    let is_user = !text.is_empty() && !text.contains(|it: char| it == ':' || it.is_control());
    if is_user { Ok(text.to_owned()) } else { Err("is empty, or contains a colon") }
}

fn parse_covers(text: &str) -> Result<Covers, &'static str> {
    match text {
        "connect" => Ok(Covers::Connect),
        "session" => Ok(Covers::Session),
        _ => Err(r#"is neither "connect" nor "session""#),
    }
}

/// The value of a key, or reports its problem.
fn reported<T, E: ToString>(section: &Section<'_>, key: &str, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| section.problem(key, error.to_string())).ok()
}

/// A life at a pointer in the response.
fn at(pointer: &str, life: fn(Pointer) -> LifeAt) -> Result<LifeRule, String> {
    pointer.parse().map(|pointer| life(pointer).into()).map_err(str::to_owned)
}
