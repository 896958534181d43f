//! The claims in a profile's own table, for a token or an assertion.

use serde_json::{Map, Value as Json};

use crate::{
    settings::{Section, unknown_key},
    token::{
        claims::{Conflict, Id, Table, Time, Value},
        params::{Parameter, Setter, Shape},
    },
};

/// The default limit on strings, lists and objects that a call sets, in bytes.
const MAX_BYTES: usize = 1024;

/// The highest limit that a claim can set: the total for all parameters of a call.
const MOST_BYTES: i64 = 8 * 1024;

/// The longest backdating in seconds.
const MAX_BACK: u64 = 60 * 60;

/// The valid sources of a value.
pub(super) type Sources = &'static [&'static str];

/// The valid sources of values in tokens.
pub(super) const TOKEN_SOURCES: Sources =
    &["resource", "identity", "now", "exp", "token_id", "uuid", "param"];

/// The valid sources of values in assertions, which have no caller and no parameters.
pub(super) const ASSERTION_SOURCES: Sources = &["resource", "now", "exp", "uuid"];

/// The valid types of parameters.
const TYPES: [&str; 6] = ["text", "integer", "number", "bool", "list", "object"];

/// Claims with their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Each claim's path and value.
    pub(super) entries: Vec<(Vec<String>, Value)>,
    /// The parameters, indexed by the number in their claims' values.
    pub(super) parameters: Vec<Parameter>,
}

/// A problem: the claim's path, and what is wrong.
type Problem = (String, String);

impl Claims {
    /// Reads the required table `claims` of a section. Returns it as written and as parsed.
    pub(super) fn read(
        section: &mut Section<'_>,
        sources: Sources,
    ) -> Option<(Map<String, Json>, Self)> {
        if !section.has("claims") {
            section.problem("claims", "is missing: write a table with the token's claims");
            return None;
        }
        let written: Map<String, Json> = section.deserialized("claims")?;
        match Self::parse(&written, sources) {
            Ok(claims) => Some((written, claims)),
            Err(problems) => {
                for (path, why) in problems {
                    section.problem("claims", format!("{}: {why}", path.escape_debug()));
                }
                None
            }
        }
    }

    /// Parses a table whose values may come from these sources.
    ///
    /// # Errors
    ///
    /// Every problem in the table.
    fn parse(table: &Map<String, Json>, sources: Sources) -> Result<Self, Vec<Problem>> {
        let mut claims = Self::default();
        let mut problems = Vec::new();
        claims.walk(table, &[], sources, &mut problems);
        if let Err(Conflict(path)) = claims.table(Map::new()) {
            problems.push((path, "is defined twice, or leads through another claim".to_owned()));
        }
        if problems.is_empty() { Ok(claims) } else { Err(problems) }
    }

    /// The table with this header.
    ///
    /// # Errors
    ///
    /// Two claims have the same place.
    pub(super) fn table(&self, header: Map<String, Json>) -> Result<Table, Conflict> {
        let mut table = Table::new(header);
        for (path, value) in &self.entries {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            table.add(&path, value.clone())?;
        }
        Ok(table)
    }

    /// Whether a token states its expiry.
    pub(super) fn has_end(&self) -> bool {
        self.entries
            .iter()
            .any(|(path, value)| *path == ["exp"] && *value == Value::Time(Time::Expire))
    }

    fn walk(
        &mut self,
        table: &Map<String, Json>,
        above: &[String],
        sources: Sources,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            let path: Vec<_> = above.iter().cloned().chain(split(key)).collect();
            match value {
                Json::Object(members) if members.contains_key("from") => {
                    match self.reference(members, &path, sources) {
                        Ok(value) => self.entries.push((path, value)),
                        Err(problem) => problems.push((path.join("."), problem)),
                    }
                }
                Json::Object(members) if !members.is_empty() => {
                    self.walk(members, &path, sources, problems);
                }
                constant if holds_reference(constant) => {
                    let why = "has a reference inside a list, where only constants are allowed";
                    problems.push((path.join("."), why.to_owned()));
                }
                constant => self.entries.push((path, Value::Constant(constant.clone()))),
            }
        }
    }

    fn reference(
        &mut self,
        members: &Map<String, Json>,
        path: &[String],
        sources: Sources,
    ) -> Result<Value, String> {
        let from = text(members, "from")?.unwrap_or_default();
        let known: &[&str] = match from {
            "now" => &["from", "back"],
            "param" => &["from", "type", "max", "required", "name"],
            _ => &["from"],
        };
        if !sources.contains(&from) {
            return Err(format!("from: must be one of {}", sources.join(", ")));
        }
        if let Some(unknown) = members.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("{}: {}", unknown.escape_debug(), unknown_key(unknown, known)));
        }
        Ok(match from {
            "resource" => Value::Resource,
            "identity" => Value::Identity,
            "now" => Value::Time(Time::Issue { back: back(members)? }),
            "exp" => Value::Time(Time::Expire),
            "token_id" => Value::Id(Id::Serial),
            "uuid" => Value::Id(Id::Uuid),
            _ => {
                self.parameters.push(parameter(members, path)?);
                self.unique_name()?;
                Value::Parameter(self.parameters.len() - 1)
            }
        })
    }

    fn unique_name(&self) -> Result<(), String> {
        let (last, others) = self.parameters.split_last().ok_or_else(String::new)?;
        if others.iter().any(|other| other.name == last.name) {
            return Err("has the name of another parameter: set another with name".to_owned());
        }
        Ok(())
    }
}

/// Whether a list contains a reference, at any depth: it would be copied literally.
fn holds_reference(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(holds_reference),
        Json::Object(members) => {
            members.contains_key("from") || members.values().any(holds_reference)
        }
        _ => false,
    }
}

