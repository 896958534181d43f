//! The grammar of faults.
//!
//! A fault is a comma-separated list of `key` or `key=value`: `status=429,retry-after=5`,
//! `latency=1500ms`, `hang,times=3,resource=VJ…`. A value with a comma is written as a JSON
//! string: `retry-after="Sun, 06 Nov 1994 08:49:37 GMT"`. JSON objects and scenario files use the
//! same keys and values.
//!
//! The valid bodies depend on the endpoints. While the endpoints are unknown, any word is
//! accepted; the sandbox that receives the fault checks it.

use std::{fmt, str::FromStr};

use super::{
    draft::{BODIES, Draft, FaultError, known},
    model::{BadBody, Effect, Fault, RetryAfter},
};
use crate::settings::shown;

impl FromStr for Fault {
    type Err = FaultError;

    /// Parses a fault for unknown endpoints.
    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::from_draft(Draft::default(), text)
    }
}

impl Fault {
    /// Parses a fault for endpoints with these specific bodies.
    pub fn from_words(text: &str, own: &[&str]) -> Result<Self, FaultError> {
        Self::from_draft(Draft::of(own), text)
    }

    fn from_draft(mut draft: Draft<'_>, text: &str) -> Result<Self, FaultError> {
        let mut rest = Some(text.trim());
        while let Some(words) = rest {
            let end = words.find(['=', ',']).unwrap_or(words.len());
            let (key, after) = words.split_at(end);
            let (value, after) = match after.strip_prefix('=') {
                Some(value) => split_value(key, value)?,
                None => (None, after),
            };
            draft.set(key.trim(), value.as_deref())?;
            rest = after.strip_prefix(',');
        }
        draft.finish()
    }
}

/// Splits the value at the start of `text` from the rest, which is empty or starts with a comma.
fn split_value<'a>(key: &str, text: &'a str) -> Result<(Option<String>, &'a str), FaultError> {
    if !text.starts_with('"') {
        let (value, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        return Ok((Some(value.trim().to_owned()), rest));
    }
    let invalid = |problem: &str| match known(key.trim()) {
        Ok(key) => FaultError::Value { key, problem: problem.to_owned() },
        Err(error) => error,
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let Some(Ok(value)) = values.next() else {
        return Err(invalid("opens a quote that does not end as a JSON string"));
    };
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    if rest.is_empty() || rest.starts_with(',') {
        Ok((Some(value), rest))
    } else {
        Err(invalid("continues after its closing quote; a comma must follow"))
    }
}

impl Fault {
    /// Parses a JSON object, `{"status": 503, "times": 2}` or `{"hang": true}`, for endpoints with
    /// these specific bodies.
    pub fn from_json(text: &str, own: &[&str]) -> Result<Self, FaultError> {
        use serde_json::{Map, Value};

        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| FaultError::Json(error.to_string()))?;
        let mut draft = Draft::of(own);
        for (key, value) in object {
            match value {
                Value::Bool(true) => draft.set(&key, None)?,
                Value::String(text) => draft.set(&key, Some(&text))?,
                Value::Number(number) => draft.set(&key, Some(&number.to_string()))?,
                _ => return Err(FaultError::Json(key)),
            }
        }
        draft.finish()
    }

    /// Its keys and values, in writing order.
    fn words(&self) -> Vec<(&'static str, Option<String>)> {
        let mut words = Vec::new();
        match &self.effect {
            Effect::None => {}
            Effect::Hang => words.push(("hang", None)),
            Effect::Reset => words.push(("reset", None)),
            Effect::ShorterLife(by) => words.push(("shorter-life", Some(shown(*by)))),
            Effect::Body(BadBody::Text(text)) => words.push(("body-text", Some(text.clone()))),
            Effect::Body(BadBody::Own(body)) => words.push(("body", Some(body.clone()))),
            Effect::Body(body) => {
                let name = BODIES.into_iter().find(|(_, other)| other == body);
                words.extend(name.map(|(name, _)| ("body", Some(name.to_owned()))));
            }
            Effect::Status { code, retry_after, body } => {
                words.push(("status", Some(code.as_str().to_owned())));
                words.extend(retry_after.as_ref().map(|after| match after {
                    RetryAfter::Text(text) => {
                        let text = String::from_utf8_lossy(text.as_bytes()).into_owned();
                        ("retry-after", Some(text))
                    }
                    RetryAfter::DateIn(ahead) => ("retry-after-date", Some(shown(*ahead))),
                }));
                words.extend(body.as_ref().map(|text| ("body-text", Some(text.clone()))));
            }
        }
        let when = &self.when;
        let positive = |time: std::time::Duration| (!time.is_zero()).then(|| shown(time));
        let numbers =
            when.requests.as_ref().map(|numbers| match (numbers.start(), numbers.end()) {
                (first, last) if first == last => first.to_string(),
                (first, &u64::MAX) => format!("{first}-"),
                (first, last) => format!("{first}-{last}"),
            });
        // Without an effect and a keep-alive, even a zero latency must be written.
        let bare = self.effect == Effect::None && self.keep_alive.is_none();
        let latency = if bare { Some(shown(self.latency)) } else { positive(self.latency) };
        for (key, value) in [
            ("latency", latency),
            ("keep-alive", self.keep_alive.map(shown)),
            ("resource", self.resource.as_ref().map(ToString::to_string)),
            ("from", positive(when.from)),
            ("until", when.until.map(shown)),
            ("requests", numbers),
            ("times", when.times.map(|times| times.to_string())),
        ] {
            words.extend(value.map(|value| (key, Some(value))));
        }
        words
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.words().into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match value {
                None => write!(f, "{comma}{key}")?,
                Some(value) if plain(&value) => write!(f, "{comma}{key}={value}")?,
                Some(value) => write!(f, "{comma}{key}={}", serde_json::json!(value))?,
            }
        }
        Ok(())
    }
}

/// Whether a value can be written without quotes, on one line.
fn plain(value: &str) -> bool {
    value.trim() == value && !value.starts_with('"') && !value.contains([',', '\n', '\r'])
}

#[cfg(test)]
mod tests;
