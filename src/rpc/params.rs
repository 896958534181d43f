//! Reads a call's parameters from the wire's Struct.

use prost::Message;
use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value as Json};

use super::violation::{PARAM_INVALID, PARAMS, Violation};
use crate::mint::options::MAX_EXACT;

/// The maximum parameters of a call.
const MAX_PARAMS: usize = 32;

/// The maximum nesting depth of a value.
const MAX_DEPTH: usize = 8;

/// The maximum encoded bytes of all parameters.
const MAX_BYTES: usize = 8 * 1024;

/// The parameters by name.
///
/// # Errors
///
/// There are too many, they are nested too deep or too large, or a value is invalid.
pub(super) fn read(wire: Option<&Struct>) -> Result<Vec<(String, Json)>, Violation> {
    let Some(wire) = wire else { return Ok(Vec::new()) };
    let bad = |description| Violation::new(PARAMS, PARAM_INVALID, description);
    if wire.fields.len() > MAX_PARAMS {
        return Err(bad("has more than 32 members"));
    }
    if wire.encoded_len() > MAX_BYTES {
        return Err(bad("is larger than 8 KiB"));
    }
    let values = wire.fields.iter().map(|(name, wire)| Some((name.clone(), value(wire, 1)?)));
    values.collect::<Option<_>>().ok_or_else(|| {
        bad("has an invalid value: nested over 8 deep, not a finite number, or unset")
    })
}

fn value(wire: &Wire, depth: usize) -> Option<Json> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match wire.kind.as_ref()? {
        Kind::NullValue(_) => Json::Null,
        Kind::BoolValue(flag) => Json::Bool(*flag),
        Kind::StringValue(text) => Json::String(text.clone()),
        Kind::NumberValue(number) => Json::Number(self::number(*number)?),
        Kind::ListValue(ListValue { values }) => {
            values.iter().map(|it| value(it, depth + 1)).collect::<Option<Vec<_>>>()?.into()
        }
        Kind::StructValue(Struct { fields }) => {
            let members =
                fields.iter().map(|(name, it)| Some((name.clone(), value(it, depth + 1)?)));
            members.collect::<Option<Map<_, _>>>()?.into()
        }
    })
}

/// A number; whole ones become integers.
fn number(number: f64) -> Option<Number> {
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
        let whole = number as i64;
        return Some(whole.into());
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wire(kind: Kind) -> Wire {
        Wire { kind: Some(kind) }
    }

    fn set(members: impl IntoIterator<Item = (String, Wire)>) -> Struct {
        Struct { fields: members.into_iter().collect() }
    }

    #[test]
    fn values_keep_their_types() {
        let list = Kind::ListValue(ListValue { values: vec![wire(Kind::NumberValue(1.5))] });
        let nested = Kind::StructValue(set([("n".to_owned(), wire(Kind::NullValue(0)))]));
        let sent = set([
            ("a".to_owned(), wire(Kind::NumberValue(-3.0))),
            ("b".to_owned(), wire(Kind::BoolValue(false))),
            ("c".to_owned(), wire(list)),
            ("d".to_owned(), wire(nested)),
        ]);
        let read = read(Some(&sent)).unwrap();
        let expected = json!({"a": -3, "b": false, "c": [1.5], "d": {"n": null}});
        assert_eq!(Json::from(Map::from_iter(read)), expected);
    }

    #[test]
    fn oversized_or_invalid_parameters_are_refused() {
        let text = |bytes: usize| wire(Kind::StringValue("x".repeat(bytes)));
        let deep = |levels| {
            (0..levels).fold(wire(Kind::BoolValue(true)), |inner, _| {
                wire(Kind::ListValue(ListValue { values: vec![inner] }))
            })
        };
        let one = |value| set([("a".to_owned(), value)]);
        assert!(read(Some(&one(deep(7)))).is_ok() && read(Some(&one(text(8_000)))).is_ok());
        let many = set((0..33).map(|number| (number.to_string(), text(1))));
        for bad in [
            many,
            one(text(8_192)),
            one(deep(8)),
            one(Wire { kind: None }),
            one(wire(Kind::NumberValue(f64::NAN))),
            one(wire(Kind::NumberValue(f64::INFINITY))),
        ] {
            assert_eq!(read(Some(&bad)).unwrap_err().reason, PARAM_INVALID);
        }
    }
}
