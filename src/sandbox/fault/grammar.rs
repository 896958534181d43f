//! The one grammar in which faults are written.
//!
//! A fault is comma-joined words, `key` or `key=value`: `status=429,retry-after=5`,
//! `latency=1500ms`, `hang,times=3,resource=VJ…`. A value with a comma is written as a JSON
//! string: `retry-after="Sun, 06 Nov 1994 08:49:37 GMT"`. The same keys and values make a
//! JSON object, and any other list of pairs ([`Fault::from_pairs`]).

use std::{str::FromStr, time::Duration};

use http::{HeaderValue, StatusCode};

use super::{BadBody, Effect, Fault};
use crate::provider::twilio_live::ids::PlayerStreamerSid;

/// The keys of the grammar.
const KEYS: &str = "status, retry-after, body, body-text, latency, hang, reset, \
                        shorter-life, resource, times";

const BODIES: [(&str, BadBody); 7] = [
    ("grant-null", BadBody::GrantNull),
    ("grant-string", BadBody::GrantString),
    ("grant-missing", BadBody::GrantMissing),
    ("wrong-sid", BadBody::WrongSid),
    ("wrong-streamer", BadBody::WrongStreamer),
    ("wrong-account", BadBody::WrongAccount),
    ("truncated", BadBody::Truncated),
];

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A key that is not of the grammar.
    #[error("{0:?} is not a key of a fault; the keys are {KEYS}")]
    UnknownKey(String),
    /// A key that is there twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// A value that is not of its key's form.
    #[error("{key} {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with the value, or what it should be.
        problem: &'static str,
    },
    /// Two effects in one fault.
    #[error("{0} and {1} exclude each other: a fault has one effect")]
    Conflict(&'static str, &'static str),
    /// A Retry-After without the status that it goes with.
    #[error("retry-after goes with a status, such as status=429,retry-after=5")]
    NeedsStatus,
    /// Nothing in it that would be a fault.
    #[error("says no fault, such as status=503, latency=1500ms or hang")]
    NoEffect,
    /// A JSON body that is no object of plain values.
    #[error("is no JSON object of texts, numbers and true: {0}")]
    Json(String),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut draft = Draft::default();
        let mut rest = Some(text.trim());
        while let Some(words) = rest {
            let end = words.find(['=', ',']).unwrap_or(words.len());
            let (key, after) = words.split_at(end);
            let (value, after) = match after.strip_prefix('=') {
                Some(value) => split_value(key, value)?,
                None => (None, after),
            };
            draft.set(key.trim(), value)?;
            rest = after.strip_prefix(',');
        }
        draft.finish()
    }
}

/// Splits the value that `text` begins with from what follows it: nothing, or a comma.
fn split_value<'a>(key: &str, text: &'a str) -> Result<(Option<String>, &'a str), FaultError> {
    if !text.starts_with('"') {
        let (value, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        return Ok((Some(value.trim().to_owned()), rest));
    }
    let unfit = |problem| match known(key.trim()) {
        Ok(key) => FaultError::Value { key, problem },
        Err(error) => error,
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let Some(Ok(value)) = values.next() else {
        return Err(unfit("opens a quote that does not end as a JSON string"));
    };
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    if rest.is_empty() || rest.starts_with(',') {
        Ok((Some(value), rest))
    } else {
        Err(unfit("goes on after its closing quote; a comma must follow"))
    }
}

impl Fault {
    /// Takes a fault given as keys and values, in any order; a bare key has no value.
    pub fn from_pairs<K: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, Option<String>)>,
    ) -> Result<Self, FaultError> {
        let mut draft = Draft::default();
        for (key, value) in pairs {
            draft.set(key.as_ref(), value)?;
        }
        draft.finish()
    }

    /// Takes a fault given as a JSON object: `{"status": 503, "times": 2}`, `{"hang": true}`.
    pub fn from_json(text: &str) -> Result<Self, FaultError> {
        use serde_json::{Map, Value};

        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| FaultError::Json(error.to_string()))?;
        let mut pairs = Vec::with_capacity(object.len());
        for (key, value) in object {
            let value = match value {
                Value::Bool(true) => None,
                Value::String(text) => Some(text),
                Value::Number(number) => Some(number.to_string()),
                _ => return Err(FaultError::Json(key)),
            };
            pairs.push((key, value));
        }
        Self::from_pairs(pairs)
    }
}

