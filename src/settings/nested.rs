//! Tables that are passed through as a whole, parsed by serde.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};

use super::Section;

impl Section<'_> {
    /// A table parsed by serde. It may contain only what JSON can represent, since it becomes JSON.
    pub fn deserialized<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        let result = match outside_json(value) {
            Some((offset, message)) => Err((offset, message.to_owned())),
            None => T::deserialize(ValueDeserializer::from(value.clone())).map_err(|error| {
                let offset = error.span().map_or_else(|| self.offset_of(key), |span| span.start);
                (offset, without_value(error.message()))
            }),
        };
        result
            .map_err(|(offset, message)| {
                self.document.problem(offset, &self.path_of(key), &message);
            })
            .ok()
    }
}

/// The first nested value that JSON cannot represent.
fn outside_json(value: &Spanned<DeValue<'_>>) -> Option<(usize, &'static str)> {
    let message = match value.get_ref() {
        DeValue::Array(items) => return items.iter().find_map(outside_json),
        DeValue::Table(table) => return table.iter().find_map(|(_, value)| outside_json(value)),
        DeValue::Datetime(_) => "must not contain a date: JSON has none; write it as a string",
        DeValue::Float(float) if !float.as_str().parse().is_ok_and(f64::is_finite) => {
            "must not contain a number that is not finite: JSON has none"
        }
        _ => return None,
    };
    Some((value.span().start, message))
}

/// serde quotes the unexpected value: only what was expected is reported.
fn without_value(message: &str) -> String {
    if !message.starts_with("invalid ") {
        return message.to_owned();
    }
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    expected.map_or_else(
        || "has an unexpected type".to_owned(),
        |expected| format!("must be {expected}"),
    )
}