/// Splits a key into a path at its dots, unless it is a URI, as namespaced claims are.
fn split(key: &str) -> Vec<String> {
    if key.contains([':', '/']) {
        return vec![key.to_owned()];
    }
    key.split('.').map(str::to_owned).collect()
}

fn text<'a>(members: &'a Map<String, Json>, key: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = members.get(key) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| format!("{key}: must be a string"))
}

fn back(members: &Map<String, Json>) -> Result<u32, String> {
    let Some(text) = text(members, "back")? else { return Ok(0) };
    let seconds = humantime::parse_duration(text).ok().filter(|back| back.subsec_nanos() == 0);
    let seconds = seconds.map(|back| back.as_secs()).filter(|seconds| *seconds <= MAX_BACK);
    seconds
        .and_then(|seconds| u32::try_from(seconds).ok())
        .ok_or_else(|| r#"back: must be whole seconds, at most 1h, like "30s""#.to_owned())
}

fn parameter(members: &Map<String, Json>, path: &[String]) -> Result<Parameter, String> {
    let last = path.last().map_or("", String::as_str);
    let name = text(members, "name")?.unwrap_or(last);
    if !is_name(name) {
        return Err("name: must be up to 64 lower-case letters, digits and _".to_owned());
    }
    let required = match members.get("required") {
        None => false,
        Some(flag) => flag.as_bool().ok_or("required: must be true or false")?,
    };
    let max = match members.get("max") {
        None => None,
        Some(max) => Some(max.as_i64().ok_or("max: must be a whole number")?),
    };
    let bytes = || match max {
        None => Ok(MAX_BYTES),
        Some(max) => usize::try_from(max)
            .ok()
            .filter(|_| (1..=MOST_BYTES).contains(&max))
            .ok_or_else(|| format!("max: must be from 1 to {MOST_BYTES}")),
    };
    let shape = match text(members, "type")?.unwrap_or("text") {
        "text" => Shape::Text(bytes()?),
        "integer" => Shape::Integer(i64::MIN, max.unwrap_or(i64::MAX)),
        "list" => Shape::List(bytes()?),
        "object" => Shape::Object(bytes()?),
        "number" | "bool" if max.is_some() => {
            return Err("max: applies to text, integer, list and object".to_owned());
        }
        "number" => Shape::Number,
        "bool" => Shape::Flag,
        _ => return Err(format!("type: must be one of {}", TYPES.join(", "))),
    };
    let setter = if required { Setter::RequiredCall } else { Setter::Call };
    Ok(Parameter { name: name.to_owned(), path: path.to_vec(), shape, setter, default: None })
}

fn is_name(text: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(of_name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: &Json) -> Result<Claims, Vec<Problem>> {
        Claims::parse(table.as_object().unwrap(), TOKEN_SOURCES)
    }

    #[test]
    fn keys_are_paths_unless_they_are_uris() {
        let claims = read(&json!({
            "context.user.id": {"from": "identity"},
            "context": {"user": {"name": {"from": "param", "max": 64}}},
            "https://hasura.io/jwt/claims": {"x-hasura-role": "viewer"},
            "empty": {},
        }));
        let claims = claims.unwrap();
        let paths: Vec<_> = claims.entries.iter().map(|(path, _)| path.join(" ")).collect();
        let expected = [
            "context user name",
            "context user id",
            "empty",
            "https://hasura.io/jwt/claims x-hasura-role",
        ];
        assert_eq!(paths, expected);
        assert_eq!(claims.parameters[0].name, "name");
    }

    #[test]
    fn problems_are_reported_with_their_paths() {
        let param = |more: Json| {
            let mut param = json!({"from": "param"});
            param.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"a.b": param})
        };
        for (table, expected) in [
            (json!({"a": {"from": "rsource"}}), "a from: must be one of resource, identity, now"),
            (json!({"a": {"from": 1}}), "a from: must be a string"),
            (json!({"a": {"from": "now", "bak": "1s"}}), "a bak: unknown key; did you mean back?"),
            (json!({"a": {"from": "now", "back": "2h"}}), "a back: must be whole seconds"),
            (json!({"a": {"from": "exp", "back": "2s"}}), "a back: unknown key"),
            (json!({"a": [{"from": "resource"}]}), "a has a reference inside a list"),
            (json!({"a": [[{"b": {"from": "x"}}]]}), "a has a reference inside a list"),
            (json!({"a": 1, "a.b": 2}), "a.b is defined twice, or leads through"),
            (param(json!({"type": "txt"})), "a.b type: must be one of text"),
            (param(json!({"max": 0})), "a.b max: must be from 1"),
            (param(json!({"type": "bool", "max": 1})), "a.b max: applies to"),
            (param(json!({"name": "A b"})), "a.b name: must be"),
            (param(json!({"required": "yes"})), "a.b required: must be"),
            (
                json!({"a.x": {"from": "param"}, "b.x": {"from": "param"}}),
                "b.x has the name of another",
            ),
        ] {
            let problems = read(&table).unwrap_err();
            let problems = problems.iter().map(|(path, why)| format!("{path} {why}"));
            let problems: Vec<_> = problems.collect();
            assert!(problems.iter().any(|it| it.starts_with(expected)), "{expected}: {problems:?}");
        }
    }
    #[test]
    fn assertion_has_no_caller() {
        for from in ["identity", "param", "token_id"] {
            let table = json!({"a": {"from": from}});
            let problems =
                Claims::parse(table.as_object().unwrap(), ASSERTION_SOURCES).unwrap_err();
            let expected = "from: must be one of resource, now, exp, uuid";
            assert_eq!(problems, [("a".to_owned(), expected.to_owned())]);
        }
    }
}
