//! JSON Pointers (RFC 6901) into raw JSON, so that the target stays as written.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// A place in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let steps =
            text.strip_prefix('/').ok_or(r#"is not a JSON Pointer like "/access_token""#)?;
        let steps = steps.split('/').map(|step| {
            let plain = step.replace("~1", "/").replace("~0", "~");
            let escapes = step.matches('~').count();
            let known = step.matches("~0").count() + step.matches("~1").count();
            if escapes == known { Ok(plain) } else { Err("has a ~ that is neither ~0 nor ~1") }
        });
        Ok(Self(steps.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl Pointer {
    /// The target as written, if it exists.
    ///
    /// # Errors
    ///
    /// The path leads through invalid JSON, or through a duplicate member.
    pub(super) fn follow<'a>(
        &self,
        whole: &'a RawValue,
    ) -> Result<Option<&'a RawValue>, serde_json::Error> {
        let mut at = whole;
        for step in &self.0 {
            let next = match at.get().as_bytes().first() {
                Some(b'{') => member(at, step)?,
                Some(b'[') => {
                    let items: Vec<&RawValue> = serde_json::from_str(at.get())?;
                    // A number with a leading zero is not an index.
                    let index = step.parse().ok().filter(|it: &usize| it.to_string() == *step);
                    index.and_then(|index| items.get(index).copied())
                }
                _ => None,
            };
            let Some(next) = next else { return Ok(None) };
            at = next;
        }
        Ok(Some(at))
    }

    /// Sets the target to `value`, and creates missing objects. The path never leads into an array
    /// created this way.
    pub(super) fn put(&self, whole: &mut Value, value: Value) {
        let mut at = whole;
        for step in &self.0 {
            if !at.is_object() {
                *at = Value::Object(serde_json::Map::new());
            }
            let Value::Object(members) = at else { return };
            at = members.entry(step.clone()).or_insert(Value::Null);
        }
        *at = value;
    }
}

/// An object's member of this name.
fn member<'a>(object: &'a RawValue, name: &str) -> Result<Option<&'a RawValue>, serde_json::Error> {
    struct Member<'n>(&'n str);

    impl<'de> Visitor<'de> for Member<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Name(name)) = members.next_key()? {
                if name != self.0 {
                    members.next_value::<IgnoredAny>()?;
                } else if found.replace(members.next_value()?).is_some() {
                    return Err(A::Error::duplicate_field("the member"));
                }
            }
            Ok(found)
        }
    }

    let mut text = serde_json::Deserializer::from_str(object.get());
    text.deserialize_map(Member(name))
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn follow(pointer: &str, text: &str) -> Option<String> {
        let whole: &RawValue = serde_json::from_str(text).unwrap();
        let pointer: Pointer = pointer.parse().unwrap();
        pointer.follow(whole).unwrap().map(|found| found.get().to_owned())
    }

    #[test]
    fn target_stays_as_written() {
        let text = r#" {"a": {"b/c": [ 1.50, {"~": [ "\u0041" , 2 ]} ]}, "\u0064": null} "#;
        assert_eq!(follow("/a/b~1c/0", text).as_deref(), Some("1.50"));
        assert_eq!(follow("/a/b~1c/1/~0", text).as_deref(), Some(r#"[ "\u0041" , 2 ]"#));
        assert_eq!(follow("/d", text).as_deref(), Some("null"));
        for missing in ["/b", "/a/b", "/a/b~1c/2", "/a/b~1c/00", "/a/b~1c/0/x", "/"] {
            assert_eq!(follow(missing, text), None, "{missing}");
        }
    }

    #[test]
    fn duplicate_member_is_refused() {
        let whole: &RawValue = serde_json::from_str(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
        assert!("/a".parse::<Pointer>().unwrap().follow(whole).is_err());
        assert!("/b".parse::<Pointer>().unwrap().follow(whole).is_ok());
    }

    #[test]
    fn put_value_is_found_again() {
        let mut whole = json!({"x": 1});
        let pointer: Pointer = "/data/to~1ken".parse().unwrap();
        pointer.put(&mut whole, json!("t"));
        assert_eq!(whole, json!({"x": 1, "data": {"to/ken": "t"}}));
        assert_eq!(pointer.to_string(), "/data/to~1ken");
    }

    #[test]
    fn invalid_pointer_is_refused() {
        for text in ["", "access_token", "$.a", "/a~2", "/~"] {
            assert!(text.parse::<Pointer>().is_err(), "{text}");
        }
    }
}
