//! Parses a fault key by key.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderValue, StatusCode};

use super::model::{BadBody, Effect, Fault, RetryAfter, When};
use crate::{name::Resource, settings};

/// The keys of a fault, in writing order.
pub(super) const KEYS: [&str; 15] = [
    "status",
    "retry-after",
    "retry-after-date",
    "body",
    "body-text",
    "hang",
    "reset",
    "shorter-life",
    "latency",
    "keep-alive",
    "resource",
    "from",
    "until",
    "requests",
    "times",
];

/// The keys that take no value.
pub(in crate::sandbox) const FLAGS: [&str; 2] = ["hang", "reset"];

/// The values of `body` that every endpoint supports.
pub(super) const BODIES: [(&str, BadBody); 6] = [
    ("truncated", BadBody::Truncated),
    ("cut", BadBody::Cut),
    ("slow", BadBody::Slow),
    ("huge", BadBody::Huge),
    ("endless", BadBody::Endless),
    ("gzip", BadBody::Gzip),
];

/// Why a fault is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A key that is not in the grammar.
    #[error("{0:?}: {hint}", hint = settings::unknown_key(.0, &KEYS))]
    UnknownKey(String),
    /// A duplicate key.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// An invalid value.
    #[error("{key} {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// The expected value, or what is wrong.
        problem: String,
    },
    /// Two effects in one fault.
    #[error("{0} and {1} exclude each other: a fault has one effect")]
    Conflict(&'static str, &'static str),
    /// A Retry-After without a status.
    #[error("{0} requires a status, such as 429")]
    NeedsStatus(&'static str),
    /// An empty time range.
    #[error("until must be later than from")]
    NoTime,
    /// No effect, latency or keep-alive.
    #[error("does nothing: it needs a status, a body, hang, reset, latency or another effect")]
    NoEffect,
    /// A JSON body that is not an object of plain values.
    #[error("is not a JSON object of strings, numbers and true: {0}")]
    Json(String),
}

/// A partly parsed fault.
#[derive(Default)]
pub(in crate::sandbox) struct Draft<'a> {
    /// The endpoint-specific bodies; `None` if the endpoints are unknown and any word is accepted.
    own: Option<&'a [&'a str]>,
    effect: Option<(&'static str, Effect)>,
    retry_after: Option<(&'static str, RetryAfter)>,
    body_text: Option<String>,
    latency: Option<Duration>,
    keep_alive: Option<Duration>,
    resource: Option<Resource>,
    from: Option<Duration>,
    until: Option<Duration>,
    requests: Option<RangeInclusive<u64>>,
    times: Option<u32>,
}

pub(super) fn known(key: &str) -> Result<&'static str, FaultError> {
    let known = KEYS.into_iter().find(|known| *known == key);
    known.ok_or_else(|| FaultError::UnknownKey(key.to_owned()))
}

