//! A JSON body with placeholders.

use serde_json::Value;
use zeroize::Zeroizing;

use super::template::{Placeholder, Template, TemplateError, Values};

/// JSON with placeholders in its strings. A string that is exactly `{grant_ttl}` becomes a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// A constant value.
    Constant(Value),
    /// A string.
    Text(Template),
    /// The requested life, as a number of seconds.
    GrantTtl,
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Parses JSON whose strings may have placeholders.
    ///
    /// # Errors
    ///
    /// One of the strings is an invalid template.
    pub(super) fn parse(value: Value) -> Result<Self, TemplateError> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(&text)?;
                if template.is_only(Placeholder::GrantTtl) {
                    Self::GrantTtl
                } else {
                    Self::Text(template)
                }
            }
            Value::Array(items) => {
                Self::Array(items.into_iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let members =
                    members.into_iter().map(|(name, value)| Ok((name, Self::parse(value)?)));
                Self::Object(members.collect::<Result<_, _>>()?)
            }
            constant => Self::Constant(constant),
        })
    }

    /// The names of its members.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Object(members) => members.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Its placeholders.
    pub(super) fn places(&self) -> Vec<Placeholder> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::Text(template) => template.places().collect(),
            Self::GrantTtl => vec![Placeholder::GrantTtl],
            Self::Array(items) => items.iter().flat_map(Self::places).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, it)| it.places()).collect(),
        }
    }

    /// Writes the JSON with these values. Members that hold the requested life are omitted unless
    /// `requests_life`.
    pub(super) fn write(
        &self,
        values: &Values<'_>,
        requests_life: bool,
        text: &mut Zeroizing<Vec<u8>>,
    ) {
        match self {
            Self::Constant(value) => put(value, text),
            Self::Text(template) => put(template.filled(values).as_str(), text),
            Self::GrantTtl => text.extend_from_slice(values.grant_ttl.as_bytes()),
            Self::Array(items) => {
                text.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push(b',');
                    }
                    item.write(values, requests_life, text);
                }
                text.push(b']');
            }
            Self::Object(members) => {
                text.push(b'{');
                let written =
                    members.iter().filter(|(_, it)| requests_life || *it != Self::GrantTtl);
                for (index, (name, member)) in written.enumerate() {
                    if index > 0 {
                        text.push(b',');
                    }
                    put(name.as_str(), text);
                    text.push(b':');
                    member.write(values, requests_life, text);
                }
                text.push(b'}');
            }
        }
    }

    /// The values of the placeholders in JSON that was made from this template; `None` if it was
    /// not. Additional members are ignored, and members that hold the requested life may be absent.
    pub(super) fn captured(&self, value: &Value) -> Option<Vec<(Placeholder, String)>> {
        match (self, value) {
            (Self::Constant(constant), value) => (constant == value).then(Vec::new),
            (Self::Text(template), Value::String(text)) => {
                let found = template.captured(text)?;
                Some(found.into_iter().map(|(place, text)| (place, text.to_owned())).collect())
            }
            (Self::GrantTtl, value) => Some(vec![(Placeholder::GrantTtl, value.to_string())]),
            (Self::Array(own), Value::Array(items)) if own.len() == items.len() => {
                let each = own.iter().zip(items).map(|(own, item)| own.captured(item));
                Some(each.collect::<Option<Vec<_>>>()?.concat())
            }
            (Self::Object(own), Value::Object(members)) => {
                let each = own.iter().map(|(name, own)| match members.get(name) {
                    Some(member) => own.captured(member),
                    None => (*own == Self::GrantTtl).then(Vec::new),
                });
                Some(each.collect::<Option<Vec<_>>>()?.concat())
            }
            _ => None,
        }
    }
}

/// Appends a value's JSON; writing to a vector never fails.
fn put(value: &(impl serde::Serialize + ?Sized), text: &mut Zeroizing<Vec<u8>>) {
    let _ = serde_json::to_writer(&mut **text, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VALUES: Values<'_> =
        Values { resource: "r\"1", grant_ttl: "60", secret: "s\\", assertion: "" };

    fn written(value: Value, requests_life: bool) -> String {
        let mut text = Zeroizing::default();
        Json::parse(value).unwrap().write(&VALUES, requests_life, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn strings_are_filled_and_a_life_alone_is_a_number() {
        let value = json!({"ttl": "{grant_ttl}", "for": ["{resource}", "{grant_ttl}s", 1.5, null],
            "deep": {"key": "{secret}!"}});
        assert_eq!(
            written(value.clone(), true),
            r#"{"deep":{"key":"s\\!"},"for":["r\"1","60s",1.5,null],"ttl":60}"#
        );
        let without = written(value.clone(), false);
        assert_eq!(without, r#"{"deep":{"key":"s\\!"},"for":["r\"1","60s",1.5,null]}"#);
        let template = Json::parse(value).unwrap();
        assert_eq!(template.places().len(), 4);
        let found = template.captured(&serde_json::from_str(&without).unwrap()).unwrap();
        assert!(found.contains(&(Placeholder::Secret, "s\\".to_owned())), "{found:?}");
        assert_eq!(template.captured(&json!({"deep": {"key": "x"}})), None);
        assert_eq!(written(json!({"ttl": "{grant_ttl}"}), false), "{}");
    }

    #[test]
    fn unknown_placeholder_is_refused_anywhere() {
        for value in [json!("{x}"), json!(["{x}"]), json!({"a": {"b": "{"}})] {
            assert!(Json::parse(value).is_err());
        }
    }
}
