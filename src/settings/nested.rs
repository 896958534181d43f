//! Tables that become a part of something else as they are, read by serde.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};

use super::Section;

impl Section<'_> {
    /// A table as serde reads it. It holds only what JSON can, as it goes into JSON.
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

/// The first value below this one that JSON has no form for.
fn outside_json(value: &Spanned<DeValue<'_>>) -> Option<(usize, &'static str)> {
    let message = match value.get_ref() {
        DeValue::Array(items) => return items.iter().find_map(outside_json),
        DeValue::Table(table) => return table.iter().find_map(|(_, value)| outside_json(value)),
        DeValue::Datetime(_) => "must hold no date: JSON has none, so write it as a text",
        DeValue::Float(float) if !float.as_str().parse().is_ok_and(f64::is_finite) => {
            "must hold no number that is not finite: JSON has none"
        }
        _ => return None,
    };
    Some((value.span().start, message))
}

/// serde quotes the value that it did not expect: only what it did expect is told.
fn without_value(message: &str) -> String {
    if !message.starts_with("invalid ") {
        return message.to_owned();
    }
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    expected.map_or_else(
        || "is not what is expected here".to_owned(),
        |expected| format!("must be {expected}"),
    )
}