/// What has been read of a fault.
#[derive(Default)]
struct Draft {
    status: Option<StatusCode>,
    retry_after: Option<HeaderValue>,
    body: Option<BadBody>,
    body_text: Option<String>,
    latency: Option<Duration>,
    hang: Option<()>,
    reset: Option<()>,
    shorter_life: Option<Duration>,
    resource: Option<PlayerStreamerSid>,
    times: Option<u32>,
}

fn known(key: &str) -> Result<&'static str, FaultError> {
    KEYS.split(", ")
        .find(|known| *known == key)
        .ok_or_else(|| FaultError::UnknownKey(key.to_owned()))
}

/// Fills `slot` from `value`, once.
fn put<T>(
    slot: &mut Option<T>,
    key: &'static str,
    problem: &'static str,
    value: Option<T>,
) -> Result<(), FaultError> {
    let value = value.ok_or(FaultError::Value { key, problem })?;
    slot.replace(value).map_or(Ok(()), |_| Err(FaultError::Twice(key)))
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

impl Draft {
    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), FaultError> {
        let key = known(key)?;
        let text = value.as_deref();
        match key {
            "status" => put(
                &mut self.status,
                key,
                "must be an HTTP status from 200 to 599, such as status=503",
                text.and_then(|text| text.parse().ok())
                    .filter(|code: &StatusCode| (200..600).contains(&code.as_u16())),
            ),
            "retry-after" => put(
                &mut self.retry_after,
                key,
                "must be a header's text, such as retry-after=5",
                text.and_then(|text| HeaderValue::from_str(text).ok()),
            ),
            "body" => put(
                &mut self.body,
                key,
                "must be grant-null, grant-string, grant-missing, wrong-sid, wrong-streamer, \
                 wrong-account or truncated; body-text=TEXT takes any text",
                text.and_then(|text| BODIES.into_iter().find(|(name, _)| *name == text))
                    .map(|(_, body)| body),
            ),
            "body-text" => put(
                &mut self.body_text,
                key,
                "must be a text; one with a comma goes in double quotes",
                value,
            ),
            "latency" => put(
                &mut self.latency,
                key,
                "must be a duration, such as latency=1500ms",
                text.and_then(duration),
            ),
            "hang" => put(&mut self.hang, key, "takes no value", value.is_none().then_some(())),
            "reset" => put(&mut self.reset, key, "takes no value", value.is_none().then_some(())),
            "shorter-life" => put(
                &mut self.shorter_life,
                key,
                "must be a duration of whole seconds, such as shorter-life=20s",
                text.and_then(duration).filter(|by| by.subsec_nanos() == 0 && !by.is_zero()),
            ),
            "resource" => put(
                &mut self.resource,
                key,
                "must be VJ followed by 32 hexadecimal digits",
                text.and_then(|text| PlayerStreamerSid::parse(text).ok()),
            ),
            _ => put(
                &mut self.times,
                key,
                "must be a number of requests, at least 1",
                text.and_then(|text| text.parse().ok()).filter(|times| *times > 0),
            ),
        }
    }

    fn finish(mut self) -> Result<Fault, FaultError> {
        let mut effects = Vec::new();
        if let Some(code) = self.status {
            let (retry_after, body) = (self.retry_after.take(), self.body_text.take());
            effects.push(("status", Effect::Status { code, retry_after, body }));
        }
        if self.retry_after.is_some() {
            return Err(FaultError::NeedsStatus);
        }
        effects.extend(self.body.map(|body| ("body", Effect::Body(body))));
        effects.extend(self.body_text.map(|text| ("body-text", Effect::Body(BadBody::Text(text)))));
        effects.extend(self.hang.map(|()| ("hang", Effect::Hang)));
        effects.extend(self.reset.map(|()| ("reset", Effect::Reset)));
        effects.extend(self.shorter_life.map(|by| ("shorter-life", Effect::ShorterLife(by))));

        let mut effects = effects.into_iter();
        let effect = match (effects.next(), effects.next()) {
            (Some((first, _)), Some((second, _))) => {
                return Err(FaultError::Conflict(first, second));
            }
            (Some((_, effect)), None) => effect,
            (None, _) if self.latency.is_some() => Effect::None,
            (None, _) => return Err(FaultError::NoEffect),
        };
        Ok(Fault {
            effect,
            latency: self.latency.unwrap_or_default(),
            resource: self.resource,
            times: self.times,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "VJ0123456789abcdef0123456789abcdef";

    fn fault(text: &str) -> Fault {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<Fault>().expect_err(text).to_string()
    }

    #[test]
    fn every_effect_has_its_words() {
        assert_eq!(fault("hang").effect, Effect::Hang);
        assert_eq!(fault("reset,times=2").times, Some(2));
        assert_eq!(fault("latency=1500ms").latency, Duration::from_millis(1500));
        assert_eq!(fault("latency=1500ms").effect, Effect::None);
        assert_eq!(fault("shorter-life=20s").effect, Effect::ShorterLife(Duration::from_secs(20)));
        for (name, body) in BODIES {
            assert_eq!(fault(&format!("body={name}")).effect, Effect::Body(body));
        }
        let both = fault(&format!(" status=503 , latency=1s, resource={SID}\n"));
        assert_eq!(both.latency, Duration::from_secs(1));
        assert_eq!(both.resource.unwrap().as_str(), SID);
        let throttled = |value: &'static str| Effect::Status {
            code: StatusCode::TOO_MANY_REQUESTS,
            retry_after: Some(HeaderValue::from_static(value)),
            body: None,
        };
        assert_eq!(fault("status=429,retry-after=5").effect, throttled("5"));
        assert_eq!(fault("status=429,retry-after=soon").effect, throttled("soon"));
        assert_eq!(fault("retry-after=,status=429").effect, throttled(""));
        assert_eq!(
            fault(r#"status=429,retry-after="Sun, 06 Nov 1994 08:49:37 GMT",times=1"#).effect,
            throttled("Sun, 06 Nov 1994 08:49:37 GMT")
        );
        let text = Effect::Body(BadBody::Text(r#"{"a":1,"b":"=,"}"#.into()));
        assert_eq!(fault(r#"body-text="{\"a\":1,\"b\":\"=,\"}""#).effect, text);
    }

    #[test]
    fn json_says_the_same() {
        let json = |text| Fault::from_json(text);
        assert_eq!(
            json(r#"{"status": 429, "retry-after": "5", "times": 3}"#).unwrap(),
            fault("status=429,retry-after=5,times=3")
        );
        assert_eq!(json(r#"{"hang": true}"#).unwrap(), fault("hang"));
        for bad in ["{", "[]", r#"{"hang": null}"#, r#"{"status": [503]}"#, r#"{"status": true}"#] {
            assert!(json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_names_the_problem() {
        for (text, says) in [
            ("", "\"\" is not a key of a fault; the keys are status"),
            ("hang,", "\"\" is not a key"),
            ("stauts=503", "\"stauts\" is not a key"),
            ("times=3", "says no fault"),
            ("status=503,status=504", "status is there twice"),
            ("status=99", "status must be"),
            ("status=600", "status must be"),
            ("status", "status must be"),
            ("latency=soon", "latency must be a duration"),
            ("shorter-life=1500ms", "whole seconds"),
            ("hang=1", "hang takes no value"),
            ("hang,reset", "hang and reset exclude each other"),
            ("status=500,body=truncated", "status and body exclude each other"),
            ("body=null", "body must be grant-null"),
            ("retry-after=5,hang", "retry-after goes with a status"),
            ("hang,resource=VJ12", "resource must be VJ followed by"),
            ("hang,times=0", "times must be"),
            ("body-text=\"abc", "body-text opens a quote"),
            ("body-text=\"abc\"d", "body-text goes on after its closing quote"),
        ] {
            let said = refused(text);
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
