//! The parts of a fault.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderValue, StatusCode};

use crate::name::Resource;

/// Something that the sandbox does wrong on purpose. As text it is written in its grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub effect: Effect,
    /// How long the answer is held back, whatever it is.
    pub latency: Duration,
    /// How long the connection may stay idle after the answer before it is closed without a
    /// word; none: for ever.
    pub keep_alive: Option<Duration>,
    /// The resource it is for, in any letter case; none: all.
    pub resource: Option<Resource>,
    /// When it strikes.
    pub when: When,
}

/// When a fault strikes: all of it must hold. Time and requests are counted from when the
/// fault was put, which for those of the start is the sandbox's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Not before this.
    pub from: Duration,
    /// Not from this on.
    pub until: Option<Duration>,
    /// Only requests of these numbers, from 1 on, among those for its resource, or all.
    pub requests: Option<RangeInclusive<u64>>,
    /// Only so many requests.
    pub times: Option<u32>,
}

/// What goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the answer is the normal one.
    None,
    /// The request is read and never answered.
    Hang,
    /// The connection is reset (TCP RST).
    Reset,
    /// Another status, with the body that the endpoint documents for it. A success without a
    /// body of its own is a normal grant under that status.
    Status {
        /// The status.
        code: StatusCode,
        /// Its Retry-After header.
        retry_after: Option<RetryAfter>,
        /// A body instead of the documented one.
        body: Option<String>,
    },
    /// What would be granted is answered with a body that no client should take.
    Body(BadBody),
    /// A grant that lives that much shorter than asked for.
    ShorterLife(Duration),
}

/// A Retry-After header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Any text: seconds, a date, garbage.
    Text(HeaderValue),
    /// The HTTP date this far ahead of the answer.
    DateIn(Duration),
}

/// The body of a grant that no client should take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// One that only some endpoints have, by its word.
    Own(String),
    /// It stops in the middle.
    Truncated,
    /// The connection is closed in the middle of it.
    Cut,
    /// A good body, a byte a second.
    Slow,
    /// A good body with white space behind it, 1 MiB in all.
    Huge,
    /// A good body with white space behind it that never ends.
    Endless,
    /// A good body, compressed though nobody asked for that.
    Gzip,
    /// Any text.
    Text(String),
}