impl<'a> Draft<'a> {
    /// An empty draft for endpoints with these specific bodies.
    pub(in crate::sandbox) fn of(own: &'a [&'a str]) -> Self {
        Self { own: Some(own), ..Self::default() }
    }

    /// Sets a key to its value; a flag has none.
    pub(in crate::sandbox) fn set(
        &mut self,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), FaultError> {
        let key = known(key)?;
        match key {
            "status" => {
                let code =
                    parse_value(key, value, status, "an HTTP status from 200 to 599, such as 503")?;
                self.effect(key, Effect::Status { code, retry_after: None, body: None })
            }
            "body" => {
                let body = value.and_then(|word| self.body(word));
                let body = body.ok_or_else(|| unknown_body(self.own.unwrap_or_default()))?;
                self.effect(key, Effect::Body(body))
            }
            "hang" => self.flag(key, value, Effect::Hang),
            "reset" => self.flag(key, value, Effect::Reset),
            "shorter-life" => {
                let by = parse_value(key, value, whole_seconds, "whole seconds, such as 20s")?;
                self.effect(key, Effect::ShorterLife(by))
            }
            "retry-after" => {
                let text = parse_value(key, value, header, "a header value, such as 5")?;
                self.retry_after(key, RetryAfter::Text(text))
            }
            "retry-after-date" => {
                let ahead = parse_value(key, value, duration, DURATION_FORM)?;
                self.retry_after(key, RetryAfter::DateIn(ahead))
            }
            "body-text" => {
                let text = parse_value(key, value, |text| Some(text.to_owned()), "a string")?;
                set_once(&mut self.body_text, key, text)
            }
            "latency" => {
                set_once(&mut self.latency, key, parse_value(key, value, duration, DURATION_FORM)?)
            }
            "keep-alive" => set_once(
                &mut self.keep_alive,
                key,
                parse_value(key, value, duration, DURATION_FORM)?,
            ),
            "from" => {
                set_once(&mut self.from, key, parse_value(key, value, duration, DURATION_FORM)?)
            }
            "until" => {
                set_once(&mut self.until, key, parse_value(key, value, duration, DURATION_FORM)?)
            }
            "resource" => {
                let wanted = "a resource, 1 to 256 bytes without control characters";
                let resource = parse_value(key, value, |text| Resource::parse(text).ok(), wanted)?;
                set_once(&mut self.resource, key, resource)
            }
            "requests" => {
                let wanted = "request numbers from 1 on, such as 4, 3-5 or 10-";
                set_once(&mut self.requests, key, parse_value(key, value, numbers, wanted)?)
            }
            _ => {
                let times = |text: &str| text.parse().ok().filter(|times| *times > 0);
                let times = parse_value(key, value, times, "a number of requests, at least 1")?;
                set_once(&mut self.times, key, times)
            }
        }
    }

    fn body(&self, word: &str) -> Option<BadBody> {
        let known = BODIES.into_iter().find(|(name, _)| *name == word).map(|(_, body)| body);
        known.or_else(|| {
            let is_own = match self.own {
                Some(own) => own.contains(&word),
                None => is_word(word),
            };
            is_own.then(|| BadBody::Own(word.to_owned()))
        })
    }

    fn effect(&mut self, key: &'static str, effect: Effect) -> Result<(), FaultError> {
        match &self.effect {
            None => {
                self.effect = Some((key, effect));
                Ok(())
            }
            Some((other, _)) if *other == key => Err(FaultError::Twice(key)),
            Some((other, _)) => Err(FaultError::Conflict(other, key)),
        }
    }

    fn flag(
        &mut self,
        key: &'static str,
        value: Option<&str>,
        effect: Effect,
    ) -> Result<(), FaultError> {
        if value.is_some() {
            return Err(FaultError::Value { key, problem: "takes no value".to_owned() });
        }
        self.effect(key, effect)
    }

    fn retry_after(&mut self, key: &'static str, value: RetryAfter) -> Result<(), FaultError> {
        match &self.retry_after {
            Some((other, _)) if *other != key => Err(FaultError::Conflict(other, key)),
            _ => set_once(&mut self.retry_after, key, (key, value)),
        }
    }

    /// The parsed fault.
    pub(in crate::sandbox) fn finish(self) -> Result<Fault, FaultError> {
        let (mut retry_after, mut body_text) = (self.retry_after, self.body_text);
        let mut effect = self.effect;
        if let Some((_, Effect::Status { retry_after: header, body, .. })) = &mut effect {
            *header = retry_after.take().map(|(_, value)| value);
            *body = body_text.take();
        }
        if let Some((key, _)) = retry_after {
            return Err(FaultError::NeedsStatus(key));
        }
        let effect = match (effect, body_text) {
            (Some((key, _)), Some(_)) => return Err(FaultError::Conflict(key, "body-text")),
            (Some((_, effect)), None) => effect,
            (None, Some(text)) => Effect::Body(BadBody::Text(text)),
            (None, None) if self.latency.is_some() || self.keep_alive.is_some() => Effect::None,
            (None, None) => return Err(FaultError::NoEffect),
        };
        let from = self.from.unwrap_or_default();
        if self.until.is_some_and(|until| until <= from) {
            return Err(FaultError::NoTime);
        }
        Ok(Fault {
            effect,
            latency: self.latency.unwrap_or_default(),
            keep_alive: self.keep_alive,
            resource: self.resource,
            when: When { from, until: self.until, requests: self.requests, times: self.times },
        })
    }
}

const DURATION_FORM: &str = "a duration, such as 20s or 1500ms";

/// Parses a value; `wanted` describes valid ones.
fn parse_value<T>(
    key: &'static str,
    value: Option<&str>,
    read: impl FnOnce(&str) -> Option<T>,
    wanted: &str,
) -> Result<T, FaultError> {
    let problem = || FaultError::Value { key, problem: format!("must be {wanted}") };
    value.and_then(read).ok_or_else(problem)
}

fn set_once<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), FaultError> {
    slot.replace(value).map_or(Ok(()), |_| Err(FaultError::Twice(key)))
}

fn status(text: &str) -> Option<StatusCode> {
    text.parse().ok().filter(|code: &StatusCode| (200..600).contains(&code.as_u16()))
}

/// Whether a string may name an endpoint-specific body.
fn is_word(text: &str) -> bool {
    let of_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(of_word)
}

/// The error for a `body` that is neither one of the engine's nor one of these.
pub(super) fn unknown_body(own: &[&str]) -> FaultError {
    let names: Vec<_> = own.iter().copied().chain(BODIES.map(|(name, _)| name)).collect();
    let problem = format!("must be one of {}; body-text takes any string", names.join(", "));
    FaultError::Value { key: "body", problem }
}

fn header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration <= settings::MAX_DURATION)
}

fn whole_seconds(text: &str) -> Option<Duration> {
    duration(text).filter(|by| by.subsec_nanos() == 0 && !by.is_zero())
}

/// Parses `4`, `3-5` (both included), or `10-`.
fn numbers(text: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (1 <= first && first <= last).then_some(first..=last)
}
