//! Trace and span ids, the context they make, and the W3C Trace Context headers
//! (<https://www.w3.org/TR/trace-context-1/>) that name a call's parent.

use std::{fmt, sync::Arc};

use http::HeaderMap;

use super::{Recorder, TRACEPARENT, TRACESTATE};

/// The limits on a `tracestate`; a larger one is not forwarded.
const MAX_STATE_BYTES: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;

/// The id of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// The id of a span; never zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

impl TraceId {
    pub(super) fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// Its bytes, in network order.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The random part that sampling compares.
    pub(super) const fn low(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let low = self.0 as u64;
        low
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// Its bytes, in network order.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What log lines and spans of the current work belong to.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) trace_id: TraceId,
    /// None if the work is not recorded: its log lines name the trace all the same.
    pub(super) span: Option<(SpanId, Option<Arc<str>>, Arc<Recorder>)>,
}

impl Context {
    pub(super) const fn unrecorded(trace_id: TraceId) -> Self {
        Self { trace_id, span: None }
    }

    pub(super) fn recorded(
        trace_id: TraceId,
        span_id: SpanId,
        state: Option<Arc<str>>,
        recorder: &Arc<Recorder>,
    ) -> Self {
        Self { trace_id, span: Some((span_id, state, Arc::clone(recorder))) }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.trace_id, if self.span.is_some() { " recorded" } else { "" })
    }
}

/// The caller's span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) is_sampled: bool,
    /// The `tracestate`, unless it is empty or malformed.
    pub(super) state: Option<Arc<str>>,
}

impl Parent {
    /// Parses the headers of a call; none without one valid `traceparent`.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(&TRACEPARENT).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return None };
        let (trace_id, span_id, flags) = parse(value.to_str().ok()?)?;
        let state = if flags.is_sampled { state(headers) } else { None };
        Some(Self { trace_id, span_id, is_sampled: flags.is_sampled, state })
    }
}

struct Flags {
    is_sampled: bool,
}

/// Parses `VERSION-TRACE-SPAN-FLAGS`. Versions after 00 may append fields.
fn parse(text: &str) -> Option<(TraceId, SpanId, Flags)> {
    let mut fields = text.split('-');
    let version = fields.next().filter(|it| it.len() == 2 && *it != "ff")?;
    hex(version)?;
    let trace = fields.next().filter(|it| it.len() == 32).and_then(hex)?;
    let span = fields.next().filter(|it| it.len() == 16).and_then(hex)?;
    let flags = fields.next().filter(|it| it.len() == 2).and_then(hex)?;
    if trace == 0 || span == 0 || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let flags = Flags { is_sampled: flags & 1 == 1 };
    Some((TraceId(trace), SpanId(u64::try_from(span).ok()?), flags))
}

/// Parses lower-case hex digits.
fn hex(digits: &str) -> Option<u128> {
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if !digits.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

/// The `tracestate`, of one or more headers.
fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut members = Vec::new();
    for value in headers.get_all(&TRACESTATE) {
        let listed = value.to_str().ok()?.split(',').map(str::trim);
        members.extend(listed.filter(|member| !member.is_empty()));
    }
    let is_member = |member: &&str| {
        member.split_once('=').is_some_and(|(key, value)| {
            !key.is_empty()
                && !value.is_empty()
                && member.bytes().all(|it| (0x20..0x7f).contains(&it))
        })
    };
    if members.len() > MAX_STATE_MEMBERS || !members.iter().all(is_member) {
        return None;
    }
    let state = members.join(",");
    (!state.is_empty() && state.len() <= MAX_STATE_BYTES).then(|| state.into())
}
